package normalize

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// cashfree reads one event for each webhook, {"type", "event_time", "data"}. The data
// contains the resource: an order with one of its payments, a refund, a dispute, a
// settlement, a transfer or a subscription. Amounts are in major units, as numbers or
// as text. The status decides, not the type.
//
// Cashfree signs no event id. The identity is Cashfree's id of the resource; the
// event type distinguishes its states. Each attempt to pay has an id of its own.
//
// For a payment link or form, Cashfree creates the order. The order's id, CFPay_…, is
// not the merchant's reference, but it links the payment, its refunds and its disputes.
// The merchant's reference is the link_id: the link event has it, and the payment event
// has it in the order's tags.
//
// The webhooks of the first version of subscriptions are flat, as JSON or as a form:
// {"cf_event", "cf_eventTime", "cf_paymentId"}. Their fields are not all documented;
// REFUND_STATUS and SUBSCRIPTION_AUTH_STATUS of that version are not read.
//
// https://www.cashfree.com/docs/api-reference/payments/latest/payments/webhooks
// https://www.cashfree.com/docs/api-reference/payments/previous/subscriptionsv1/webhooks
var cashfree = Connector{
	Docs:      "https://www.cashfree.com/docs/api-reference/payments/latest/payments/webhooks",
	Key:       "data.order.order_id; data.refund.order_id; data.order_details.order_id of disputes; where it is CFPay_…: link_id, else <merchant_id_keys> of order_tags or link_notes; transfer_id of payouts; payment_id of subscriptions' payments, subscription_id of subscriptions",
	Tellers:   cashfreeTellers,
	Captures:  CountsOnce, // each payment of a link or form has an id of its own: https://www.cashfree.com/docs/api-reference/payments/previous/v2025-01-01/payment-links/webhooks
	normalize: cashfreeNormalize,
}

// The event types that events about payments, refunds, disputes and mandates can give.
// The status decides.
var (
	cashfreePaid     = []schemas.Type{schemas.PaymentCaptured, schemas.PaymentFailed, schemas.PaymentCancelled, schemas.PaymentProcessing, schemas.PaymentActionRequired}
	cashfreeRefunded = []schemas.Type{schemas.RefundSucceeded, schemas.RefundPending, schemas.RefundFailed}
	cashfreeDisputed = []schemas.Type{schemas.DisputeOpened, schemas.DisputeChallenged, schemas.DisputeAccepted, schemas.DisputeWon, schemas.DisputeLost}
	cashfreeMandates = []schemas.Type{schemas.MandateActive, schemas.MandateFailed, schemas.MandateRevoked}
)

