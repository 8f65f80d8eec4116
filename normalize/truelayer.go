package normalize

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// truelayer normalises TrueLayer's webhooks. One webhook is one event, {"type",
// "event_id", "payment_id", ...}. It says what happened and when; most events
// have no amount. The payment, refund or payout in the API has it.
//
// A payment to a merchant account is captured when it is settled. Before that,
// payment_executed says that the payer's bank accepted it, and
// payment_creditable that TrueLayer guarantees it. For a payment to an account
// outside TrueLayer, payment_executed is the last event, because TrueLayer does
// not see the money arrive. The event does not say which of the two it is; the
// setting of the endpoint does. A payout that the recipient's bank returns
// fails after it was executed.
//
// https://docs.truelayer.com/docs/payment-webhook-specifications
// https://docs.truelayer.com/docs/payout-webhooks
// https://docs.truelayer.com/docs/payout-and-refund-returns
var truelayer = Connector{
	Docs:      "https://docs.truelayer.com/docs/payment-webhook-specifications",
	Key:       "metadata.<merchant_id_keys>, which for refunds is the refund's own",
	Settings:  []Setting{truelayerBeneficiary},
	Tellers:   tellersOf(truelayerTypes, truelayerOtherTypes),
	Captures:  CountsOnce, // a payment is settled once
	normalize: truelayerNormalize,
}

// truelayerBeneficiary is the setting that says where the payments of an
// endpoint go.
var truelayerBeneficiary = Setting{Name: "beneficiary", Description: "external_account, if payments go to accounts outside TrueLayer: payment_executed is their last event, and then counts as captured"}

// truelayerTypes maps the event name to the event type.
var truelayerTypes = map[string]schemas.Type{
	"payment_authorized":         schemas.PaymentProcessing, // by the payer; the bank has not executed it yet
	"payment_executed":           schemas.PaymentProcessing,
	"payment_creditable":         schemas.PaymentProcessing,
	"payment_funds_received":     schemas.PaymentProcessing,
	"payment_settlement_stalled": schemas.PaymentProcessing,
	"payment_settled":            schemas.PaymentCaptured,
	"payment_failed":             schemas.PaymentFailed,
	"payment_reversed":           schemas.PaymentReversed,
	"payment_disputed":           schemas.DisputeOpened,
	"external_payment_received":  schemas.PaymentCaptured, // somebody sent money without a payment request

	"refund_executed": schemas.RefundSucceeded,
	"refund_failed":   schemas.RefundFailed,

	"payout_executed": schemas.PayoutSucceeded,
	"payout_failed":   schemas.PayoutFailed,

	"mandate_authorized": schemas.MandateActive,
	"mandate_failed":     schemas.MandateFailed,
	"mandate_revoked":    schemas.MandateRevoked,
}

// truelayerOtherTypes are the types that a setting or the reason of a failure gives.
var truelayerOtherTypes = map[string]schemas.Type{
	"payment_executed": schemas.PaymentCaptured,
	"payout_failed":    schemas.PayoutReversed,
}

// truelayerEvent is the body of a webhook.
type truelayerEvent struct {
	Type          string   `json:"type"`
	EventID       string   `json:"event_id"`
	PaymentID     text     `json:"payment_id"`
	RefundID      text     `json:"refund_id"`
	PayoutID      text     `json:"payout_id"`
	MandateID     text     `json:"mandate_id"`
	TransactionID text     `json:"transaction_id"` // of external_payment_received
	Amount        *int64   `json:"amount_in_minor"`
	Currency      text     `json:"currency"`
	FailureReason text     `json:"failure_reason"`
	Metadata      metadata `json:"metadata"`
	PaymentMethod struct {
		Type      text `json:"type"`
		MandateID text `json:"mandate_id"`
	} `json:"payment_method"`

	// The times at which things happened; method at chooses one.
	AuthorizedAt        text `json:"authorized_at"`
	ExecutedAt          text `json:"executed_at"`
	CreditableAt        text `json:"creditable_at"`
	ReceivedAt          text `json:"received_at"`
	SettlementStalledAt text `json:"settlement_stalled_at"`
	SettledAt           text `json:"settled_at"`
	FailedAt            text `json:"failed_at"`
	ReversedAt          text `json:"reversed_at"`
	DisputedAt          text `json:"disputed_at"`
	RevokedAt           text `json:"revoked_at"`
}

