package normalize

import (
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// square normalises Square's webhooks. One webhook is one event,
// {"merchant_id", "type", "event_id", "created_at", "data": {"object":
// {"payment": {...}}}}. The type says only that the object was created or
// updated; the object's status says what happened. Square updates an object
// several times in one status, for example when it has computed its fees. The
// identity is therefore not the event's: it is the object with its status and
// amount, and each such state is one fact.
//
// The merchant's reference is the reference_id of payments and stored cards.
// Refunds, disputes and payouts have none. Nothing in the body distinguishes
// the sandbox from live; the header that does is not signed.
//
// https://developer.squareup.com/reference/square/webhooks
var square = Connector{
	Docs:      "https://developer.squareup.com/reference/square/webhooks",
	Key:       "data.object.payment.reference_id; data.object.card.reference_id of stored cards",
	Normalize: squareNormalize,
}

// squareReaders has, for each event name, the function that reads its object.
var squareReaders = map[string]func(event string, o squareObject) (Fact, error){
	"payment.created": squarePayment,
	"payment.updated": squarePayment,

	"refund.created": squareRefund,
	"refund.updated": squareRefund,

	"dispute.created":       squareDispute,
	"dispute.state.updated": squareDispute,
	"dispute.state.changed": squareDispute, // its old name

	"payout.sent":   squarePayout,
	"payout.paid":   squarePayout,
	"payout.failed": squarePayout,

	"card.created":   squareCard,
	"card.disabled":  squareCard,
	"card.forgotten": squareCard,
}

// squareObject is data.object. It holds the one object that the event is about.
type squareObject struct {
	Payment jsontext.Value `json:"payment"`
	Refund  jsontext.Value `json:"refund"`
	Dispute jsontext.Value `json:"dispute"`
	Payout  jsontext.Value `json:"payout"`
	Card    jsontext.Value `json:"card"`
}

func squareNormalize(payload []byte, _ Options) ([]Fact, error) {
	var e struct {
		MerchantID text           `json:"merchant_id"`
		Type       text           `json:"type"`
		EventID    text           `json:"event_id"`
		CreatedAt  text           `json:"created_at"`
		Data       jsontext.Value `json:"data"`
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	event := string(e.Type)
	read, ok := squareReaders[event]
	switch {
	case event == "":
		return nil, fmt.Errorf("%w: no type: not an event of Square's", ErrMalformed)
	case !ok:
		return []Fact{notUnified(event)}, nil
	case e.EventID == "":
		return oneMalformed(event, fmt.Errorf("%w: no event_id: not an event of Square's", ErrMalformed))
	}
	var data struct {
		Object squareObject `json:"object"`
	}
	if err := redecode(e.Data, &data); err != nil {
		return oneMalformed(event, err)
	}
	f, err := read(event, data.Object)
	if err == nil && f.Identity == "" {
		err = fmt.Errorf("%w: the object has no id", ErrMalformed)
	}
	if err == nil {
		f.Time, err = timestamp(e.CreatedAt, time.RFC3339)
	}
	f.Account = string(e.MerchantID)
	f.ConnectorEventID = string(e.EventID)
	return oneFact(event, f, err)
}

// squareMoney is an amount in the minor unit of the currency, as in ISO 4217:
// https://developer.squareup.com/docs/build-basics/common-data-types/working-with-monetary-amounts
type squareMoney struct {
	Amount   *int64 `json:"amount"`
	Currency string `json:"currency"`
}

// amount returns the amount; nil if there is none.
func (m squareMoney) amount() (*schemas.Amount, error) { return minor(m.Amount, m.Currency, nil) }

// squareIdentity returns the identity of an object in a state; "" if the object
// has no id.
func squareIdentity(id, status string, amount *schemas.Amount) string {
	switch {
	case id == "":
		return ""
	case amount == nil:
		return id + ":" + status
	}
	return id + ":" + status + ":" + strconv.FormatInt(amount.Value, 10) + amount.Currency
}

// squarePaymentTypes maps the status of a payment to the event type.
var squarePaymentTypes = map[string]schemas.Type{
	"PENDING":   schemas.PaymentProcessing,
	"APPROVED":  schemas.PaymentAuthorized,
	"COMPLETED": schemas.PaymentCaptured,
	"CANCELED":  schemas.PaymentCancelled,
	"FAILED":    schemas.PaymentFailed,
}

// squareErrors has the reasons why a payment failed.
type squareErrors []struct {
	Code   text `json:"code"`
	Detail text `json:"detail"`
}

// squarePaymentObject is a payment.
// https://developer.squareup.com/reference/square/objects/Payment
type squarePaymentObject struct {
	ID            string      `json:"id"`
	Status        string      `json:"status"`
	AmountMoney   squareMoney `json:"amount_money"`
	TotalMoney    squareMoney `json:"total_money"` // what the payer pays, with the tip
	ApprovedMoney squareMoney `json:"approved_money"`
	SourceType    text        `json:"source_type"`
	ReferenceID   text        `json:"reference_id"`
	CardDetails   struct {
		Card struct {
			ID        text `json:"id"` // of a stored card
			CardBrand text `json:"card_brand"`
		} `json:"card"`
		Errors squareErrors `json:"errors"`
	} `json:"card_details"`
	BankAccountDetails struct {
		Errors squareErrors `json:"errors"`
	} `json:"bank_account_details"`
	WalletDetails struct {
		Brand text `json:"brand"`
	} `json:"wallet_details"`
	BuyNowPayLaterDetails struct {
		Brand text `json:"brand"`
	} `json:"buy_now_pay_later_details"`
}

// squarePayment reads a payment.
func squarePayment(_ string, o squareObject) (f Fact, err error) {
	var p squarePaymentObject
	if err := decode(o.Payment, &p); err != nil {
		return f, err
	}
	typ, ok := squarePaymentTypes[p.Status]
	if !ok {
		return f, fmt.Errorf("%w: payment status %q is not one that Square documents", ErrMalformed, p.Status)
	}
	f.Type = typ
	f.ConnectorTransactionID, f.MerchantTransactionID = p.ID, string(p.ReferenceID)
	f.MandateID = string(p.CardDetails.Card.ID)
	f.PaymentMethod = method(p.SourceType, first(p.CardDetails.Card.CardBrand, p.WalletDetails.Brand, p.BuyNowPayLaterDetails.Brand))
	if p.TotalMoney.Amount == nil {
		p.TotalMoney = p.AmountMoney
	}
	if f.Amount, err = p.TotalMoney.amount(); err != nil {
		return f, err
	}
	f.Identity = squareIdentity(p.ID, p.Status, f.Amount)
	switch typ {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount, err = p.ApprovedMoney.amount()
	case schemas.PaymentCaptured:
		f.CapturedAmount = f.Amount
	case schemas.PaymentFailed:
		if all := append(p.CardDetails.Errors, p.BankAccountDetails.Errors...); len(all) > 0 {
			f.Error = failure(all[0].Code, all[0].Detail, "")
		}
	}
	return f, err
}

// squareRefundTypes maps the status of a refund to the event type.
var squareRefundTypes = map[string]schemas.Type{
	"PENDING":   schemas.RefundPending,
	"COMPLETED": schemas.RefundSucceeded,
	"REJECTED":  schemas.RefundFailed,
	"FAILED":    schemas.RefundFailed,
}

// squareRefund reads a refund.
// https://developer.squareup.com/reference/square/objects/PaymentRefund
func squareRefund(_ string, o squareObject) (f Fact, err error) {
	var r struct {
		ID          string      `json:"id"`
		Status      string      `json:"status"`
		AmountMoney squareMoney `json:"amount_money"`
		PaymentID   text        `json:"payment_id"`
		Reason      text        `json:"reason"`
	}
	if err := decode(o.Refund, &r); err != nil {
		return f, err
	}
	typ, ok := squareRefundTypes[r.Status]
	if !ok {
		return f, fmt.Errorf("%w: refund status %q is not one that Square documents", ErrMalformed, r.Status)
	}
	f.Type = typ
	f.ConnectorRefundID, f.ConnectorTransactionID = r.ID, string(r.PaymentID)
	f.Reason = string(r.Reason)
	f.Amount, err = r.AmountMoney.amount()
	f.Identity = squareIdentity(r.ID, r.Status, f.Amount)
	return f, err
}

// squareDisputeTypes maps the state of a dispute to the event type and the
// stage.
// https://developer.squareup.com/reference/square/enums/DisputeState
var squareDisputeTypes = map[string]struct {
	typ   schemas.Type
	stage schemas.Stage
}{
	"INQUIRY_EVIDENCE_REQUIRED": {schemas.DisputeOpened, schemas.StagePreDispute},
	"INQUIRY_PROCESSING":        {schemas.DisputeChallenged, schemas.StagePreDispute},
	"INQUIRY_CLOSED":            {schemas.DisputeCancelled, schemas.StagePreDispute},
	"EVIDENCE_REQUIRED":         {schemas.DisputeOpened, schemas.StageDispute},
	"PROCESSING":                {schemas.DisputeChallenged, schemas.StageDispute},
	"WAITING_THIRD_PARTY":       {schemas.DisputeChallenged, schemas.StageDispute}, // an old state
	"WON":                       {schemas.DisputeWon, schemas.StageDispute},
	"LOST":                      {schemas.DisputeLost, schemas.StageDispute},
	"ACCEPTED":                  {schemas.DisputeAccepted, schemas.StageDispute},
}

// squareDispute reads a dispute.
// https://developer.squareup.com/reference/square/objects/Dispute
func squareDispute(_ string, o squareObject) (f Fact, err error) {
	var d struct {
		ID              text        `json:"id"`
		DisputeID       text        `json:"dispute_id"` // the old name of id
		State           string      `json:"state"`
		AmountMoney     squareMoney `json:"amount_money"`
		DisputedPayment struct {
			PaymentID text `json:"payment_id"`
		} `json:"disputed_payment"`
		CardBrand text   `json:"card_brand"`
		Reason    text   `json:"reason"`
		DueAt     string `json:"due_at"`
	}
	if err := decode(o.Dispute, &d); err != nil {
		return f, err
	}
	state, ok := squareDisputeTypes[d.State]
	if !ok {
		return f, fmt.Errorf("%w: dispute state %q is not one that Square documents", ErrMalformed, d.State)
	}
	f.Type, f.Stage = state.typ, state.stage
	f.ConnectorDisputeID = first(d.ID, d.DisputeID)
	f.ConnectorTransactionID = string(d.DisputedPayment.PaymentID)
	f.Reason = string(d.Reason)
	if d.CardBrand != "" {
		f.PaymentMethod = method("card", d.CardBrand)
	}
	due, err := timestamp(d.DueAt, time.RFC3339)
	if err != nil {
		return f, err
	}
	f.RespondBy = deadline(due)
	f.Amount, err = d.AmountMoney.amount()
	f.Identity = squareIdentity(f.ConnectorDisputeID, d.State, f.Amount)
	return f, err
}

// squarePayoutTypes maps the status of a payout to the event type.
var squarePayoutTypes = map[string]schemas.Type{
	"SENT":   schemas.PayoutProcessing,
	"PAID":   schemas.PayoutSucceeded,
	"FAILED": schemas.PayoutFailed,
}

// squarePayout reads a payout. A negative amount is taken from the merchant's
// bank account, and stays negative.
// https://developer.squareup.com/reference/square/objects/Payout
func squarePayout(_ string, o squareObject) (f Fact, err error) {
	var p struct {
		ID          string      `json:"id"`
		Status      string      `json:"status"`
		AmountMoney squareMoney `json:"amount_money"`
	}
	if err := decode(o.Payout, &p); err != nil {
		return f, err
	}
	typ, ok := squarePayoutTypes[p.Status]
	if !ok {
		return f, fmt.Errorf("%w: payout status %q is not one that Square documents", ErrMalformed, p.Status)
	}
	f.Type = typ
	f.ConnectorPayoutID = p.ID
	f.Amount, err = p.AmountMoney.amount()
	f.Identity = squareIdentity(p.ID, p.Status, f.Amount)
	return f, err
}

// squareCard reads a stored card.
// https://developer.squareup.com/reference/square/objects/Card
func squareCard(event string, o squareObject) (f Fact, err error) {
	var c struct {
		ID          string `json:"id"`
		CardBrand   text   `json:"card_brand"`
		ReferenceID text   `json:"reference_id"`
	}
	if err := decode(o.Card, &c); err != nil {
		return f, err
	}
	f.Type = schemas.MandateRevoked
	if event == "card.created" {
		f.Type = schemas.MandateActive
	}
	f.Identity = c.ID
	f.ConnectorMandateID, f.MerchantTransactionID = c.ID, string(c.ReferenceID)
	f.PaymentMethod = method("card", c.CardBrand)
	return f, nil
}