// cashfreeTellers lists the events, the most important first.
var cashfreeTellers = []Teller{
	{Event: "PAYMENT_SUCCESS_WEBHOOK", Facts: cashfreePaid},
	{Event: "PAYMENT_FAILED_WEBHOOK", Facts: cashfreePaid},
	{Event: "PAYMENT_USER_DROPPED_WEBHOOK", Facts: cashfreePaid},
	{Event: "REFUND_STATUS_WEBHOOK", Facts: cashfreeRefunded},
	{Event: "AUTO_REFUND_STATUS_WEBHOOK", Facts: cashfreeRefunded},
	{Event: "DISPUTE_CREATED", Facts: cashfreeDisputed},
	{Event: "DISPUTE_UPDATED", Facts: cashfreeDisputed},
	{Event: "DISPUTE_CLOSED", Facts: cashfreeDisputed},
	{Event: "PAYMENT_LINK_EVENT", Facts: append([]schemas.Type{schemas.PaymentExpired}, cashfreePaid...)},
	{Event: "PAYMENT_FORM_ORDER_WEBHOOK", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PaymentFailed}, Instead: "PAYMENT_SUCCESS_WEBHOOK and PAYMENT_FAILED_WEBHOOK"},
	{Event: "SUBSCRIPTION_PAYMENT_SUCCESS", Facts: cashfreePaid},
	{Event: "SUBSCRIPTION_PAYMENT_FAILED", Facts: cashfreePaid},
	{Event: "SUBSCRIPTION_PAYMENT_DECLINED", Facts: cashfreePaid},
	{Event: "SUBSCRIPTION_PAYMENT_CANCELLED", Facts: cashfreePaid},
	{Event: "SUBSCRIPTION_NEW_PAYMENT", Facts: []schemas.Type{schemas.PaymentCaptured}},
	{Event: "SUBSCRIPTION_REFUND_STATUS", Facts: cashfreeRefunded},
	{Event: "SUBSCRIPTION_STATUS_CHANGED", Facts: cashfreeMandates},
	{Event: "SUBSCRIPTION_STATUS_CHANGE", Facts: cashfreeMandates},
	{Event: "SUBSCRIPTION_AUTH_STATUS", Facts: cashfreeMandates},
	{Event: "TRANSFER_ACKNOWLEDGED", Facts: []schemas.Type{schemas.PayoutProcessing}},
	{Event: "TRANSFER_SUCCESS", Facts: []schemas.Type{schemas.PayoutSucceeded}},
	{Event: "TRANSFER_FAILED", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "TRANSFER_REJECTED", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "TRANSFER_REVERSED", Facts: []schemas.Type{schemas.PayoutReversed}},
	{Event: "SETTLEMENT_INITIATED", Facts: []schemas.Type{schemas.PayoutProcessing}},
	{Event: "SETTLEMENT_SUCCESS", Facts: []schemas.Type{schemas.PayoutSucceeded}},
	{Event: "SETTLEMENT_FAILED", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "SETTLEMENT_REVERSED", Facts: []schemas.Type{schemas.PayoutReversed}},
	{Event: "VENDOR_SETTLEMENT_INITIATED", Facts: []schemas.Type{schemas.PayoutProcessing}},
	{Event: "VENDOR_SETTLEMENT_CREATED", Facts: []schemas.Type{schemas.PayoutProcessing}},
	{Event: "VENDOR_SETTLEMENT_SUCCESS", Facts: []schemas.Type{schemas.PayoutSucceeded}},
	{Event: "VENDOR_SETTLEMENT_FAILED", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "VENDOR_SETTLEMENT_REVERSED", Facts: []schemas.Type{schemas.PayoutReversed}},
}

// cashfreeReaders maps the event's type to the function that reads the data.
var cashfreeReaders = map[string]func(cashfreeEvent) (fact, error){
	"PAYMENT_SUCCESS_WEBHOOK":        cashfreePayment,
	"PAYMENT_FAILED_WEBHOOK":         cashfreePayment,
	"PAYMENT_USER_DROPPED_WEBHOOK":   cashfreePayment,
	"PAYMENT_LINK_EVENT":             cashfreeLink,
	"REFUND_STATUS_WEBHOOK":          cashfreeRefund,
	"AUTO_REFUND_STATUS_WEBHOOK":     cashfreeRefund,
	"DISPUTE_CREATED":                cashfreeDispute,
	"DISPUTE_UPDATED":                cashfreeDispute,
	"DISPUTE_CLOSED":                 cashfreeDispute,
	"PAYMENT_FORM_ORDER_WEBHOOK":     cashfreeForm,
	"SETTLEMENT_INITIATED":           cashfreeSettlement(schemas.PayoutProcessing),
	"SETTLEMENT_SUCCESS":             cashfreeSettlement(schemas.PayoutSucceeded),
	"SETTLEMENT_FAILED":              cashfreeSettlement(schemas.PayoutFailed),
	"SETTLEMENT_REVERSED":            cashfreeSettlement(schemas.PayoutReversed),
	"VENDOR_SETTLEMENT_INITIATED":    cashfreeSettlement(schemas.PayoutProcessing),
	"VENDOR_SETTLEMENT_CREATED":      cashfreeSettlement(schemas.PayoutProcessing), // this name is in the documented example
	"VENDOR_SETTLEMENT_SUCCESS":      cashfreeSettlement(schemas.PayoutSucceeded),
	"VENDOR_SETTLEMENT_FAILED":       cashfreeSettlement(schemas.PayoutFailed),
	"VENDOR_SETTLEMENT_REVERSED":     cashfreeSettlement(schemas.PayoutReversed),
	"TRANSFER_ACKNOWLEDGED":          cashfreeTransfer(schemas.PayoutProcessing), // the beneficiary's bank has the order, and can still reject it
	"TRANSFER_SUCCESS":               cashfreeTransfer(schemas.PayoutSucceeded),
	"TRANSFER_FAILED":                cashfreeTransfer(schemas.PayoutFailed),
	"TRANSFER_REJECTED":              cashfreeTransfer(schemas.PayoutFailed),
	"TRANSFER_REVERSED":              cashfreeTransfer(schemas.PayoutReversed),
	"SUBSCRIPTION_STATUS_CHANGED":    cashfreeSubscription,
	"SUBSCRIPTION_STATUS_CHANGE":     cashfreeSubscription, // in older versions
	"SUBSCRIPTION_AUTH_STATUS":       cashfreeAuthorization,
	"SUBSCRIPTION_PAYMENT_SUCCESS":   cashfreeCharge,
	"SUBSCRIPTION_PAYMENT_FAILED":    cashfreeCharge,
	"SUBSCRIPTION_PAYMENT_DECLINED":  cashfreeCharge, // in older versions
	"SUBSCRIPTION_PAYMENT_CANCELLED": cashfreeCharge,
	"SUBSCRIPTION_REFUND_STATUS":     cashfreeRefund,
}

