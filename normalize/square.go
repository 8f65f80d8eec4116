package normalize

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// square normalises Square's webhooks. One webhook is one event,
// {"merchant_id", "type", "event_id", "created_at", "data": {"object":
// {"payment": {...}}}}. The type says only that the object was created or
// updated; the object's status says what happened. Square updates an object
// several times in one status, for example when it has computed its fees. The
// identity is therefore not the event's: it is the object with its status and, where
// that can change, its amount, and each such state is one fact.
//
// A terminal checkout names its payments and reports the same facts as they do, and a
// terminal refund reports those of its refund. A paid invoice names no payment, so the
// setting tells selects payments or invoices. order.updated is not read: it has only
// the order's id and version, and is not sent for a payment.
//
// The merchant's reference is the reference_id of payments, terminal checkouts and
// stored cards, or the number of an invoice, which has the order of its payments.
// Refunds, disputes and payouts have none. Nothing in the body distinguishes
// the sandbox from live; the header that does is not signed.
//
// https://developer.squareup.com/reference/square/webhooks
var square = Connector{
	Docs:      "https://developer.squareup.com/reference/square/webhooks",
	Key:       "data.object.payment.reference_id, of refunds and disputes (fetched) that of their payment, else that of its terminal checkout, else the invoice_number of its order's invoice; data.object.card.reference_id of stored cards",
	Settings:  []Setting{squareTells},
	Tellers:   squareTellers(),
	Captures:  CountsTotal, // total_completed_amount_money; a payment is captured once: https://developer.squareup.com/reference/square/objects/InvoicePaymentRequest
	normalize: squareNormalize,
}

// The values of the setting tells.
const (
	squarePayments = "payments"
	squareInvoices = "invoices"
)

// squareTells is the setting that selects which webhooks report that an invoice was
// paid.
var squareTells = Setting{
	Name: "tells",
	Description: "what makes payment.captured: payments (payment.created, payment.updated and terminal.checkout.updated; the default) or invoices (invoice.payment_made), " +
		"for a merchant who takes all payments by invoices and does not subscribe to payment.updated. The other only adds references",
	Values: []string{squarePayments, squareInvoices},
}

// squareTellers lists the event types, derived from the tables of the statuses.
func squareTellers() []Teller {
	payments := distinct(slices.Sorted(maps.Values(squarePaymentTypes))...)
	refunds := distinct(slices.Sorted(maps.Values(squareRefundTypes))...)
	var disputes []schemas.Type
	for _, state := range slices.Sorted(maps.Keys(squareDisputeTypes)) {
		disputes = append(disputes, squareDisputeTypes[state].typ)
	}
	disputes = distinct(disputes...)
	return []Teller{
		{Event: "payment.created", Facts: payments},
		{Event: "payment.updated", Facts: payments},
		{Event: "terminal.checkout.updated", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentAuthorized, schemas.PaymentCancelled, schemas.PaymentExpired}},
		{Event: "invoice.payment_made", Facts: []schemas.Type{schemas.PaymentCaptured}, Instead: "with tells payments: payment.updated, which does not have the invoice_number", Tells: squareInvoices},
		{Event: "refund.created", Facts: refunds},
		{Event: "refund.updated", Facts: refunds},
		{Event: "terminal.refund.updated", Facts: []schemas.Type{schemas.RefundSucceeded, schemas.RefundCancelled}, Instead: "refund.updated"},
		{Event: "dispute.created", Facts: disputes},
		{Event: "dispute.state.updated", Facts: disputes},
		{Event: "dispute.state.changed", Facts: disputes, Instead: "dispute.state.updated, its new name"},
		{Event: "payout.sent", Facts: []schemas.Type{schemas.PayoutProcessing}},
		{Event: "payout.paid", Facts: []schemas.Type{schemas.PayoutSucceeded}},
		{Event: "payout.failed", Facts: []schemas.Type{schemas.PayoutFailed}},
		{Event: "card.created", Facts: []schemas.Type{schemas.MandateActive}},
		{Event: "card.disabled", Facts: []schemas.Type{schemas.MandateRevoked}},
		{Event: "card.forgotten", Facts: []schemas.Type{schemas.MandateRevoked}},
	}
}

