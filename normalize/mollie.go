package normalize

import (
	"bytes"
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// mollie: one event a next-gen webhook, {"resource": "event", "id", "type",
// "entityId", "createdAt"}, with the entity as it was then in _embedded, unless
// the webhook is set up without it. A classic webhook, id=<id>, is only a hint
// to fetch.
//
// https://docs.mollie.com/reference/webhooks-new
var mollie = Connector{
	Docs:      "https://docs.mollie.com/reference/webhooks-new",
	Key:       "_embedded.entity.metadata.<merchant_id_keys>",
	Normalize: mollieNormalize,
}

var mollieTypes = map[string]schemas.Type{
	"payment.authorized": schemas.PaymentAuthorized,
	"payment.paid":       schemas.PaymentCaptured,
	"payment.pending":    schemas.PaymentProcessing,
	"payment.failed":     schemas.PaymentFailed,
	"payment.canceled":   schemas.PaymentCancelled,
	"payment.expired":    schemas.PaymentExpired,
	"payment-link.paid":  schemas.PaymentCaptured,
	"capture.succeeded":  schemas.PaymentCaptured,
	"capture.failed":     schemas.PaymentCaptureFailed,

	"refund.queued":     schemas.RefundPending,
	"refund.pending":    schemas.RefundPending,
	"refund.processing": schemas.RefundPending,
	"refund.refunded":   schemas.RefundSucceeded,
	"refund.failed":     schemas.RefundFailed,
	"refund.canceled":   schemas.RefundCancelled,

	"chargeback.received": schemas.DisputeOpened,
	"chargeback.reversed": schemas.DisputeWon,
}

type mollieEvent struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	EntityID  text   `json:"entityId"`
	CreatedAt string `json:"createdAt"`
	Embedded  struct {
		Entity struct {
			Mode      text     `json:"mode"`
			PaymentID text     `json:"paymentId"`
			MandateID text     `json:"mandateId"`
			Method    text     `json:"method"`
			Metadata  metadata `json:"metadata"`
			Amount    struct {
				Value    text `json:"value"`
				Currency text `json:"currency"`
			} `json:"amount"`
			StatusReason struct {
				Code    text `json:"code"`
				Message text `json:"message"`
			} `json:"statusReason"`
			Reason struct {
				Code        text `json:"code"`
				Description text `json:"description"`
			} `json:"reason"`
		} `json:"entity"`
	} `json:"_embedded"`
}

func mollieNormalize(payload []byte, o Options) ([]Fact, error) {
	if bytes.HasPrefix(payload, []byte("id=")) {
		return []Fact{ignored("", "a classic webhook names an id and no state: it must be fetched")}, nil
	}
	var e mollieEvent
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	if e.Type == "" {
		return nil, fmt.Errorf("%w: no type: not an event of Mollie's", ErrMalformed)
	}
	typ, ok := mollieTypes[e.Type]
	if !ok {
		return []Fact{notUnified(e.Type)}, nil
	}
	f, err := e.fact(typ, o)
	if err != nil {
		return []Fact{malformed(e.Type, err)}, nil
	}
	return []Fact{f}, nil
}

func (e mollieEvent) fact(typ schemas.Type, o Options) (f Fact, err error) {
	if e.EntityID == "" {
		return f, fmt.Errorf("%w: no entityId", ErrMalformed)
	}
	d := e.Embedded.Entity
	f.Type, f.Identity = typ, e.ID
	f.ConnectorEventID, f.ConnectorEventType = e.ID, e.Type
	f.MerchantTransactionID = o.merchantID(d.Metadata)
	f.MandateID, f.PaymentMethod = string(d.MandateID), method(string(d.Method), "")
	if d.Mode != "" {
		f.Mode = mode(d.Mode != "test")
	}
	switch typ.Family() {
	case "payment":
		f.ConnectorTransactionID = first(d.PaymentID, e.EntityID)
		f.Error = failure(string(d.StatusReason.Code), string(d.StatusReason.Message), "")
	case "refund":
		f.ConnectorTransactionID, f.ConnectorRefundID = string(d.PaymentID), string(e.EntityID)
	case "dispute":
		f.ConnectorTransactionID, f.ConnectorDisputeID = string(d.PaymentID), string(e.EntityID)
		f.Stage, f.Reason, f.ReasonCode = schemas.StageDispute, string(d.Reason.Description), string(d.Reason.Code)
	}
	if f.Time, err = timestamp(e.CreatedAt, time.RFC3339); err != nil {
		return f, err
	}
	f.Amount, err = major(string(d.Amount.Value), string(d.Amount.Currency))
	switch typ {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentCaptured:
		f.CapturedAmount = f.Amount
	}
	return f, err
}