// cashfreePaymentTypes maps a payment's status to the event type.
var cashfreePaymentTypes = map[text]schemas.Type{
	"SUCCESS":       schemas.PaymentCaptured,
	"FAILED":        schemas.PaymentFailed,
	"DECLINED":      schemas.PaymentFailed,    // of older subscriptions
	"USER_DROPPED":  schemas.PaymentCancelled, // the payer left the checkout
	"CANCELLED":     schemas.PaymentCancelled,
	"VOID":          schemas.PaymentCancelled,
	"PENDING":       schemas.PaymentProcessing,
	"FLAGGED":       schemas.PaymentProcessing, // held for a risk review
	"NOT_ATTEMPTED": schemas.PaymentActionRequired,
}

// cashfreeFormTypes maps the status of a payment form's order to the event type.
var cashfreeFormTypes = map[text]schemas.Type{
	"PAID":           schemas.PaymentCaptured,
	"PARTIALLY_PAID": schemas.PaymentCaptured,
	"FAILED":         schemas.PaymentFailed,
}

// cashfreeRefundTypes maps a refund's status to the event type.
var cashfreeRefundTypes = map[text]schemas.Type{
	"SUCCESS":   schemas.RefundSucceeded,
	"PENDING":   schemas.RefundPending,
	"ONHOLD":    schemas.RefundPending,
	"FAILED":    schemas.RefundFailed,
	"CANCELLED": schemas.RefundFailed, // by Cashfree, after several failed attempts
}

// cashfreeDisputeTypes maps the end of a dispute's status to the event type. The
// beginning of the status is the kind of dispute.
var cashfreeDisputeTypes = []struct {
	end string
	typ schemas.Type
}{
	{"_CREATED", schemas.DisputeOpened},
	{"_INSUFFICIENT_EVIDENCE", schemas.DisputeOpened}, // the merchant has to send more evidence
	{"_DOCS_RECEIVED", schemas.DisputeChallenged},
	{"_UNDER_REVIEW", schemas.DisputeChallenged},
	{"_MERCHANT_ACCEPTED", schemas.DisputeAccepted},
	{"_MERCHANT_WON", schemas.DisputeWon},
	{"_MERCHANT_LOST", schemas.DisputeLost},
}

// cashfreeStages maps the type of a dispute to its stage.
var cashfreeStages = map[text]schemas.Stage{
	"RETRIEVAL":       schemas.StagePreDispute,
	"DISPUTE":         schemas.StageDispute,
	"CHARGEBACK":      schemas.StageDispute,
	"PRE_ARBITRATION": schemas.StagePreArbitration,
	"ARBITRATION":     schemas.StagePreArbitration,
}

