package verify

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
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
// fields: VPSTxId is in braces, which keeps it apart from what follows.
//
// https://developer-eu.elavon.com/docs/opayo-server/taking-payments/step-4-you-confirm-transaction
var opayoServer = Connector{
	Docs:     "https://developer-eu.elavon.com/docs/opayo-server/taking-payments/step-4-you-confirm-transaction",
	Signs:    "MD5 of fields of the form, the vendor name and the transaction's security key, hex, in the field VPSSignature",
	Covers:   CoversFields,
	Weakness: "a plain MD5; the key differs from transaction to transaction; TxType, StatusDetail and the amount are not signed; no timestamp",
	Settings: []Setting{opayoServerVendor, opayoServerRedirect},
	Check:    opayoServerCheck,
	Verify:   formHash{field: "VPSSignature", decode: hex.DecodeString, want: opayoServerWant}.verify,
}

var (
	opayoServerVendor   = Setting{Name: "vendor", Says: "the vendor name, which is signed, too"}
	opayoServerRedirect = Setting{Name: "redirect_url", Says: "where the answer sends the shopper; {VendorTxCode} in it becomes the transaction's"}
)

// opayoServerCheck asks for the setting without which Opayo takes no answer, and
// cancels the payment.
func opayoServerCheck(_ string, k Keys) error {
	u, err := url.Parse(k.Settings[opayoServerRedirect.Name])
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("%w: %s is %q, want an address: %s", ErrSetting, opayoServerRedirect.Name, k.Settings[opayoServerRedirect.Name], opayoServerRedirect.Says)
	}
	return nil
}

var opayoServerTxID = regexp.MustCompile(`\A\{[^{}]+\}\z`)

func opayoServerWant(f form, key string, k Keys) ([]byte, error) {
	if !opayoServerTxID.MatchString(f["VPSTxId"]) {
		return nil, fmt.Errorf("%w: VPSTxId is %q, want an id in braces", ErrMalformed, f["VPSTxId"])
	}
	text := f.join("", "VPSTxId", "VendorTxCode", "Status", "TxAuthNo") + strings.ToLower(k.Settings[opayoServerVendor.Name]) +
		f.join("", "AVSCV2", "Token") + key +
		f.join("", "AddressResult", "PostCodeResult", "CV2Result", "GiftAid", "3DSecureStatus", "CAVV", "AddressStatus",
			"PayerStatus", "CardType", "Last4Digits", "DeclineCode", "ExpiryDate", "FraudResponse", "BankAuthCode",
			"ACSTransID", "DSTransID", "SchemeTraceID")
	return digest(md5.New, text), nil
}
