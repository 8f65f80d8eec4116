package normalize

import (
	"fmt"

	"github.com/tollbridge/tollbridge/schemas"
)

// skrill: a form about one payment and its status. The merchant's reference,
// the status and mb_amount, which is in the currency of the merchant's account,
// are signed, and they are the identity. Where that amount was converted it can
// have more decimals than its currency: no exact amount. Then, and only then,
// amount and currency stand in, which are what the merchant asked for and not
// signed.
//
// https://www.skrill.com/fileadmin/content/pdf/Skrill_Quick_Checkout_Guide.pdf
var skrill = Connector{
	Docs:      "https://www.skrill.com/fileadmin/content/pdf/Skrill_Quick_Checkout_Guide.pdf",
	Key:       "transaction_id",
	Normalize: skrillNormalize,
}

var skrillTypes = map[string]schemas.Type{
	"2":  schemas.PaymentCaptured,
	"0":  schemas.PaymentProcessing,
	"-1": schemas.PaymentCancelled,
	"-2": schemas.PaymentFailed,
	"-3": schemas.DisputeOpened, // a chargeback
}

func skrillNormalize(payload []byte, _ Options) ([]Fact, error) {
	p, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	status := p["status"]
	if status == "" || p["transaction_id"] == "" && p["mb_transaction_id"] == "" {
		return nil, fmt.Errorf("%w: no status or no transaction_id: not a status report of Skrill's", ErrMalformed)
	}
	var f Fact
	if f.Type = skrillTypes[status]; f.Type == "" {
		return []Fact{ignored(status, fmt.Sprintf("the status %q is none that is known", status))}, nil
	}
	f.Identity = p["transaction_id"] + "/" + status + "/" + p["mb_amount"] + "/" + p["mb_currency"]
	f.Account, f.ConnectorEventType = p["merchant_id"], status
	f.MerchantTransactionID, f.ConnectorTransactionID = p["transaction_id"], p["mb_transaction_id"]
	f.PaymentMethod = method(p["payment_type"], "")
	if f.Amount, err = major(p["mb_amount"], p["mb_currency"]); err != nil {
		f.Amount, err = major(p["amount"], p["currency"])
	}
	if err != nil {
		return []Fact{malformed(status, err)}, nil
	}
	switch f.Type {
	case schemas.PaymentCaptured:
		f.CapturedAmount = f.Amount
	case schemas.PaymentFailed:
		f.Error = failure(p["failed_reason_code"], "", "")
	case schemas.DisputeOpened:
		f.Stage = schemas.StageDispute
	}
	return []Fact{f}, nil
}