// squareReaders maps an event to the function that reads its object.
var squareReaders = map[string]func(event string, o squareObject) ([]fact, error){
	"payment.created": squareSingle(squarePayment),
	"payment.updated": squareSingle(squarePayment),

	"refund.created": squareSingle(squareRefund),
	"refund.updated": squareSingle(squareRefund),

	"terminal.checkout.created": squareCheckout,
	"terminal.checkout.updated": squareCheckout,
	"terminal.refund.created":   squareSingle(squareTerminalRefund),
	"terminal.refund.updated":   squareSingle(squareTerminalRefund),

	"invoice.payment_made": squareSingle(squareInvoice),

	"dispute.created":       squareSingle(squareDispute),
	"dispute.state.updated": squareSingle(squareDispute),
	"dispute.state.changed": squareSingle(squareDispute), // its old name

	"payout.sent":   squareSingle(squarePayout),
	"payout.paid":   squareSingle(squarePayout),
	"payout.failed": squareSingle(squarePayout),

	"card.created":   squareSingle(squareCard),
	"card.disabled":  squareSingle(squareCard),
	"card.forgotten": squareSingle(squareCard),
}

// squareSingle turns a function that returns one fact into a reader.
func squareSingle(read func(event string, o squareObject) (fact, error)) func(string, squareObject) ([]fact, error) {
	return func(event string, o squareObject) ([]fact, error) {
		f, err := read(event, o)
		return []fact{f}, err
	}
}

// squareObject is data.object. It holds the one object that the event is about.
type squareObject struct {
	Payment  part `json:"payment"`
	Checkout part `json:"checkout"` // at a terminal
	Invoice  part `json:"invoice"`
	Refund   part `json:"refund"` // also one at a terminal
	Dispute  part `json:"dispute"`
	Payout   part `json:"payout"`
	Card     part `json:"card"`
}

func squareNormalize(payload []byte, o Options) ([]fact, error) {
	var e struct {
		MerchantID text `json:"merchant_id"`
		Type       text `json:"type"`
		EventID    text `json:"event_id"`
		CreatedAt  text `json:"created_at"`
		Data       part `json:"data"`
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
		return []fact{notUnified(event)}, nil
	case e.EventID == "":
		return oneMalformed(event, fmt.Errorf("%w: no event_id: not an event of Square's", ErrMalformed))
	}
	var data struct {
		Object squareObject `json:"object"`
	}
	if err := redecode(e.Data, &data); err != nil {
		return oneMalformed(event, err)
	}
	facts, err := read(event, data.Object)
	if err != nil {
		return oneMalformed(event, err)
	}
	when, err := timestamp(e.CreatedAt, time.RFC3339)
	if err != nil {
		return oneMalformed(event, err)
	}
	for i, f := range facts {
		if f.Type != "" && f.Identity == "" {
			return oneMalformed(event, fmt.Errorf("%w: the object has no id", ErrMalformed))
		}
		f = f.applySquareTells(event, o.Settings[squareTells.Name])
		f.Time, f.Account = when, string(e.MerchantID)
		f.ConnectorEventID, f.ConnectorEventType = string(e.EventID), event
		if err := f.fillFromSquare(o); err != nil {
			return oneMalformed(event, err)
		}
		facts[i] = f
	}
	return facts, nil
}

// fillFromSquare adds the merchant's reference of the payment, which was fetched for a
// refund or a dispute.
func (f *fact) fillFromSquare(o Options) error {
	if len(o.Fetched) == 0 {
		return nil
	}
	var d struct {
		Payment struct {
			ReferenceID text `json:"reference_id"`
			OrderID     text `json:"order_id"`
		} `json:"payment"`
	}
	if ok, err := o.document("payment/"+f.ConnectorTransactionID, &d); !ok {
		return err
	}
	fill(&f.MerchantTransactionID, d.Payment.ReferenceID)
	f.ConnectorReferences = others(f.ConnectorTransactionID, append(f.ConnectorReferences, string(d.Payment.OrderID))...)
	return nil
}

