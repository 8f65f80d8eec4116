package verify

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// epayBambora hashes the values of all parameters of the callback, in the order of the query,
// followed by the secret key. The parameter hash has the MD5 in hex. The callback is a GET
// with the parameters in the query. It is the only connector that verifies the query in
// place of the body.
//
// The signed text has neither the names of the parameters nor separators, and nearly all
// values are digits. So settings give the formats of orderid and of ePay's txnid, and the
// parameters in their order. A callback whose values can still be split in another way is
// refused. No timestamp is signed.
//
// https://docs.epay.dk/integration/payment-window/hash-md5-check/
// https://docs.epay.dk/integration/payment-window/accept-callback-parameters
var epayBambora = Connector{
	Docs:   "https://docs.epay.dk/integration/payment-window/hash-md5-check/",
	Signs:  "MD5 of the values of all parameters of the query, in their order, and the secret key, hex, in the parameter hash",
	Covers: CoversFields,
	Weakness: "a plain MD5 over values alone: neither their names nor where one ends is signed, and a callback is refused where the settings forms and signed_fields leave that open; " +
		"no timestamp",
	Settings: []Setting{epayBamboraForms, epayBamboraSigned},
	check: func(_ string, k Keys) error {
		if _, err := k.list(epayBamboraSigned); err != nil {
			return err
		}
		return checkForms(k, 1, append([]string{"orderid"}, epayBamboraNames(k)...)...)
	},
	verify: epayBamboraJoined.verify,
	joined: []joinedScheme{epayBamboraJoined},
}

var (
	epayBamboraForms  = forms(`{"orderid": "[0-9]{8}", "txnid": "[0-9]{9}"}`, true)
	epayBamboraSigned = Setting{Name: "signed_fields", Description: "the parameters of the callback, in their order and without hash, as a list in JSON; if it is not set, those that ePay always sends"}
)

var epayBamboraJoined = joinedScheme{
	read:     inForm("hash", hex.DecodeString),
	messages: epayBamboraMessages,
	needs:    []Setting{epayBamboraForms},
}

// epayBamboraParts are the parameters that ePay documents. The first nine are those of every
// callback, in its order.
var epayBamboraParts = []part{
	field("txnid", numeric(1, 19)),
	field("orderid", id(64).orEmpty()),
	field("amount", pattern("minor units", 15, `0|[1-9][0-9]*`)),
	field("currency", numeric(3, 3)),
	unusedField("date", pattern("a day such as 20260101", 8, `20[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])`)),
	unusedField("time", pattern("a time such as 1115", 4, `(?:[01][0-9]|2[0-3])[0-5][0-9]`)),
	unusedField("txnfee", pattern("minor units", 15, `0|[1-9][0-9]*`)),
	unusedField("paymenttype", pattern("a number up to 99", 2, `[1-9][0-9]?`)),
	unusedField("cardno", pattern("a card number such as 400000XXXXXX0042", 24, `[0-9]{6}X+[0-9]{4}`).orEmpty()),

	field("subscriptionid", pattern("a number", 19, `[1-9][0-9]*`).orEmpty()),
	unusedField("fraud", numeric(1, 1).orEmpty()),
	unusedField("payercountry", pattern("two capital letters", 2, `[A-Z]{2}`).orEmpty()),
	unusedField("issuercountry", pattern("two capital letters", 2, `[A-Z]{2}`).orEmpty()),
}

// epayBamboraNames returns the signed parameters of a callback in their order.
func epayBamboraNames(k Keys) (names []string) {
	if names, _ = k.list(epayBamboraSigned); names != nil { // Check reports the error
		return names
	}
	for _, p := range epayBamboraParts[:9] {
		names = append(names, p.name)
	}
	return names
}

func epayBamboraMessages(r Request, _ form, k Keys) ([]message, error) {
	var received []string
	for pair := range strings.SplitSeq(string(r.Body), "&") { // Request.form has parsed them: they are well-formed
		name, _, _ := strings.Cut(pair, "=")
		if name, _ = url.QueryUnescape(name); name != "hash" && name != "" {
			received = append(received, name)
		}
	}
	if k.Settings[formsSetting] == "" && k.Settings[epayBamboraSigned.Name] == "" {
		return []message{{hash: md5.New, parts: append(epayBamboraOrder(received), keyPart)}}, nil
	}
	names := epayBamboraNames(k)
	inOrder := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(received, name) })
	if slices.Equal(inOrder, received) {
		return []message{{hash: md5.New, parts: append(epayBamboraOrder(names), keyPart)}}, nil
	}
	return []message{{hash: md5.New, parts: append(epayBamboraOrder(received), keyPart), extraCheck: func(form, Keys) error {
		return fmt.Errorf("%w: the parameters are %q, want %q in this order; the setting %s lists them", ErrField, received, names, epayBamboraSigned.Name)
	}}}, nil
}

// epayBamboraOrder returns the parts for parameters in their order.
func epayBamboraOrder(names []string) (parts []part) {
	for _, name := range names {
		at := slices.IndexFunc(epayBamboraParts, func(p part) bool { return p.name == name })
		if at < 0 {
			parts = append(parts, unusedField(name, anyText))
		} else {
			parts = append(parts, epayBamboraParts[at])
		}
	}
	return parts
}
