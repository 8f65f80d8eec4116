package normalize

import (
	"fmt"

	"github.com/tollbridge/tollbridge/schemas"
)

// payuIndia: a form about one payment, at its end. Status, amount and txnid are
// signed and decide; unmappedstatus, which is not, is believed only where it
// says less than the status: a success that is "auth" is not yet captured. The
// identity is the merchant's txnid, unique by PayU's rule, and the status.
//
// https://docs.payu.in/docs/webhook-events-and-sample-payloads
var payuIndia = Connector{
	Docs:      "https://docs.payu.in/docs/webhook-events-and-sample-payloads",
	Key:       "txnid",
	Normalize: payuIndiaNormalize,
}

var payuIndiaTypes = map[string]schemas.Type{
	"success": schemas.PaymentCaptured,
	"failure": schemas.PaymentFailed,
	"failed":  schemas.PaymentFailed,
	"pending": schemas.PaymentProcessing,
}

func payuIndiaNormalize(payload []byte, _ Options) ([]Fact, error) {
	p, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	status := p["status"]
	if p["txnid"] == "" || status == "" {
		return nil, fmt.Errorf("%w: no txnid or no status: not a payment of PayU's", ErrMalformed)
	}
	var f Fact
	if f.Type = payuIndiaTypes[status]; f.Type == "" {
		return []Fact{ignored(status, fmt.Sprintf("the status %q is none that is known", status))}, nil
	}
	if f.Type == schemas.PaymentCaptured && p["unmappedstatus"] == "auth" {
		f.Type = schemas.PaymentAuthorized
	}
	f.Identity = p["txnid"] + "/" + status
	f.Account, f.ConnectorEventType = p["key"], status
	f.MerchantTransactionID, f.ConnectorTransactionID = p["txnid"], p["mihpayid"]
	f.PaymentMethod = method(p["mode"], p["card_type"])
	if f.Amount, err = major(p["amount"], "INR"); err != nil {
		return []Fact{malformed(status, err)}, nil
	}
	switch f.Type {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentCaptured:
		f.CapturedAmount = f.Amount
	case schemas.PaymentFailed:
		f.Error = failure(p["error"], first(p["error_Message"], p["field9"]), "")
	}
	return []Fact{f}, nil
}
