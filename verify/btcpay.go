package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

// btcpay signs the body with the webhook's secret, whose text is the HMAC's key, and sends
// BTCPay-Sig: sha256=<hex>. Apart from the times in the body, no timestamp is signed. The
// body's originalDeliveryId identifies a redelivery.
//
// https://docs.btcpayserver.org/API/Greenfield/v1/#tag/Webhooks
var btcpay = Connector{
	Docs:     "https://docs.btcpayserver.org/API/Greenfield/v1/#tag/Webhooks",
	Signs:    `HMAC-SHA256 of the body, hex after "sha256=", in BTCPay-Sig`,
	Covers:   CoversBody,
	Weakness: "no timestamp is checked: only the originalDeliveryId shows that a captured request was sent again",
	Headers:  []string{"BTCPay-Sig"},
	verify:   mac{hash: sha256.New, header: "BTCPay-Sig", decode: btcpayDecode}.verify,
}

func btcpayDecode(value string) ([]byte, error) {
	digest, ok := strings.CutPrefix(value, "sha256=")
	if !ok {
		return nil, errors.New("want sha256=<hex>")
	}
	return hex.DecodeString(digest)
}