func truelayerNormalize(payload []byte, o Options) ([]fact, error) {
	var envelope struct {
		Type    text `json:"type"`
		EventID text `json:"event_id"`
	}
	if err := decode(payload, &envelope); err != nil {
		return nil, err
	}
	event := string(envelope.Type)
	typ, ok := truelayerTypes[event]
	switch {
	case event == "":
		return nil, fmt.Errorf("%w: no type: not an event of TrueLayer's", ErrMalformed)
	case !ok:
		return []fact{notUnified(event)}, nil
	case envelope.EventID == "":
		return oneMalformed(event, fmt.Errorf("%w: no event_id: not an event of TrueLayer's", ErrMalformed))
	}
	var e truelayerEvent
	if err := redecode(payload, &e); err != nil {
		return oneMalformed(event, err)
	}
	if e.Type == "payment_executed" && o.Settings[truelayerBeneficiary.Name] == "external_account" {
		typ = schemas.PaymentCaptured
	}
	if e.Type == "payout_failed" && e.FailureReason == "returned" {
		typ = schemas.PayoutReversed
	}
	f, err := e.fact(typ, o)
	f.Identity, f.ConnectorEventID = e.EventID, e.EventID
	if o.Settings["environment"] == "sandbox" { // verify used the key of the sandbox
		f.Mode = modeTest
	}
	return oneFact(e.Type, f, err)
}

// fact returns the fact of the event, of the type typ.
func (e truelayerEvent) fact(typ schemas.Type, o Options) (f fact, err error) {
	f.Type = typ
	f.MerchantTransactionID = o.merchantID(e.Metadata)
	f.ConnectorTransactionID = first(e.PaymentID, e.TransactionID)
	f.Error = failure(e.FailureReason, "", "")
	var id text
	switch typ.Family() {
	case "payment":
		id, f.MandateID = text(f.ConnectorTransactionID), string(e.PaymentMethod.MandateID)
		f.PaymentMethod = method(e.PaymentMethod.Type, "")
	case "dispute":
		id = e.PaymentID
	case "refund":
		id, f.ConnectorRefundID = e.RefundID, string(e.RefundID)
		f.KeySource, f.MerchantRefundID = schemas.KeyFromRequest, f.MerchantTransactionID
	case "payout":
		id, f.ConnectorPayoutID, f.MerchantPayoutID = e.PayoutID, string(e.PayoutID), f.MerchantTransactionID
	case "mandate":
		id, f.ConnectorMandateID = e.MandateID, string(e.MandateID)
	}
	if id == "" {
		return f, fmt.Errorf("%w: no id of the %s", ErrMalformed, typ.Family())
	}
	if f.Time, err = timestamp(e.at(), time.RFC3339); err != nil {
		return f, err
	}
	f.Amount, err = minor(e.Amount, e.Currency, nil)
	if typ == schemas.PaymentCaptured {
		f.CapturedAmount = f.Amount
	}
	if err != nil {
		return f, err
	}
	return f, f.fillFromTruelayer(typ.Family(), id, o)
}

// fillFromTruelayer adds what the API says of the payment, refund or payout with the id.
// A dispute is about a payment. Mandates are not fetched.
func (f *fact) fillFromTruelayer(kind string, id text, o Options) error {
	if len(o.Fetched) == 0 {
		return nil
	}
	if kind == "dispute" {
		kind = "payment"
	}
	var d struct {
		Amount        *int64   `json:"amount_in_minor"`
		Currency      text     `json:"currency"`
		Metadata      metadata `json:"metadata"`
		FailureReason text     `json:"failure_reason"`
		PaymentMethod struct {
			Type text `json:"type"`
		} `json:"payment_method"`
	}
	name := kind + "/" + string(id)
	if ok, err := o.document(name, &d); !ok {
		return err
	}
	amount, err := minor(d.Amount, d.Currency, nil)
	if err != nil {
		return fmt.Errorf("the fetched %s: %w", name, err)
	}
	f.fillAmount(amount)
	reference := o.merchantID(d.Metadata)
	fill(&f.MerchantTransactionID, reference)
	switch kind {
	case "payment":
		f.fillMethod(method(d.PaymentMethod.Type, ""))
	case "refund":
		fill(&f.MerchantRefundID, reference)
	case "payout":
		fill(&f.MerchantPayoutID, reference)
	}
	switch f.Type {
	case schemas.PaymentFailed, schemas.RefundFailed, schemas.PayoutFailed:
		if f.Error == nil {
			f.Error = failure(d.FailureReason, "", "")
		}
	}
	return nil
}

// at returns the time of the event: the field with the name of the event. An
// event can also have the times of earlier events.
func (e truelayerEvent) at() text {
	switch _, word, _ := strings.Cut(e.Type, "_"); word {
	case "authorized":
		return e.AuthorizedAt
	case "executed":
		return e.ExecutedAt
	case "creditable":
		return e.CreditableAt
	case "funds_received":
		return e.ReceivedAt
	case "payment_received": // of external_payment_received
		return cmp.Or(e.ReceivedAt, e.SettledAt)
	case "settlement_stalled":
		return e.SettlementStalledAt
	case "settled":
		return e.SettledAt
	case "failed":
		return e.FailedAt
	case "reversed":
		return e.ReversedAt
	case "disputed":
		return e.DisputedAt
	case "revoked":
		return e.RevokedAt
	}
	return ""
}