// cashfreeMandateTypes maps a subscription's status to the event type.
var cashfreeMandateTypes = map[text]schemas.Type{
	"ACTIVE":             schemas.MandateActive,
	"LINK_EXPIRED":       schemas.MandateFailed,
	"CANCELLED":          schemas.MandateRevoked,
	"CUSTOMER_CANCELLED": schemas.MandateRevoked,
	"COMPLETED":          schemas.MandateRevoked,
	"EXPIRED":            schemas.MandateRevoked,
	"CARD_EXPIRED":       schemas.MandateRevoked,
}

type cashfreeEvent struct {
	Type      text   `json:"type"`
	EventTime string `json:"event_time"`
	Data      struct {
		Order        cashfreeOrder        `json:"order"`
		OrderDetails cashfreeOrder        `json:"order_details"` // of disputes
		Payment      cashfreePaymentData  `json:"payment"`
		ErrorDetails cashfreeErrorDetails `json:"error_details"`
		Refund       cashfreeRefundData   `json:"refund"`
		AutoRefund   cashfreeRefundData   `json:"auto_refund"`
		Dispute      cashfreeDisputeData  `json:"dispute"`
		Settlement   struct {
			ID       text `json:"settlement_id"`
			CFID     text `json:"cf_settlement_id"`
			Amount   text `json:"amount_settled"`
			Asked    text `json:"settlement_amount"`
			Currency text `json:"settlement_currency"`
			Reason   text `json:"reason"`
		} `json:"settlement"`
		Subscription struct {
			CFID   text `json:"cf_subscription_id"`
			ID     text `json:"subscription_id"`
			Status text `json:"subscription_status"`
		} `json:"subscription_details"`
		Form struct {
			Currency text `json:"form_currency"`
		} `json:"form"`

		// Links, transfers, and the payments and refunds of subscriptions have
		// their fields directly in data.
		cashfreeRefundData
		CFLinkID        text     `json:"cf_link_id"`
		LinkID          text     `json:"link_id"`
		LinkStatus      text     `json:"link_status"`
		LinkNotes       metadata `json:"link_notes"`
		LinkAmount      text     `json:"link_amount"`
		LinkCurrency    text     `json:"link_currency"`
		TransferID      text     `json:"transfer_id"`
		CFTransferID    text     `json:"cf_transfer_id"`
		TransferAmount  text     `json:"transfer_amount"`
		Currency        text     `json:"transfer_currency"`
		StatusCode      text     `json:"status_code"`
		PaymentID       text     `json:"payment_id"`
		PaymentStatus   text     `json:"payment_status"`
		PaymentAmount   text     `json:"payment_amount"`
		PaymentCurrency text     `json:"payment_currency"`
		SubscriptionID  text     `json:"cf_subscription_id"`
		SubscriptionRef text     `json:"subscription_id"`
		FailureDetails  struct {
			Reason text `json:"failure_reason"`
		} `json:"failure_details"`
	} `json:"data"`
}

type cashfreeOrder struct {
	ID              text     `json:"order_id"`
	Amount          text     `json:"order_amount"`
	Currency        text     `json:"order_currency"`
	Tags            metadata `json:"order_tags"`
	CFPaymentID     text     `json:"cf_payment_id"`
	PaymentAmount   text     `json:"payment_amount"`
	PaymentCurrency text     `json:"payment_currency"`
	TransactionID   text     `json:"transaction_id"` // of links and forms: the id of the payment
	Status          text     `json:"transaction_status"`
	FormStatus      text     `json:"order_status"`
}

type cashfreePaymentData struct {
	ID       text `json:"cf_payment_id"`
	Status   text `json:"payment_status"`
	Amount   text `json:"payment_amount"`
	Currency text `json:"payment_currency"`
	Message  text `json:"payment_message"`
	Group    text `json:"payment_group"`
	Method   struct {
		Card struct {
			Network text `json:"card_network"`
		} `json:"card"`
		App struct {
			Provider text `json:"provider"`
		} `json:"app"`
	} `json:"payment_method"`
}

type cashfreeErrorDetails struct {
	Code        text `json:"error_code"`
	Description text `json:"error_description"`
	Reason      text `json:"error_reason"`
	Raw         text `json:"error_code_raw"`
}

