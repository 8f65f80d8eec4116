package normalize

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// lithic reads the resource that was created or updated, with an event_type in recent
// versions of the API. It maps payments, which move money by ACH or wire between the
// merchant's account at Lithic and an external bank account: money in is a payment,
// money out a payout. Lithic sends a webhook for each step. The identity is the
// payment, its status and its number of retries: a returned payment can be retried and
// then has the same statuses again.
//
// Lithic mainly issues cards, and the merchant is the issuer: a card transaction is a
// purchase and not a sale, and a dispute that is won is lost by the seller. Such
// webhooks are ignored, so that nobody mistakes spending for income.
//
// https://docs.lithic.com/reference/get_v1-payments-payment-token
var lithic = Connector{
	Docs:      "https://docs.lithic.com/reference/get_v1-payments-payment-token",
	Key:       "user_defined_id of payments",
	Tellers:   lithicTellers,
	Captures:  CountsOnce, // settled_amount of a payment, which is settled once
	normalize: lithicNormalize,
}

// lithicTellers lists the event types.
var lithicTellers = []Teller{
	{Event: "payment_transaction", Subscription: "payment_transaction.updated", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PayoutSucceeded}},
	{Event: "payment_transaction.created", Facts: []schemas.Type{schemas.PaymentProcessing}},
	{Event: "payment_transaction.updated", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentFailed, schemas.PaymentCancelled, schemas.PaymentReversed, schemas.PayoutProcessing, schemas.PayoutSucceeded, schemas.PayoutFailed, schemas.PayoutCancelled, schemas.PayoutReversed}},
}

// lithicPaymentTypes maps the status of money in to the event type.
var lithicPaymentTypes = map[string]schemas.Type{
	"PENDING":  schemas.PaymentProcessing,
	"SETTLED":  schemas.PaymentCaptured,
	"DECLINED": schemas.PaymentFailed,
	"CANCELED": schemas.PaymentCancelled,
	"RETURNED": schemas.PaymentReversed,
	"REVERSED": schemas.PaymentReversed,
}

// lithicPayoutTypes maps the status of money out to the event type.
var lithicPayoutTypes = map[string]schemas.Type{
	"PENDING":  schemas.PayoutProcessing,
	"SETTLED":  schemas.PayoutSucceeded,
	"DECLINED": schemas.PayoutFailed,
	"CANCELED": schemas.PayoutCancelled,
	"RETURNED": schemas.PayoutReversed,
	"REVERSED": schemas.PayoutReversed,
}

// lithicTypes maps the payment's type and status to the event type. A debit by a third
// party (RECEIPT_DEBIT) is missing: it is not a payout by the merchant.
var lithicTypes = map[string]map[string]schemas.Type{
	"ORIGINATION_DEBIT":     lithicPaymentTypes, // pulled from the payer
	"RECEIPT_CREDIT":        lithicPaymentTypes, // sent by the payer
	"WIRE_INBOUND_PAYMENT":  lithicPaymentTypes,
	"ORIGINATION_CREDIT":    lithicPayoutTypes,
	"WIRE_OUTBOUND_PAYMENT": lithicPayoutTypes,
}

// lithicSettled lists the events that settle a payment.
var lithicSettled = []string{"ACH_ORIGINATION_SETTLED", "ACH_ORIGINATION_RELEASED", "ACH_RECEIPT_SETTLED", "ACH_RECEIPT_RELEASED"}

