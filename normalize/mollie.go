package normalize

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// mollie reads one event for each next-gen webhook, {"resource": "event", "id", "type",
// "entityId", "createdAt"}. The entity at the time of the event is in _embedded, under
// the name "entity" or, in older webhooks, its type; a webhook that is set up without it
// has none. A classic webhook, id=<id>, has no state: it must be fetched.
//
// A refund and a capture have metadata of their own, which may differ from the payment's.
// Mollie has not documented yet which status says who won a dispute: an event with an
// unknown status is ignored.
//
// https://docs.mollie.com/reference/webhooks-new
// https://docs.mollie.com/reference/payouts-api-webhooks
// https://docs.mollie.com/reference/transfers-api-webhooks
var mollie = Connector{
	Docs:      "https://docs.mollie.com/reference/webhooks-new",
	Key:       "_embedded.entity.metadata.<merchant_id_keys>",
	Normalize: mollieNormalize,
}

// mollieTypes are the event types of an event; empty if the status decides.
var mollieTypes = map[string]schemas.Type{
	"payment.authorized": schemas.PaymentAuthorized,
	"payment.paid":       schemas.PaymentCaptured,
	"payment.pending":    schemas.PaymentProcessing,
	"payment.failed":     schemas.PaymentFailed,
	"payment.canceled":   schemas.PaymentCancelled,
	"payment.expired":    schemas.PaymentExpired,
	"payment-link.paid":  schemas.PaymentCaptured,
	"sales-invoice.paid": schemas.PaymentCaptured,
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
	"dispute.created":     schemas.DisputeOpened,
	"dispute.updated":     "",
	"dispute.resolved":    "",

	"payout.initiated":          schemas.PayoutProcessing,
	"payout.processing-at-bank": schemas.PayoutProcessing,
	"payout.completed":          schemas.PayoutSucceeded,
	"payout.failed":             schemas.PayoutFailed,
	"payout.canceled":           schemas.PayoutCancelled,

	"business-account-transfer.requested":      schemas.PayoutCreated,
	"business-account-transfer.initiated":      schemas.PayoutProcessing,
	"business-account-transfer.pending-review": schemas.PayoutProcessing,
	"business-account-transfer.processed":      schemas.PayoutSucceeded,
	"business-account-transfer.failed":         schemas.PayoutFailed,
	"business-account-transfer.blocked":        schemas.PayoutFailed,
	"business-account-transfer.returned":       schemas.PayoutReversed,
}

// mollieDisputeTypes are the event types of a dispute's status.
var mollieDisputeTypes = map[text]schemas.Type{
	"won":  schemas.DisputeWon,
	"lost": schemas.DisputeLost,
}

// mollieStatusTypes are the event types of a status that says less than the event's
// name, by the type of the event: the entity of a "paid" event can still be open.
var mollieStatusTypes = map[schemas.Type]map[text]schemas.Type{
	schemas.PaymentCaptured: {
		"open":       schemas.PaymentActionRequired,
		"pending":    schemas.PaymentProcessing,
		"authorized": schemas.PaymentAuthorized,
		"failed":     schemas.PaymentFailed,
		"canceled":   schemas.PaymentCancelled,
		"expired":    schemas.PaymentExpired,
	},
	schemas.RefundSucceeded: {
		"queued":     schemas.RefundPending,
		"pending":    schemas.RefundPending,
		"processing": schemas.RefundPending,
		"failed":     schemas.RefundFailed,
		"canceled":   schemas.RefundCancelled,
	},
	schemas.PayoutSucceeded: {
		"open":       schemas.PayoutProcessing,
		"pending":    schemas.PayoutProcessing,
		"requested":  schemas.PayoutProcessing,
		"initiated":  schemas.PayoutProcessing,
		"processing": schemas.PayoutProcessing,
		"failed":     schemas.PayoutFailed,
		"canceled":   schemas.PayoutCancelled,
	},
}

type mollieEvent struct {
	ID        text           `json:"id"`
	Type      text           `json:"type"`
	EntityID  text           `json:"entityId"`
	CreatedAt text           `json:"createdAt"`
	Embedded  jsontext.Value `json:"_embedded"` // an empty array if there is none
}

type mollieAmount struct {
	Value    text `json:"value"`
	Currency text `json:"currency"`
}

// mollieEntity is the entity of an event; each type has some of the fields.
type mollieEntity struct {
	Mode           text         `json:"mode"`
	Status         text         `json:"status"`
	PaymentID      text         `json:"paymentId"`
	MandateID      text         `json:"mandateId"`
	Method         text         `json:"method"`
	Metadata       metadata     `json:"metadata"`
	Amount         mollieAmount `json:"amount"`
	AmountCaptured mollieAmount `json:"amountCaptured"`
	TotalAmount    mollieAmount `json:"totalAmount"`          // of invoices
	Indicator      text         `json:"creditDebitIndicator"` // of transfers
	StatusReason   struct {
		Code    text `json:"code"`
		Message text `json:"message"`
	} `json:"statusReason"`
	Reason mollieReason `json:"reason"`
}

