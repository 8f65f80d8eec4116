package normalize

import (
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// recurly normalises Recurly's webhooks. One webhook is one event, {"id",
// "object_type", "site_id", "event_type", "event_time", "uuid"}; id and uuid
// are those of the object and not of the event. The payload has nothing else:
// the amount, the merchant's reference and the payment of a refund are not
// there. A payment's key is its uuid, by which the older API and exports name
// the transaction.
//
// When an invoice is paid, there are two events with different ids, one of the
// payment and one of the invoice; only events of payments become events of
// ours. What Recurly calls a refunded payment is the transaction that gave the
// money back.
//
// https://docs.recurly.com/recurly-subscriptions/docs/payment-notifications
var recurly = Connector{
	Docs:      "https://docs.recurly.com/recurly-subscriptions/docs/payment-notifications",
	Key:       "none: the payload names only Recurly's own transaction",
	Normalize: recurlyNormalize,
}

// recurlyTypes maps the events of the object type payment to event types.
var recurlyTypes = map[string]schemas.Type{
	"scheduled":  schemas.PaymentProcessing, // submitted to the bank
	"processing": schemas.PaymentProcessing,
	"authorized": schemas.PaymentAuthorized,
	"succeeded":  schemas.PaymentCaptured,
	"success":    schemas.PaymentCaptured, // the name in Recurly's pages about UPI and PayPay
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
	typ, ok := recurlyTypes[string(e.EventType)]
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
