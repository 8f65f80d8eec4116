package normalize

import (
	"fmt"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// globalpaymentsRealex: a form about one payment on the hosted page. RESULT,
// ORDER_ID and PASREF are signed: the first decides, the others are the
// identity. AMOUNT, in minor units, is not signed, and there is no other; the
// currency is there if the merchant has it sent back. AUTO_SETTLE_FLAG, not
// signed either, is believed where it says less: 0 is not yet captured.
//
// Where ORDER_ID ends in the TIMESTAMP, which is signed, too, what stands before
// that is the merchant's reference: some plug-ins put the two together so that
// every attempt has an ORDER_ID of its own.
//
// https://developer.globalpay.com/hpp/api
var globalpaymentsRealex = Connector{
	Docs:      "https://developer.globalpay.com/hpp/api",
	Key:       "ORDER_ID, without the TIMESTAMP where it ends in that",
	Normalize: globalpaymentsRealexNormalize,
}

func globalpaymentsRealexNormalize(payload []byte, _ Options) ([]Fact, error) {
	p, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	result := p["RESULT"]
	if result == "" {
		return nil, fmt.Errorf("%w: no RESULT: not a response of Realex's", ErrMalformed)
	}
	var f Fact
	switch {
	case result == "00" && p["AUTO_SETTLE_FLAG"] == "0":
		f.Type = schemas.PaymentAuthorized
	case result == "00":
		f.Type = schemas.PaymentCaptured
	case strings.Trim(result[:1], "123") == "": // declined, or out of order at the bank or at Realex
		f.Type = schemas.PaymentFailed
	default: // such as 501, which says that the order was processed before
		return []Fact{ignored(result, fmt.Sprintf("the result %q is about the request and not the payment", result))}, nil
	}
	if p["ORDER_ID"] == "" {
		return nil, fmt.Errorf("%w: no ORDER_ID: not a response of Realex's", ErrMalformed)
	}
	f.Identity = p["ORDER_ID"] + "/" + p["PASREF"] + "/" + result
	f.Account, f.ConnectorEventType = p["MERCHANT_ID"], result
	f.MerchantTransactionID, f.ConnectorTransactionID = p["ORDER_ID"], p["PASREF"]
	if id, ok := strings.CutSuffix(p["ORDER_ID"], p["TIMESTAMP"]); ok && id != "" {
		f.MerchantTransactionID = id
	}
	if f.Amount, err = minorText(p["AMOUNT"], first(p["CURRENCY"], p["X-CURRENCY"])); err != nil {
		return oneMalformed(result, err)
	}
	f.setAmountByType()
	if f.Type == schemas.PaymentFailed {
		f.Error = failure(result, p["MESSAGE"], "")
	}
	return []Fact{f}, nil
}
