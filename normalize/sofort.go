package normalize

import (
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// sofort: a form about one transfer, made by the payer at the bank. A project
// without a status is told of transfers that were carried out, and of nothing
// else. Where the merchant's account is not with the bank that Sofort looks
// into, a transfer is untraceable: ordered, and never told of again.
//
// The identity is the transfer and its status. It can be refunded in parts: the
// time of the status, which is signed, tells them apart, and the amount is the
// whole transfer's, which is not what went back.
//
// https://www.sofort.com/integrationCenter-eng-DE/content/view/full/2513/
var sofort = Connector{
	Docs:      "https://www.sofort.com/integrationCenter-eng-DE/content/view/full/2513/",
	Key:       "user_variable_0",
	Normalize: sofortNormalize,
}

var sofortTypes = map[string]schemas.Type{
	"":         schemas.PaymentCaptured,
	"received": schemas.PaymentCaptured,
	"pending":  schemas.PaymentProcessing, // ordered at the bank, not yet on the account
	"loss":     schemas.PaymentFailed,     // it never came
	"refunded": schemas.RefundSucceeded,

	"untraceable": schemas.PaymentProcessing,
}

func sofortNormalize(payload []byte, _ Options) ([]Fact, error) {
	p, err := decodeForm(payload)
	if err != nil {
		return nil, err
	}
	if p["transaction"] == "" {
		return nil, fmt.Errorf("%w: no transaction: not a notification of Sofort's", ErrMalformed)
	}
	event := first(p["status"], "notification")
	var f Fact
	if f.Type = sofortTypes[p["status"]]; f.Type == "" {
		return []Fact{ignored(event, fmt.Sprintf("the status %q says nothing of the money", event))}, nil
	}
	f.Identity = p["transaction"] + "/" + p["status"]
	if f.Type == schemas.RefundSucceeded {
		f.Identity += "/" + p["status_modified"]
	}
	f.Account, f.ConnectorEventType = p["project_id"], event
	f.MerchantTransactionID, f.ConnectorTransactionID = p["user_variable_0"], p["transaction"]
	// The times have no zone.
	if _, err = timestamp(p["created"], time.DateTime); err != nil {
		return oneMalformed(event, err)
	}
	if f.Amount, err = major(p["amount"], p["currency_id"]); err != nil {
		return oneMalformed(event, err)
	}
	f.setAmountByType()
	if f.Type == schemas.RefundSucceeded {
		f.Amount = nil
	}
	return []Fact{f}, nil
}
