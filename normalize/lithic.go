package normalize

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// lithic: the resource that was created or updated, with an event_type where
// the API is recent. Told are its payments, which move money between the
// merchant's account at Lithic and a bank account elsewhere, by ACH or wire: in
// as a payment, out as a payout. A webhook comes for each step, and the
// identity is the payment and its state, so that each state is one fact; a
// payment that came back can be tried again, and then has its states again.
//
// Cards are Lithic's main business, but they are cards that the merchant
// issued: what they pay for is bought, not sold, and a dispute that is won is
// lost by who sold. Such webhooks are kept and make no event, or somebody
// would take spending for income.
//
// https://docs.lithic.com/reference/get_v1-payments-payment-token
var lithic = Connector{
	Docs:      "https://docs.lithic.com/reference/get_v1-payments-payment-token",
	Key:       "user_defined_id of payments",
	Normalize: lithicNormalize,
}

var lithicPaymentTypes = map[string]schemas.Type{
	"PENDING":  schemas.PaymentProcessing,
	"SETTLED":  schemas.PaymentCaptured,
	"DECLINED": schemas.PaymentFailed,
	"CANCELED": schemas.PaymentCancelled,
	"RETURNED": schemas.PaymentReversed,
	"REVERSED": schemas.PaymentReversed,
}

var lithicPayoutTypes = map[string]schemas.Type{
	"PENDING":  schemas.PayoutProcessing,
	"SETTLED":  schemas.PayoutSucceeded,
	"DECLINED": schemas.PayoutFailed,
	"CANCELED": schemas.PayoutCancelled,
	"RETURNED": schemas.PayoutReversed,
	"REVERSED": schemas.PayoutReversed,
}

// lithicTypes are the kinds of payments: whose states they have. What others
// take from the account is no payout that the merchant ordered.
var lithicTypes = map[string]map[string]schemas.Type{
	"ORIGINATION_DEBIT":     lithicPaymentTypes, // pulled from the payer
	"RECEIPT_CREDIT":        lithicPaymentTypes, // sent by the payer
	"WIRE_INBOUND_PAYMENT":  lithicPaymentTypes,
	"ORIGINATION_CREDIT":    lithicPayoutTypes,
	"WIRE_OUTBOUND_PAYMENT": lithicPayoutTypes,
}

// lithicSettled is the steps that a payment has settled with.
var lithicSettled = []string{"ACH_ORIGINATION_SETTLED", "ACH_ORIGINATION_RELEASED", "ACH_RECEIPT_SETTLED", "ACH_RECEIPT_RELEASED"}

func lithicNormalize(payload []byte, _ Options) ([]Fact, error) {
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
		return []Fact{ignored(event, "the card was issued by the merchant: it bought something, and nothing was sold")}, nil
	default:
		return []Fact{notUnified(event)}, nil
	}
	var p lithicPayment
	err := redecode(payload, &p)
	var f Fact
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

func (p lithicPayment) fact(event string) (f Fact, err error) {
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
		f.Type = schemas.PaymentFailed // the payer's bank refused before there was money to take back
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

// kind is the payment's type. Older versions of the API have none, and the
// first step and the direction tell.
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

// amount is what was asked for, which the first step has, or what was settled: a
// bank need not pay all of it. Older versions of the API tell that by the step
// alone, with settled_amount 0.
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

func (p lithicPayment) settled() bool {
	for _, e := range p.Events {
		if slices.Contains(lithicSettled, e.Type) {
			return true
		}
	}
	return false
}

// failure is why a payment came back, or why its last step was declined.
func (p lithicPayment) failure(typ schemas.Type) *schemas.Error {
	switch typ {
	case schemas.PaymentFailed, schemas.PaymentReversed, schemas.PayoutFailed, schemas.PayoutReversed:
		last := p.Events[len(p.Events)-1]
		return failure(first(string(p.Attributes.ReturnReasonCode), strings.Join(last.DetailedResults, " ")), "", "")
	}
	return nil
}