type cashfreeRefundData struct {
	CFRefundID  text `json:"cf_refund_id"`
	CFPaymentID text `json:"cf_payment_id"`
	RefundID    text `json:"refund_id"`
	OrderID     text `json:"order_id"`
	Amount      text `json:"refund_amount"`
	Currency    text `json:"refund_currency"`
	Status      text `json:"refund_status"`
	Description text `json:"status_description"`
	Note        text `json:"refund_note"`
	Reason      text `json:"refund_reason"`
}

type cashfreeDisputeData struct {
	ID          text `json:"dispute_id"`
	Type        text `json:"dispute_type"`
	Status      text `json:"dispute_status"`
	ReasonCode  text `json:"reason_code"`
	Description text `json:"reason_description"`
	Amount      text `json:"dispute_amount"`
	Currency    text `json:"dispute_amount_currency"`
	RespondBy   text `json:"respond_by"`
}

func cashfreeNormalize(payload []byte, o Options) ([]fact, error) {
	if bytes.HasPrefix(payload, []byte("cf_")) {
		form, err := decodeForm(payload)
		if err != nil {
			return nil, err
		}
		return cashfreeFlatFact(form)
	}
	var n struct {
		Type  text `json:"type"`
		Event text `json:"cf_event"`
	}
	if err := decode(payload, &n); err != nil {
		return nil, err
	}
	event := string(n.Type)
	switch {
	case event == "" && n.Event != "":
		var flat map[string]text
		if err := redecode(payload, &flat); err != nil {
			return oneMalformed(n.Event, err)
		}
		return cashfreeFlatFact(flat)
	case event == "":
		return nil, fmt.Errorf("%w: no type: not an event of Cashfree's", ErrMalformed)
	}
	read, ok := cashfreeReaders[event]
	if !ok {
		return []fact{notUnified(event)}, nil
	}
	var e cashfreeEvent
	if err := redecode(payload, &e); err != nil {
		return oneMalformed(event, err)
	}
	f, err := read(e)
	if err == nil {
		f.Time, err = cashfreeTime(e.EventTime)
	}
	e.setReference(&f, o)
	return oneFact(event, f, err)
}

// setReference replaces the id of an order that Cashfree created for a payment link or
// form by the merchant's reference, if the event has one. The order's id becomes one of
// ConnectorReferences.
func (e cashfreeEvent) setReference(f *fact, o Options) {
	if !strings.HasPrefix(f.MerchantTransactionID, "CFPay_") {
		return
	}
	d := e.Data
	f.ConnectorReferences = append(f.ConnectorReferences, f.MerchantTransactionID)
	f.MerchantTransactionID = cmp.Or(first(d.LinkID, d.Order.Tags.get("link_id")), o.merchantID(d.Order.Tags, d.LinkNotes))
}

// cashfreeTime reads a time. One without a zone is Indian Standard Time.
func cashfreeTime(s string) (time.Time, error) {
	if len(s) == len("2006-01-02T15:04:05") {
		s += "+05:30"
	}
	return timestamp(strings.Replace(s, " ", "T", 1), time.RFC3339)
}

// cashfreeMissing returns the error for an event without the id of its resource.
func cashfreeMissing(field string) error { return fmt.Errorf("%w: no data.%s", ErrMalformed, field) }

// cashfreePayment reads a payment.
func cashfreePayment(e cashfreeEvent) (f fact, err error) {
	p, o, bad := e.Data.Payment, e.Data.Order, e.Data.ErrorDetails
	if p.ID == "" {
		return f, cashfreeMissing("payment.cf_payment_id")
	}
	typ, ok := cashfreePaymentTypes[p.Status]
	if !ok {
		return statusNotUnified(e.Type, "payment_status", p.Status), nil
	}
	f.Type, f.Identity = typ, string(p.ID)
	f.MerchantTransactionID, f.ConnectorTransactionID = string(o.ID), string(p.ID)
	f.PaymentMethod = method(p.Group, first(p.Method.Card.Network, p.Method.App.Provider))
	if typ == schemas.PaymentFailed || typ == schemas.PaymentCancelled {
		f.Error = failure(first(bad.Code, bad.Reason), first(bad.Description, p.Message), bad.Raw)
	}
	return cashfreeAmounts(f, p.Amount, first(p.Currency, o.Currency))
}

