package verify

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
)

// opayoServer hashes fields of the form, one after the other, with the vendor
// name in lower case and the security key among them. The field VPSSignature is
// the hash, hex of MD5.
//
// The security key is each transaction's own: Opayo tells it to the merchant
// when the transaction is registered. The secrets of an endpoint are the keys
// of the transactions that are under way.
//
// TxType, StatusDetail and Surcharge are not signed. Nothing stands between the
// fields: VPSTxId is in braces, the status one of Opayo's words, and the vendor
// name the endpoint's, which keeps them apart; a form is refused where it does
// not.
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
	joined:   []joined{opayoServerJoined},
}

var opayoServerJoined = joined{
	read:     inForm("VPSSignature", hex.DecodeString),
	messages: opayoServerMessages,
	needs:    []Setting{opayoServerVendor},
}

var (
	opayoServerVendor   = Setting{Name: "vendor", Description: "the vendor name, which is signed, too", Endpoint: true}
	opayoServerRedirect = Setting{Name: "redirect_url", Description: "where the answer sends the shopper; {VendorTxCode} in it becomes the transaction's"}
)

// opayoServerCheck asks for the setting without which Opayo takes no answer, and
// cancels the payment.
func opayoServerCheck(_ string, k Keys) error {
	u, err := url.Parse(k.Settings[opayoServerRedirect.Name])
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("%w: %s is %q, want an address: %s", ErrSetting, opayoServerRedirect.Name, k.Settings[opayoServerRedirect.Name], opayoServerRedirect.Description)
	}
	return nil
}

var (
	opayoServerID   = pattern("an id in braces", 64, `\{[^{}]+\}`)
	opayoServerUUID = pattern("a UUID", 36, `[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}`).orEmpty()
	opayoServerText = format{says: "up to 100 bytes without control characters, braces or hyphens", max: 100, char: func(b byte) bool { return printable(b) && b != '{' && b != '}' && b != '-' }}
)

// opayoServerMessages: a status that Opayo does not document is refused, since
// nothing else tells where it begins. SchemeTraceID begins where DSTransID ends,
// and without that anywhere: normalising does not read it then.
func opayoServerMessages(_ Request, f form, k Keys) ([]message, error) {
	parts := []part{
		field("VPSTxId", opayoServerID),
		field("VendorTxCode", id(40)),
		field("Status", words("OK", "PENDING", "NOTAUTHED", "ABORT", "REJECTED", "AUTHENTICATED", "REGISTERED", "ERROR", "INVALID", "MALFORMED")),
		field("TxAuthNo", numeric(1, 20).orEmpty()),
		literal(strings.ToLower(k.Settings[opayoServerVendor.Name])),
		idleField("AVSCV2", opayoServerText),
		field("Token", opayoServerID.orEmpty()),
		keyPart,
	}
	for name := range strings.FieldsSeq("AddressResult PostCodeResult CV2Result GiftAid 3DSecureStatus CAVV AddressStatus PayerStatus CardType " +
		"Last4Digits DeclineCode ExpiryDate FraudResponse BankAuthCode") {
		parts = append(parts, idleField(name, opayoServerText))
	}
	trace := field("SchemeTraceID", pattern("letters and digits", 56, `[0-9A-Za-z]+`).orEmpty())
	trace.idle = f["DSTransID"] == ""
	parts = append(parts, idleField("ACSTransID", opayoServerUUID), idleField("DSTransID", opayoServerUUID), trace)
	return []message{{hash: md5.New, parts: parts}}, nil
}
