package normalize

import (
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// recurly: one event a webhook, {"id", "object_type", "site_id", "event_type",
// "event_time", "uuid"}, where id and uuid are those of the object and not of
// the event. Nothing else of a payment is told: amount, reference and the
// payment that a refund belongs to must be fetched. A payment's key is its
// uuid, the name of the transaction in the older API and in exports.
//
// An invoice is paid by a payment, and tells the same once more under another
// id; only payments are unified. Recurly calls a transaction that gives money
// back a payment that is refunded.
//
// https://docs.recurly.com/recurly-subscriptions/docs/payment-notifications
var recurly = Connector{
	Docs:      "https://docs.recurly.com/recurly-subscriptions/docs/payment-notifications",
	Key:       "none: the payload names only Recurly's own transaction",
	Normalize: recurlyNormalize,
}

// recurlyPayments are what the events of the object type payment mean.
var recurlyPayments = map[string]schemas.Type{
	"scheduled":  schemas.PaymentProcessing, // handed to the bank
	"processing": schemas.PaymentProcessing,
	"authorized": schemas.PaymentAuthorized,
	"succeeded":  schemas.PaymentCaptured,
	"success":    schemas.PaymentCaptured, // so Recurly's pages on UPI and PayPay call it
	"failed":     schemas.PaymentFailed,
	"voided":     schemas.PaymentCancelled,
	"refunded":   schemas.RefundSucceeded,
}

func recurlyNormalize(payload []byte, _ Options) ([]Fact, error) {
	var e struct {
		ID         text `json:"id"`
		UUID       text `json:"uuid"`
		ObjectType text `json:"object_type"`
		SiteID     text `json:"site_id"`
		EventType  text `json:"event_type"`
		EventTime  text `json:"event_time"`
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	event := string(e.ObjectType + "." + e.EventType)
	typ, ok := recurlyPayments[string(e.EventType)]
	switch {
	case e.EventType == "":
		return nil, fmt.Errorf("%w: no event_type: not an event of Recurly's", ErrMalformed)
	case event == "payment.transaction_status_updated":
		return []Fact{ignored(event, "the transaction's new status must be fetched, or is told by an event of its own")}, nil
	case !ok || e.ObjectType != "payment":
		return []Fact{notUnified(event)}, nil
	case e.ID == "":
		return oneMalformed(event, fmt.Errorf("%w: no id: it is not told what the event is about", ErrMalformed))
	}
	f := Fact{Type: typ, Identity: string(e.ID + " " + e.EventType + " " + e.EventTime)}
	f.Account, f.ConnectorEventType = string(e.SiteID), event
	if typ == schemas.RefundSucceeded {
		f.ConnectorRefundID = first(e.UUID, e.ID)
	} else {
		f.ConnectorTransactionID = first(e.UUID, e.ID)
	}
	var err error
	if f.Time, err = timestamp(e.EventTime, time.RFC3339); err != nil {
		return oneMalformed(event, err)
	}
	return []Fact{f}, nil
}
