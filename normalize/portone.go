package normalize

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// portone: one event a webhook of version 2024-04-25, {"type", "timestamp",
// "data"}. The data is thin, the ids of the payment and of what happened to it:
// amounts must be fetched. The payment's id is the merchant's own; each attempt
// to pay it is a transaction of PortOne's. The event's id stands in a header
// that is not here, and a redelivery repeats the body, whose hash is the
// identity.
//
// https://developers.portone.io/opi/ko/integration/webhook/readme-v2?v=v2
var portone = Connector{
	Docs:      "https://developers.portone.io/opi/ko/integration/webhook/readme-v2?v=v2",
	Key:       "data.paymentId",
	Normalize: portoneNormalize,
}

var portoneTypes = map[string]schemas.Type{
	"Transaction.VirtualAccountIssued": schemas.PaymentActionRequired, // the payer has to transfer the money
	"Transaction.Confirm":              schemas.PaymentActionRequired, // the merchant has to approve
	"Transaction.PayPending":           schemas.PaymentProcessing,
	"Transaction.Paid":                 schemas.PaymentCaptured,
	"Transaction.Failed":               schemas.PaymentFailed,

	// Cancelling is for payments that are paid: it gives the money back.
	"Transaction.CancelPending":    schemas.RefundPending,
	"Transaction.PartialCancelled": schemas.RefundSucceeded,
	"Transaction.Cancelled":        schemas.RefundSucceeded,

	"Transaction.DisputeCreated": schemas.DisputeOpened,

	"BillingKey.Issued":  schemas.MandateActive,
	"BillingKey.Failed":  schemas.MandateFailed,
	"BillingKey.Deleted": schemas.MandateRevoked,
}

// portoneUntold is the events that do not say what came of it.
var portoneUntold = map[string]string{
	"Transaction.Ready":           "the payer opened the payment window, and nothing has happened yet",
	"Transaction.DisputeResolved": "for whom the dispute was decided must be fetched",
	"BillingKey.Ready":            "the payer opened the window for a billing key, and nothing has happened yet",
	"BillingKey.Updated":          "what changed in the billing key must be fetched",
}

func portoneNormalize(payload []byte, _ Options) ([]Fact, error) {
	var e struct {
		Type      text           `json:"type"`
		Timestamp text           `json:"timestamp"`
		Data      jsontext.Value `json:"data"`
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	event := string(e.Type)
	typ, ok := portoneTypes[event]
	switch why := portoneUntold[event]; {
	case event == "":
		return nil, fmt.Errorf("%w: no type: not an event of PortOne's, version 2024-04-25", ErrMalformed)
	case why != "":
		return []Fact{ignored(event, why)}, nil
	case !ok:
		return []Fact{notUnified(event)}, nil
	}
	f, err := portoneFact(e.Data, typ)
	if err == nil {
		f.Time, err = timestamp(e.Timestamp, time.RFC3339)
	}
	return oneFact(event, f, err)
}

func portoneFact(data jsontext.Value, typ schemas.Type) (f Fact, err error) {
	var d struct {
		PaymentID      text   `json:"paymentId"`
		TransactionID  text   `json:"transactionId"`
		CancellationID text   `json:"cancellationId"`
		StoreID        text   `json:"storeId"`
		TotalAmount    *int64 `json:"totalAmount"`
		BillingKey     text   `json:"billingKey"`
	}
	if err := redecode(data, &d); err != nil {
		return f, err
	}
	switch mandate := typ.Family() == "mandate"; {
	case mandate && d.BillingKey == "":
		return f, fmt.Errorf("%w: no data.billingKey", ErrMalformed)
	case !mandate && (d.PaymentID == "" || d.TransactionID == ""):
		return f, fmt.Errorf("%w: no data.paymentId or no data.transactionId", ErrMalformed)
	}
	f.Type, f.Account = typ, string(d.StoreID)
	f.MerchantTransactionID, f.ConnectorTransactionID = string(d.PaymentID), string(d.TransactionID)
	f.ConnectorRefundID, f.ConnectorMandateID = string(d.CancellationID), string(d.BillingKey)
	f.Amount, err = minor(d.TotalAmount, "", nil)
	return f, err
}