func lithicNormalize(payload []byte, _ Options) ([]fact, error) {
	var e struct {
		EventType text `json:"event_type"`
		Family    text `json:"family"`
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	event := string(e.EventType)
	switch {
	case strings.HasPrefix(event, "payment_transaction."):
	case event == "" && e.Family == "PAYMENT":
		event = "payment_transaction"
	case strings.HasPrefix(event, "card_transaction.") || strings.HasPrefix(event, "dispute"):
		return []fact{ignored(event, "the merchant issued the card: the webhook is about a purchase, not a sale")}, nil
	default:
		return []fact{notUnified(event)}, nil
	}
	var p lithicPayment
	err := redecode(payload, &p)
	var f fact
	if err == nil {
		f, err = p.fact(event)
	}
	return oneFact(event, f, err)
}

type lithicPayment struct {
	Token         text   `json:"token"`
	UserDefinedID text   `json:"user_defined_id"`
	Type          text   `json:"type"`
	Direction     text   `json:"direction"`
	Category      text   `json:"category"`
	Status        string `json:"status"`
	Currency      text   `json:"currency"`
	Updated       text   `json:"updated"`
	Account       text   `json:"financial_account_token"`
	SettledAmount *int64 `json:"settled_amount"`
	Attributes    struct {
		Retries          int64 `json:"retries"`
		ReturnReasonCode text  `json:"return_reason_code"`
	} `json:"method_attributes"`
	Events []struct {
		Type            string   `json:"type"`
		Amount          *int64   `json:"amount"`
		DetailedResults []string `json:"detailed_results"`
	} `json:"events"`
}

// fact returns the fact of a payment.
func (p lithicPayment) fact(event string) (f fact, err error) {
	if p.Token == "" || p.Status == "" || len(p.Events) == 0 {
		return f, fmt.Errorf("%w: want token, status and events of the payment", ErrMalformed)
	}
	kind := p.kind()
	types, ok := lithicTypes[kind]
	if !ok {
		return ignored(event, fmt.Sprintf("a payment of the kind %q is not made to or by the merchant", kind)), nil
	}
	if f.Type, ok = types[p.Status]; !ok {
		return unknownStatus(event, "the status", p.Status), nil
	}
	if f.Type == schemas.PaymentReversed && !p.settled() {
		f.Type = schemas.PaymentFailed // the payer's bank rejected it before it was settled
	}
	f.Identity = fmt.Sprintf("%s/%s/%d", p.Token, p.Status, p.Attributes.Retries)
	f.ConnectorEventType, f.Account = event, string(p.Account)
	f.MerchantTransactionID = string(p.UserDefinedID)
	if f.Time, err = timestamp(p.Updated, time.RFC3339); err != nil {
		return f, err
	}
	if f.Amount, err = minor(p.amount(f.Type), p.Currency, nil); err != nil {
		return f, err
	}
	f.Error = p.failure(f.Type)
	if f.Type.Family() == "payout" {
		f.ConnectorPayoutID, f.MerchantPayoutID = string(p.Token), string(p.UserDefinedID)
		return f, nil
	}
	f.ConnectorTransactionID, f.PaymentMethod = string(p.Token), method(p.Category, "")
	f.setAmountByType()
	return f, nil
}

// kind returns the payment's type. In older versions of the API, which have none, the
// first event and the direction determine it.
func (p lithicPayment) kind() string {
	switch {
	case p.Type != "":
		return string(p.Type)
	case strings.HasPrefix(p.Events[0].Type, "ACH_RECEIPT_"):
		return "RECEIPT_" + string(p.Direction)
	default:
		return "ORIGINATION_" + string(p.Direction)
	}
}

// amount returns the settled amount of a successful payment or payout, which can be
// less than the requested amount, and the requested amount of any other. Older versions
// of the API have settled_amount 0, and the settled amount only in an event.
func (p lithicPayment) amount(typ schemas.Type) *int64 {
	if typ != schemas.PaymentCaptured && typ != schemas.PayoutSucceeded {
		return p.Events[0].Amount
	}
	if p.SettledAmount != nil && *p.SettledAmount != 0 {
		return p.SettledAmount
	}
	for _, e := range slices.Backward(p.Events) {
		if slices.Contains(lithicSettled, e.Type) && e.Amount != nil {
			return e.Amount
		}
	}
	return p.Events[0].Amount
}

// settled reports whether the payment was ever settled.
func (p lithicPayment) settled() bool {
	for _, e := range p.Events {
		if slices.Contains(lithicSettled, e.Type) {
			return true
		}
	}
	return false
}

// failure returns the reason why a payment was returned or declined, or nil for any
// other event type.
func (p lithicPayment) failure(typ schemas.Type) *schemas.Error {
	switch typ {
	case schemas.PaymentFailed, schemas.PaymentReversed, schemas.PayoutFailed, schemas.PayoutReversed:
		last := p.Events[len(p.Events)-1]
		return failure(first(string(p.Attributes.ReturnReasonCode), strings.Join(last.DetailedResults, " ")), "", "")
	}
	return nil
}