// cashfreeAmounts sets the amounts of a payment, which Cashfree captures at once.
func cashfreeAmounts(f fact, amount text, currency string) (fact, error) {
	var err error
	f.Amount, err = major(amount, currency)
	f.setAmountByType()
	return f, err
}

// cashfreeLink reads the payment of a payment link or, if it has none, the expiry or
// cancellation of the link.
func cashfreeLink(e cashfreeEvent) (f fact, err error) {
	d := e.Data
	if d.Order.TransactionID != "" {
		typ, ok := cashfreePaymentTypes[d.Order.Status]
		if !ok {
			return statusNotUnified(e.Type, "transaction_status", d.Order.Status), nil
		}
		f.Type, f.Identity = typ, string(d.Order.TransactionID)
		f.MerchantTransactionID, f.ConnectorTransactionID = first(d.Order.ID, d.LinkID), string(d.Order.TransactionID)
		return cashfreeAmounts(f, d.Order.Amount, string(d.LinkCurrency))
	}
	switch d.LinkStatus {
	case "EXPIRED":
		f.Type = schemas.PaymentExpired
	case "CANCELLED":
		f.Type = schemas.PaymentCancelled
	default:
		return statusNotUnified(e.Type, "link_status", d.LinkStatus), nil
	}
	if d.CFLinkID == "" {
		return f, cashfreeMissing("cf_link_id")
	}
	f.Identity = "link " + string(d.CFLinkID)
	f.MerchantTransactionID, f.ConnectorTransactionID = string(d.LinkID), string(d.CFLinkID)
	f.Amount, err = major(d.LinkAmount, d.LinkCurrency)
	return f, err
}

// cashfreeForm reads the payment of a payment form. Its amount is the order's; for a
// partial payment, Cashfree does not send the amount that was paid.
//
// https://www.cashfree.com/docs/payments/no-code/payment-forms/webhooks
func cashfreeForm(e cashfreeEvent) (f fact, err error) {
	o := e.Data.Order
	id := first(o.TransactionID, o.ID)
	if id == "" {
		return f, cashfreeMissing("order.transaction_id")
	}
	typ, ok := cashfreeFormTypes[o.FormStatus]
	if !ok {
		return statusNotUnified(e.Type, "order_status", o.FormStatus), nil
	}
	f.Type, f.Identity = typ, id
	f.MerchantTransactionID, f.ConnectorTransactionID = string(o.ID), id
	if o.FormStatus == "PARTIALLY_PAID" {
		return f, nil
	}
	return cashfreeAmounts(f, o.Amount, first(o.Currency, e.Data.Form.Currency))
}

// cashfreeRefund reads a refund.
func cashfreeRefund(e cashfreeEvent) (f fact, err error) {
	r, reference := e.Data.Refund, ""
	switch e.Type {
	case "AUTO_REFUND_STATUS_WEBHOOK":
		r = e.Data.AutoRefund
	case "SUBSCRIPTION_REFUND_STATUS":
		r, reference = e.Data.cashfreeRefundData, string(e.Data.PaymentID)
	}
	if r.CFRefundID == "" {
		return f, cashfreeMissing("refund.cf_refund_id")
	}
	typ, ok := cashfreeRefundTypes[r.Status]
	if !ok {
		return statusNotUnified(e.Type, "refund_status", r.Status), nil
	}
	f.Type, f.Identity = typ, string(r.CFRefundID)
	f.MerchantTransactionID, f.ConnectorTransactionID = first(string(r.OrderID), reference), string(r.CFPaymentID)
	f.ConnectorRefundID, f.MerchantRefundID = string(r.CFRefundID), string(r.RefundID)
	f.Reason = first(r.Reason, r.Note)
	if typ == schemas.RefundFailed {
		f.Error = failure("", r.Description, "")
	}
	f.Amount, err = major(r.Amount, first(r.Currency, "INR"))
	return f, err
}