// mollieReason is the reason of a chargeback: an object or text.
type mollieReason struct{ code, description text }

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (r *mollieReason) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		return r.description.UnmarshalJSONFrom(d)
	}
	var o struct {
		Code        text `json:"code"`
		Description text `json:"description"`
	}
	err := json.UnmarshalDecode(d, &o)
	r.code, r.description = o.Code, o.Description
	return err
}

// entity returns the entity of the event; all its fields are empty if the webhook has
// none.
func (e mollieEvent) entity() (d mollieEntity, err error) {
	if e.Embedded.Kind() != '{' {
		return d, nil
	}
	var embedded map[string]jsontext.Value
	if err := redecode(e.Embedded, &embedded); err != nil {
		return d, err
	}
	resource, _, _ := strings.Cut(string(e.Type), ".")
	for _, name := range []string{"entity", resource} {
		if v := embedded[name]; v.Kind() == '{' {
			return d, redecode(v, &d)
		}
	}
	return d, nil
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
	event := string(e.Type)
	typ, ok := mollieTypes[event]
	if !ok {
		return []Fact{notUnified(event)}, nil
	}
	f, err := e.fact(typ, o)
	return oneFact(event, f, err)
}

// fact returns the fact of an event.
func (e mollieEvent) fact(typ schemas.Type, o Options) (f Fact, err error) {
	if e.EntityID == "" {
		return f, fmt.Errorf("%w: no entityId", ErrMalformed)
	}
	d, err := e.entity()
	if err != nil {
		return f, err
	}
	switch {
	case typ == "":
		if typ = mollieDisputeTypes[d.Status]; typ == "" {
			return ignored(e.Type, fmt.Sprintf("a dispute in status %q: for whom it is decided must be fetched", d.Status)), nil
		}
	case typ.Family() == "payout" && d.Indicator == "credit" && typ != schemas.PayoutReversed:
		return ignored(e.Type, "somebody else sent money to the merchant's account"), nil
	}
	typ = schemas.Type(first(mollieStatusTypes[typ][d.Status], typ))
	f.Type, f.Identity = typ, string(e.ID)
	f.ConnectorEventID, f.ConnectorEventType = string(e.ID), string(e.Type)
	f.MerchantTransactionID = o.merchantID(d.Metadata)
	f.MandateID, f.PaymentMethod = string(d.MandateID), method(d.Method, "")
	if d.Mode != "" {
		f.Mode = mode(d.Mode != "test")
	}
	switch typ.Family() {
	case "payment":
		f.ConnectorTransactionID = first(d.PaymentID, e.EntityID)
		f.Error = failure(d.StatusReason.Code, d.StatusReason.Message, "")
		if d.PaymentID != "" && f.MerchantTransactionID != "" { // a capture
			f.KeySource = schemas.KeyFromRequest
		}
	case "refund":
		f.ConnectorTransactionID, f.ConnectorRefundID = string(d.PaymentID), string(e.EntityID)
		if f.MerchantTransactionID != "" {
			f.KeySource = schemas.KeyFromRequest
		}
		f.Error = failure(d.StatusReason.Code, d.StatusReason.Message, "")
	case "payout":
		f.ConnectorPayoutID, f.PaymentMethod = string(e.EntityID), nil
		f.Error = failure(d.StatusReason.Code, d.StatusReason.Message, "")
	case "dispute":
		f.ConnectorTransactionID, f.ConnectorDisputeID = string(d.PaymentID), string(e.EntityID)
		f.Stage, f.Reason, f.ReasonCode = schemas.StageDispute, string(d.Reason.description), string(d.Reason.code)
	}
	if f.Time, err = timestamp(e.CreatedAt, time.RFC3339); err != nil {
		return f, err
	}
	for _, amount := range []mollieAmount{d.TotalAmount, d.Amount} {
		if f.Amount == nil {
			if f.Amount, err = major(amount.Value, amount.Currency); err != nil {
				return f, err
			}
		}
	}
	switch {
	case typ == schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case typ == schemas.PaymentCaptured && d.AmountCaptured.Value != "":
		f.CapturedAmount, err = major(d.AmountCaptured.Value, d.AmountCaptured.Currency)
		f.Amount = f.CapturedAmount // it can be less than the authorized amount
	case typ == schemas.PaymentCaptured && d.PaymentID == "": // a capture has its own amount, not the sum of all captures
		f.CapturedAmount = f.Amount
	}
	return f, err
}
