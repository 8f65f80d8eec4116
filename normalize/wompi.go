package normalize

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/tollbridge/tollbridge/schemas"
)

// wompi normalises Wompi's webhooks. One webhook is one event, {"event",
// "data", "timestamp", ...}, about a payment, a payout to a third party, a
// batch of payouts, or a stored payment method. Payments and payouts have the
// same event name, transaction.updated: a payout has the field amountInCents, a
// payment amount_in_cents. Both are in hundredths.
//
// Only the id, the status and the amount are signed. The id and the status are
// the identity. The merchant's reference is not signed, but nothing else
// identifies the payment for the merchant. Wompi sends no events about refunds
// and disputes.
//
// https://docs.wompi.co/en/docs/colombia/eventos/
// https://docs.wompi.co/en/docs/colombia/eventos-pagos-a-terceros/
var wompi = Connector{
	Docs:      "https://docs.wompi.co/en/docs/colombia/eventos/",
	Key:       "data.transaction.reference, data.payout.reference",
	Tellers:   wompiTellers(),
	Captures:  CountsOnce, // a transaction is approved once
	normalize: wompiNormalize,
}

// wompiPaymentTypes maps the status of a payment to the event type.
// https://docs.wompi.co/en/docs/colombia/transacciones/
var wompiPaymentTypes = map[string]schemas.Type{
	"PENDING":  schemas.PaymentProcessing,
	"APPROVED": schemas.PaymentCaptured,
	"DECLINED": schemas.PaymentFailed,
	"ERROR":    schemas.PaymentFailed,
	"VOIDED":   schemas.PaymentCancelled, // by the merchant, on the day of the payment
}

// wompiPayoutTypes maps the status of one payout to the event type.
var wompiPayoutTypes = map[string]schemas.Type{
	"PENDING":    schemas.PayoutCreated,
	"PROCESSING": schemas.PayoutProcessing,
	"APPROVED":   schemas.PayoutSucceeded,
	"DECLINED":   schemas.PayoutFailed,
	"FAILED":     schemas.PayoutFailed,
	"CANCELLED":  schemas.PayoutCancelled,
}

// wompiTokenTypes maps the status of a stored payment method to the event type.
var wompiTokenTypes = map[string]schemas.Type{
	"APPROVED": schemas.MandateActive,
	"DECLINED": schemas.MandateFailed,
}

// wompiTellers lists the event types, derived from the tables of the statuses. A payout to a third
// party has its own event beside that of its batch:
// https://docs.wompi.co/en/docs/colombia/eventos-pagos-a-terceros/
func wompiTellers() []Teller {
	transactions := append(slices.Sorted(maps.Values(wompiPaymentTypes)), slices.Sorted(maps.Values(wompiPayoutTypes))...)
	tokens := distinct(slices.Sorted(maps.Values(wompiTokenTypes))...)
	return []Teller{
		{Event: "transaction.updated", Facts: distinct(transactions...)},
		{Event: "nequi_token.updated", Facts: tokens},
		{Event: "bancolombia_transfer_token.updated", Facts: tokens},
	}
}

// wompiEvent is the body of a webhook.
type wompiEvent struct {
	Event       text `json:"event"`
	Environment text `json:"environment"`
	Timestamp   text `json:"timestamp"` // a number, or text: both are signed alike
	Data        part `json:"data"`
}

// wompiData is the object that an event is about.
type wompiData struct {
	ID                text   `json:"id"`
	Status            string `json:"status"`
	Reference         text   `json:"reference"`
	AmountInCents     text   `json:"amount_in_cents"` // a number, or text: both are signed alike
	PayoutAmount      text   `json:"amountInCents"`
	Currency          string `json:"currency"`
	StatusMessage     text   `json:"status_message"`
	PaymentMethodType text   `json:"payment_method_type"`
	PaymentSourceID   text   `json:"payment_source_id"`
	PaymentMethod     struct {
		Extra struct {
			Brand text `json:"brand"`
		} `json:"extra"`
	} `json:"payment_method"`
	FailureReason struct {
		Code        text `json:"code"`
		Message     text `json:"message"`
		Description text `json:"description"`
	} `json:"failureReason"`
}

func wompiNormalize(payload []byte, _ Options) ([]fact, error) {
	var e wompiEvent
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	if e.Event == "" {
		return nil, fmt.Errorf("%w: no event: not an event of Wompi's", ErrMalformed)
	}
	f, err := e.fact()
	if e.Environment == "test" {
		f.Mode = modeTest
	}
	return oneFact(e.Event, f, err)
}

// fact returns the fact of the event.
func (e wompiEvent) fact() (f fact, err error) {
	event := string(e.Event)
	states := wompiTokenTypes
	switch event {
	case "transaction.updated":
		states = wompiPaymentTypes
	case "nequi_token.updated", "bancolombia_transfer_token.updated":
	case "payout.updated":
		return ignored(event, "a batch of payouts; each of them has events of its own"), nil
	default:
		return notUnified(event), nil
	}
	var data struct {
		Transaction     wompiData `json:"transaction"`
		NequiToken      wompiData `json:"nequi_token"`
		BancolombiToken wompiData `json:"bancolombia_transfer_token"`
	}
	if err := redecode(e.Data, &data); err != nil {
		return f, err
	}
	d := data.Transaction
	switch event {
	case "nequi_token.updated":
		d = data.NequiToken
	case "bancolombia_transfer_token.updated":
		d = data.BancolombiToken
	}
	if event == "transaction.updated" && d.PayoutAmount != "" {
		states = wompiPayoutTypes
	}
	if d.ID == "" || d.Status == "" {
		return f, fmt.Errorf("%w: no id or no status of what the event is about", ErrMalformed)
	}
	if f.Type = states[d.Status]; f.Type == "" {
		return ignored(event, fmt.Sprintf("tollbridge has no event type for the status %q", d.Status)), nil
	}
	f.Identity = string(d.ID) + "/" + d.Status
	sent, err := strconv.ParseInt(string(e.Timestamp), 10, 64)
	if err != nil {
		return f, fmt.Errorf("%w: timestamp is %q, want Unix seconds or milliseconds", ErrMalformed, e.Timestamp)
	}
	f.Time = unixOrMilli(sent)
	switch f.Type.Family() {
	case "payment":
		return d.payment(f)
	case "payout":
		return d.payout(f)
	}
	f.ConnectorMandateID = string(d.ID)
	return f, nil
}

// payment fills in the fact of a payment.
func (d wompiData) payment(f fact) (fact, error) {
	f.MerchantTransactionID, f.ConnectorTransactionID = string(d.Reference), string(d.ID)
	f.PaymentMethod = method(d.PaymentMethodType, d.PaymentMethod.Extra.Brand)
	f.MandateID = string(d.PaymentSourceID)
	var err error
	if f.Amount, err = minorText(d.AmountInCents, d.Currency, nil); err != nil {
		return f, err
	}
	f.setAmountByType()
	if f.Type == schemas.PaymentFailed {
		f.Error = failure("", d.StatusMessage, "")
	}
	return f, nil
}

// payout fills in the fact of a payout.
func (d wompiData) payout(f fact) (fact, error) {
	f.MerchantTransactionID, f.MerchantPayoutID = string(d.Reference), string(d.Reference)
	f.ConnectorPayoutID = string(d.ID)
	if f.Type == schemas.PayoutFailed {
		f.Error = failure(d.FailureReason.Code, first(d.FailureReason.Message, d.FailureReason.Description), "")
	}
	var err error
	f.Amount, err = minorText(d.PayoutAmount, d.Currency, nil)
	return f, err
}