// cashfreeDispute reads a dispute.
func cashfreeDispute(e cashfreeEvent) (f fact, err error) {
	d, o := e.Data.Dispute, e.Data.OrderDetails
	if d.ID == "" {
		return f, cashfreeMissing("dispute.dispute_id")
	}
	for _, t := range cashfreeDisputeTypes {
		if strings.HasSuffix(string(d.Status), t.end) {
			f.Type = t.typ
		}
	}
	if f.Type == "" {
		return statusNotUnified(e.Type, "dispute_status", d.Status), nil
	}
	f.Identity = string(d.ID + " " + d.Status)
	f.MerchantTransactionID, f.ConnectorTransactionID = string(o.ID), string(o.CFPaymentID)
	f.ConnectorDisputeID, f.Stage = string(d.ID), cashfreeStages[d.Type]
	f.Reason, f.ReasonCode = string(d.Description), string(d.ReasonCode)
	by, err := cashfreeTime(string(d.RespondBy))
	if err != nil {
		return f, err
	}
	f.RespondBy = deadline(by)
	f.Amount, err = major(d.Amount, first(d.Currency, o.PaymentCurrency, o.Currency))
	return f, err
}

// cashfreeSettlement returns the function that reads a settlement, which is a payout
// in rupees to the merchant or to a vendor. The ids of vendors' settlements are
// numbered separately.
func cashfreeSettlement(typ schemas.Type) func(cashfreeEvent) (fact, error) {
	return func(e cashfreeEvent) (f fact, err error) {
		s := e.Data.Settlement
		f.Type, f.ConnectorPayoutID = typ, first(s.CFID, s.ID)
		if f.Identity = f.ConnectorPayoutID; f.Identity == "" {
			return f, cashfreeMissing("settlement.settlement_id")
		}
		if strings.HasPrefix(string(e.Type), "VENDOR_") {
			f.Identity = "vendor " + f.Identity
		}
		if typ == schemas.PayoutFailed || typ == schemas.PayoutReversed {
			f.Error = failure("", s.Reason, "")
		}
		f.Amount, err = major(first(s.Amount, s.Asked), first(s.Currency, "INR"))
		return f, err
	}
}

// cashfreeTransfer returns the function that reads a payout, in rupees, to a
// beneficiary.
func cashfreeTransfer(typ schemas.Type) func(cashfreeEvent) (fact, error) {
	return func(e cashfreeEvent) (f fact, err error) {
		d := e.Data
		if d.CFTransferID == "" {
			return f, cashfreeMissing("cf_transfer_id")
		}
		f.Type, f.Identity = typ, string(d.CFTransferID)
		f.MerchantTransactionID, f.MerchantPayoutID = string(d.TransferID), string(d.TransferID)
		f.ConnectorPayoutID = string(d.CFTransferID)
		if typ == schemas.PayoutFailed || typ == schemas.PayoutReversed {
			f.Error = failure(d.StatusCode, d.Description, "")
		}
		f.Amount, err = major(d.TransferAmount, first(d.Currency, "INR"))
		return f, err
	}
}

// cashfreeSubscription reads the status of a subscription.
func cashfreeSubscription(e cashfreeEvent) (f fact, err error) {
	s := e.Data.Subscription
	if s.CFID == "" {
		return f, cashfreeMissing("subscription_details.cf_subscription_id")
	}
	typ, ok := cashfreeMandateTypes[s.Status]
	if !ok {
		return statusNotUnified(e.Type, "subscription_status", s.Status), nil
	}
	f.Type, f.ConnectorMandateID = typ, string(s.CFID)
	f.MerchantTransactionID = string(s.ID)
	return f, nil
}

// cashfreeAuthorization reads whether the payer authorised a subscription. The small
// payment that may be part of it is mostly refunded, and is no event.
//
// SUBSCRIPTION_STATUS_CHANGED also reports that the subscription is active. It names no
// authorization, and comes again when a paused subscription is resumed, so the two
// cannot be joined: a subscription that becomes active can have two events.
func cashfreeAuthorization(e cashfreeEvent) (f fact, err error) {
	d := e.Data
	if d.SubscriptionID == "" {
		return f, cashfreeMissing("cf_subscription_id")
	}
	switch d.PaymentStatus {
	case "SUCCESS":
		f.Type = schemas.MandateActive
	case "FAILED", "CANCELLED":
		f.Type = schemas.MandateFailed
		f.Error = failure("", d.FailureDetails.Reason, "")
	default:
		return statusNotUnified(e.Type, "payment_status", d.PaymentStatus), nil
	}
	f.Identity = first(d.CFPaymentID, d.PaymentID, d.SubscriptionID)
	f.MerchantTransactionID, f.ConnectorMandateID = string(d.SubscriptionRef), string(d.SubscriptionID)
	return f, nil
}

