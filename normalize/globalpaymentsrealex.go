package normalize

import (
	"fmt"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// globalpaymentsRealex reads a form about one payment on the hosted payment page.
// RESULT, ORDER_ID and PASREF are signed: RESULT decides, and all three are the
// identity. AMOUNT, in minor units, is not signed, and no other field has the amount;
// the form has a currency only if the merchant asked for it. AUTO_SETTLE_FLAG is not
// signed and is used only where it claims less than RESULT: 0 means not captured yet.
//
// Some plug-ins append the TIMESTAMP, which is signed, to ORDER_ID, so that each
// attempt has another ORDER_ID. The merchant's reference is ORDER_ID without it.
//
// https://developer.globalpay.com/hpp/api
var globalpaymentsRealex = Connector{
	Docs:      "https://developer.globalpay.com/hpp/api",
	Key:       "ORDER_ID, without the TIMESTAMP where it ends in that",
	Tellers:   sentToURL(globalpaymentsRealexTellers),
	Captures:  CountsOnce, // the response comes once, and later captures have none
	normalize: globalpaymentsRealexNormalize,
}

// globalpaymentsRealexTellers lists the event types.
var globalpaymentsRealexTellers = []Teller{
	{Event: "00", Facts: []schemas.Type{schemas.PaymentAuthorized, schemas.PaymentCaptured}},
	{Event: "101", Facts: []schemas.Type{schemas.PaymentFailed}},
	{Event: "205", Facts: []schemas.Type{schemas.PaymentFailed}},
}

func globalpaymentsRealexNormalize(payload []byte, _ Options) ([]fact, error) {
	p, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	result := p["RESULT"]
	if result == "" {
		return nil, fmt.Errorf("%w: no RESULT: not a response of Realex's", ErrMalformed)
	}
	var f fact
	switch {
	case result == "00" && p["AUTO_SETTLE_FLAG"] == "0":
		f.Type = schemas.PaymentAuthorized
	case result == "00":
		f.Type = schemas.PaymentCaptured
	case strings.Trim(result[:1], "123") == "": // declined, or an error at the bank or at Realex
		f.Type = schemas.PaymentFailed
	default: // for example 501: the order was processed before
		return []fact{ignored(result, fmt.Sprintf("the result %q is about the request and not the payment", result))}, nil
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
	if f.Amount, err = minorText(p["AMOUNT"], first(p["CURRENCY"], p["X-CURRENCY"]), nil); err != nil {
		return oneMalformed(result, err)
	}
	f.setAmountByType()
	if f.Type == schemas.PaymentFailed {
		f.Error = failure(result, p["MESSAGE"], "")
	}
	return []fact{f}, nil
}