// applySquareTells applies the setting tells to the fact: if another event type makes
// its event, it returns an ignored fact with the references.
func (f fact) applySquareTells(event, tells string) fact {
	invoice := event == "invoice.payment_made"
	if f.Type != schemas.PaymentCaptured || invoice == (tells == squareInvoices) {
		return f
	}
	other := reportedBy(event, "invoice.payment_made")
	if invoice {
		other = reportedBy(event, "payment.updated")
	}
	other.MerchantTransactionID, other.ConnectorTransactionID, other.ConnectorReferences = f.MerchantTransactionID, f.ConnectorTransactionID, f.ConnectorReferences
	return other
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
	OrderID       text        `json:"order_id"`
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
func squarePayment(_ string, o squareObject) (f fact, err error) {
	var p squarePaymentObject
	if err := decode(o.Payment, &p); err != nil {
		return f, err
	}
	typ, ok := squarePaymentTypes[p.Status]
	if !ok {
		return f, unknownStatusError{"the payment's status", string(p.Status)}
	}
	f.Type = typ
	f.ConnectorTransactionID, f.MerchantTransactionID = p.ID, string(p.ReferenceID)
	f.ConnectorReferences = others(p.ID, p.OrderID)
	f.MandateID = string(p.CardDetails.Card.ID)
	f.PaymentMethod = method(p.SourceType, first(p.CardDetails.Card.CardBrand, p.WalletDetails.Brand, p.BuyNowPayLaterDetails.Brand))
	if p.TotalMoney.Amount == nil {
		p.TotalMoney = p.AmountMoney
	}
	if f.Amount, err = p.TotalMoney.amount(); err != nil {
		return f, err
	}
	f.Identity = squareIdentity(p.ID, p.Status, f.Amount)
	if typ == schemas.PaymentCaptured || typ == schemas.PaymentCancelled { // the amount does not change any more, and a terminal's checkout may not have it
		f.setSquareIdentity(squareIdentity(p.ID, p.Status, nil))
	}
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

// setSquareIdentity sets the identity, and keeps the one that earlier versions gave.
func (f *fact) setSquareIdentity(identity string) {
	f.Identity, f.Formerly = identity, others(identity, f.Identity)
}

// squareCheckout reads a terminal checkout. It returns a fact for each of its payments.
// Square sends a completed checkout twice, with one body:
// https://developer.squareup.com/forums/t/21429
//
// The amount of a checkout is without the tip that the payer chooses at the terminal.
// If the payer can choose one, or if there are several payments, the facts have no
// amount until the payments' own events report it.
//
// https://developer.squareup.com/reference/square/objects/TerminalCheckout
func squareCheckout(event string, o squareObject) ([]fact, error) {
	var c struct {
		ID          text        `json:"id"`
		Status      text        `json:"status"`
		ReferenceID text        `json:"reference_id"`
		OrderID     text        `json:"order_id"`
		PaymentIDs  []string    `json:"payment_ids"`
		AmountMoney squareMoney `json:"amount_money"`
		TipMoney    squareMoney `json:"tip_money"`
		Cancelled   text        `json:"cancel_reason"`
		Options     struct {
			Autocomplete *bool `json:"autocomplete"`
		} `json:"payment_options"`
		Device struct {
			Tips struct {
				Allowed bool `json:"allow_tipping"`
			} `json:"tip_settings"`
		} `json:"device_options"`
	}
	if err := decode(o.Checkout, &c); err != nil {
		return nil, err
	}
	base := fact{Type: schemas.PaymentCaptured}
	status := "COMPLETED"
	switch {
	case c.Status == "COMPLETED" && c.Options.Autocomplete != nil && !*c.Options.Autocomplete:
		base.Type, status = schemas.PaymentAuthorized, "APPROVED" // the merchant has to complete the payment
	case c.Status == "COMPLETED":
	case c.Status == "CANCELED" && c.Cancelled == "TIMED_OUT" && len(c.PaymentIDs) == 0:
		base.Type, status = schemas.PaymentExpired, "CANCELED"
	case c.Status == "CANCELED":
		base.Type, status = schemas.PaymentCancelled, "CANCELED"
	default:
		base = statusNotUnified(event, "the status of the checkout", c.Status)
	}
	base.MerchantTransactionID, base.ConnectorReferences = string(c.ReferenceID), others("", c.ID, c.OrderID)
	amount, err := c.AmountMoney.amount()
	if err != nil {
		return nil, err
	}
	tip, err := c.TipMoney.amount()
	if err != nil {
		return nil, err
	}
	switch {
	case amount == nil || c.Device.Tips.Allowed && tip == nil || len(c.PaymentIDs) > 1:
	case tip != nil && tip.Currency == amount.Currency:
		base.Amount = &schemas.Amount{Value: amount.Value + tip.Value, Currency: amount.Currency}
	default:
		base.Amount = amount
	}
	ids := c.PaymentIDs
	if len(ids) == 0 && (c.Status != "COMPLETED" || c.ID == "") {
		ids = []string{string(c.ID)}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%w: a completed checkout without payment_ids", ErrMalformed)
	}
	facts := make([]fact, len(ids))
	for i, id := range ids {
		f := base
		f.ConnectorTransactionID, f.ConnectorReferences = id, others(id, base.ConnectorReferences...)
		switch f.Type {
		case schemas.PaymentCaptured:
			f.Identity, f.CapturedAmount = squareIdentity(id, status, nil), f.Amount
		case schemas.PaymentAuthorized:
			f.Identity, f.AuthorizedAmount = squareIdentity(id, status, f.Amount), f.Amount
		case "":
		default:
			f.Identity = squareIdentity(id, status, nil)
		}
		facts[i] = f
	}
	return facts, nil
}

// squareInvoice reads an invoice that was paid, wholly or in part. It names no payment:
// only the sum paid so far distinguishes the payments.
// https://developer.squareup.com/reference/square/webhooks/invoice.payment_made
func squareInvoice(event string, o squareObject) (f fact, err error) {
	var i struct {
		ID       string `json:"id"`
		Number   text   `json:"invoice_number"`
		OrderID  text   `json:"order_id"`
		Status   text   `json:"status"`
		Requests []struct {
			Completed squareMoney `json:"total_completed_amount_money"`
		} `json:"payment_requests"`
	}
	if err := decode(o.Invoice, &i); err != nil {
		return f, err
	}
	f.Type = schemas.PaymentCaptured
	f.MerchantTransactionID = string(i.Number)
	f.ConnectorTransactionID = first(string(i.OrderID), i.ID)
	f.ConnectorReferences = others(f.ConnectorTransactionID, i.ID)
	for _, r := range i.Requests {
		paid, err := r.Completed.amount()
		if err != nil {
			return f, err
		}
		if paid == nil {
			continue
		}
		if f.CapturedAmount == nil {
			f.CapturedAmount = &schemas.Amount{Currency: paid.Currency}
		}
		if paid.Currency != f.CapturedAmount.Currency {
			return f, fmt.Errorf("%w: payment_requests have the currencies %s and %s", ErrMalformed, f.CapturedAmount.Currency, paid.Currency)
		}
		f.CapturedAmount.Value += paid.Value
	}
	f.Identity = squareIdentity(i.ID, "captured", f.CapturedAmount)
	if i.Status == "PAID" && len(i.Requests) == 1 { // otherwise it does not say which part was paid now
		f.Amount = f.CapturedAmount
	}
	return f, nil
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
func squareRefund(_ string, o squareObject) (f fact, err error) {
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
		return f, unknownStatusError{"the refund's status", string(r.Status)}
	}
	f.Type = typ
	f.ConnectorRefundID, f.ConnectorTransactionID = r.ID, string(r.PaymentID)
	f.Reason = string(r.Reason)
	f.Amount, err = r.AmountMoney.amount()
	f.Identity = squareIdentity(r.ID, r.Status, f.Amount)
	return f, err
}

// squareTerminalRefund reads a terminal refund, which creates the refund with the id
// refund_id.
// https://developer.squareup.com/reference/square/objects/TerminalRefund
func squareTerminalRefund(event string, o squareObject) (f fact, err error) {
	var r struct {
		ID          string      `json:"id"`
		RefundID    string      `json:"refund_id"`
		PaymentID   text        `json:"payment_id"`
		OrderID     text        `json:"order_id"`
		Status      string      `json:"status"`
		AmountMoney squareMoney `json:"amount_money"`
		Reason      text        `json:"reason"`
	}
	if err := decode(o.Refund, &r); err != nil {
		return f, err
	}
	switch r.Status {
	case "COMPLETED":
		f.Type = schemas.RefundSucceeded
	case "CANCELED":
		f.Type = schemas.RefundCancelled
	default:
		return statusNotUnified(event, "the status of the refund", r.Status), nil
	}
	f.ConnectorRefundID, f.ConnectorTransactionID = first(r.RefundID, r.ID), string(r.PaymentID)
	f.ConnectorReferences = others(f.ConnectorTransactionID, r.OrderID)
	f.Reason = string(r.Reason)
	f.Amount, err = r.AmountMoney.amount()
	f.Identity = squareIdentity(f.ConnectorRefundID, r.Status, f.Amount)
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
func squareDispute(_ string, o squareObject) (f fact, err error) {
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
		return f, unknownStatusError{"the dispute's state", string(d.State)}
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
func squarePayout(_ string, o squareObject) (f fact, err error) {
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
		return f, unknownStatusError{"the payout's status", string(p.Status)}
	}
	f.Type = typ
	f.ConnectorPayoutID = p.ID
	f.Amount, err = p.AmountMoney.amount()
	f.Identity = squareIdentity(p.ID, p.Status, f.Amount)
	return f, err
}

// squareCard reads a stored card.
// https://developer.squareup.com/reference/square/objects/Card
func squareCard(event string, o squareObject) (f fact, err error) {
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