// cashfreeCharge reads a payment of a subscription.
func cashfreeCharge(e cashfreeEvent) (f fact, err error) {
	d := e.Data
	if d.CFPaymentID == "" {
		return f, cashfreeMissing("cf_payment_id")
	}
	typ, ok := cashfreePaymentTypes[d.PaymentStatus]
	if !ok {
		return statusNotUnified(e.Type, "payment_status", d.PaymentStatus), nil
	}
	f.Type, f.Identity = typ, string(d.CFPaymentID)
	f.MerchantTransactionID, f.ConnectorTransactionID = string(d.PaymentID), string(d.CFPaymentID)
	f.MandateID = string(d.SubscriptionID)
	f.Error = failure("", d.FailureDetails.Reason, "")
	return cashfreeAmounts(f, d.PaymentAmount, first(d.PaymentCurrency, "INR"))
}

// cashfreeFlatTypes maps the name of a flat webhook about a payment to the event type.
var cashfreeFlatTypes = map[string]schemas.Type{
	"SUBSCRIPTION_NEW_PAYMENT":       schemas.PaymentCaptured,
	"SUBSCRIPTION_PAYMENT_DECLINED":  schemas.PaymentFailed,
	"SUBSCRIPTION_PAYMENT_CANCELLED": schemas.PaymentCancelled,
}

// cashfreeFlatFact reads a flat webhook of the first version of subscriptions. Its
// cf_paymentId is the charge of the subscription, and cf_referenceId the payment, which
// other webhooks call cf_payment_id.
func cashfreeFlatFact[T ~string](d map[string]T) ([]fact, error) {
	event := string(d["cf_event"])
	var f fact
	switch typ, mandate := cashfreeFlatTypes[event], cashfreeMandateTypes[text(d["cf_status"])]; {
	case event == "SUBSCRIPTION_STATUS_CHANGE" && mandate == "":
		return []fact{statusNotUnified(event, "cf_status", d["cf_status"])}, nil
	case event == "SUBSCRIPTION_STATUS_CHANGE" && d["cf_subReferenceId"] == "":
		return oneMalformed(event, fmt.Errorf("%w: no cf_subReferenceId", ErrMalformed))
	case event == "SUBSCRIPTION_STATUS_CHANGE":
		f.Type, f.Identity = mandate, first("subscription "+d["cf_subReferenceId"]+" "+d["cf_status"]+" "+d["cf_eventTime"])
		f.MerchantTransactionID, f.ConnectorMandateID = string(d["cf_subscriptionId"]), string(d["cf_subReferenceId"])
	case typ == "":
		return []fact{notUnified(event)}, nil
	case d["cf_paymentId"] == "":
		return oneMalformed(event, fmt.Errorf("%w: no cf_paymentId", ErrMalformed))
	default:
		f.Type, f.Identity = typ, "charge "+string(d["cf_paymentId"])
		payment := d["cf_referenceId"]
		switch {
		case typ == schemas.PaymentFailed: // it is tried again
			f.Identity += " " + first(d["cf_retryAttempts"], d["cf_eventTime"])
		case payment != "":
			f.Also = []string{string(payment)}
		}
		f.ConnectorTransactionID = first(payment, d["cf_paymentId"])
		f.ConnectorReferences = others(f.ConnectorTransactionID, d["cf_orderId"])
		f.MerchantTransactionID, f.MandateID = string(d["cf_merchantTxnId"]), string(d["cf_subReferenceId"])
		f.Error = failure("", d["cf_reasons"], "")
		var err error
		if f, err = cashfreeAmounts(f, text(d["cf_amount"]), "INR"); err != nil {
			return oneMalformed(event, err)
		}
	}
	at, err := cashfreeTime(string(d["cf_eventTime"]))
	f.Time = at
	return oneFact(event, f, err)
}
