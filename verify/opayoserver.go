package verify

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
)

// opayoServer hashes fields of the form without separators, with the vendor name in lower case
// and the security key among them. The field VPSSignature has the MD5 in hex.
//
// Each transaction has its own security key: Opayo sends it to the merchant when the
// transaction is registered. The secrets of an endpoint are the keys of the transactions in
// progress.
//
// TxType, StatusDetail and Surcharge are not signed. The split of the fields is mostly
// unique, because VPSTxId is in braces, the status is one of Opayo's words, and the vendor
// name is the endpoint's. If it is not unique, the form is refused.
//
// https://developer-eu.elavon.com/docs/opayo-server/taking-payments/step-4-you-confirm-transaction
var opayoServer = Connector{
	Docs:     "https://developer-eu.elavon.com/docs/opayo-server/taking-payments/step-4-you-confirm-transaction",
	Signs:    "MD5 of fields of the form, the vendor name and the transaction's security key, hex, in the field VPSSignature",
	Covers:   CoversFields,
	Weakness: "a plain MD5; the key differs from transaction to transaction; TxType, StatusDetail and the amount are not signed, nor where VendorTxCode ends: it must not end in one of Opayo's words; no timestamp",
	Settings: []Setting{opayoServerVendor, opayoServerRedirect},
	check:    opayoServerCheck,
	verify:   opayoServerJoined.verify,
	joined:   []joinedScheme{opayoServerJoined},
}

var opayoServerJoined = joinedScheme{
	read:     inForm("VPSSignature", hex.DecodeString),
	messages: opayoServerMessages,
	needs:    []Setting{opayoServerVendor},
}

var (
	opayoServerVendor   = Setting{Name: "vendor", Description: "the vendor name, which is signed, too", Endpoint: true}
	opayoServerRedirect = Setting{Name: "redirect_url", Description: "the URL to which the response sends the shopper; {VendorTxCode} in it becomes the transaction's"}
)

// opayoServerCheck returns an error without a valid redirect_url: Opayo would not accept the
// response, and would cancel the payment.
func opayoServerCheck(_ string, k Keys) error {
	u, err := url.Parse(k.Settings[opayoServerRedirect.Name])
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("%w: %s is %q, want a URL: %s", ErrSetting, opayoServerRedirect.Name, k.Settings[opayoServerRedirect.Name], opayoServerRedirect.Description)
	}
	return nil
}

var (
	opayoServerID   = pattern("an id in braces", 64, `\{[^{}]+\}`)
	opayoServerUUID = pattern("a UUID", 36, `[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}`).orEmpty()
	opayoServerText = format{want: "up to 100 bytes without control characters, braces or hyphens", max: 100, char: func(b byte) bool { return printable(b) && b != '{' && b != '}' && b != '-' }}
)

// opayoServerMessages returns the message of a form. A status that Opayo does not document is
// refused, because only the known words show where the status begins. SchemeTraceID begins
// where DSTransID ends. Without a DSTransID its start is unknown, and package normalize does
// not read it.
func opayoServerMessages(_ Request, f form, k Keys) ([]message, error) {
	parts := []part{
		field("VPSTxId", opayoServerID),
		field("VendorTxCode", id(40)),
		field("Status", oneOf("OK", "PENDING", "NOTAUTHED", "ABORT", "REJECTED", "AUTHENTICATED", "REGISTERED", "ERROR", "INVALID", "MALFORMED")),
		field("TxAuthNo", numeric(1, 20).orEmpty()),
		literal(strings.ToLower(k.Settings[opayoServerVendor.Name])),
		unusedField("AVSCV2", opayoServerText),
		field("Token", opayoServerID.orEmpty()),
		keyPart,
	}
	for name := range strings.FieldsSeq("AddressResult PostCodeResult CV2Result GiftAid 3DSecureStatus CAVV AddressStatus PayerStatus CardType " +
		"Last4Digits DeclineCode ExpiryDate FraudResponse BankAuthCode") {
		parts = append(parts, unusedField(name, opayoServerText))
	}
	trace := field("SchemeTraceID", pattern("letters and digits", 56, `[0-9A-Za-z]+`).orEmpty())
	trace.unused = f["DSTransID"] == ""
	parts = append(parts, unusedField("ACSTransID", opayoServerUUID), unusedField("DSTransID", opayoServerUUID), trace)
	return []message{{hash: md5.New, parts: parts}}, nil
}
