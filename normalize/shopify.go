package normalize

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// shopify normalises Shopify's webhooks. One webhook is one resource in its
// state after a change. The topic, which names the change, is in a header that
// is not signed. The resource and its state therefore decide the event, and the
// identity is the id and the state: webhooks of two topics that have an order
// in the same state are one fact.
//
// A transaction moves money for an order. A refund becomes one fact for each of its
// transactions, with the identity that the transaction's own webhook has. An order is
// also a fact about its payment, for merchants who subscribe to orders only. All of
// these have the id of the order in common, and it is the key. An order names no
// transaction, so a payment that both report has two ids: the setting tells selects
// which of them makes the events. What only one of them reports makes an event with
// either value: a failure or a refund of a transaction, an expired authorization of an
// order.
//
// A subscription's billing attempt has an order only if it succeeded, and then the
// order's webhook reports it; a failed attempt has the key that the merchant gave it.
// Tender transactions repeat what transactions report, with other ids, and are ignored.
//
// https://shopify.dev/docs/api/webhooks
var shopify = Connector{
	Docs:      "https://shopify.dev/docs/api/webhooks",
	Key:       "id of orders, order_id of transactions, refunds and disputes, idempotency_key of billing attempts",
	Settings:  []Setting{shopifyTells},
	Tellers:   shopifyTellers(),
	Captures:  CountsTotal, // orders have the sum so far, transactions each their part: https://shopify.dev/docs/api/admin-graphql/latest/payloads/ordercapturepayload
	normalize: shopifyNormalize,
}

// The values of the setting tells.
const (
	shopifyTransactions = "transactions"
	shopifyOrders       = "orders"
)

// shopifyTells is the setting that selects which webhooks make the events of a payment.
var shopifyTells = Setting{
	Name: "tells",
	Description: "which webhooks report that a payment is pending, authorized, captured or cancelled: transactions (order_transactions/create: each with its amount and payment method) or orders (orders/create, orders/updated, orders/paid: the order as a whole); " +
		"without it both do, and whoever subscribes to both gets each payment twice",
	Values: []string{shopifyTransactions, shopifyOrders},
	Unset: "orders/* and order_transactions/create both report a payment, with two event ids, and whoever subscribes to both gets it twice; " +
		"set tells to transactions if order_transactions/create is subscribed to, else to orders",
}

// shopifyOrderReports maps the state of a transaction to the states of its order that
// report the same fact.
var shopifyOrderReports = map[string][]string{
	"authorization.success": {"order.authorized"},
	"authorization.pending": {"order.pending"},
	"sale.success":          {"order.paid", "order.partially_paid"},
	"sale.pending":          {"order.pending"},
	"capture.success":       {"order.paid", "order.partially_paid"},
	"capture.pending":       {"order.pending"},
}

// shopifyTransactionReports maps the financial status of an order to the states of
// transactions that report the same fact.
var shopifyTransactionReports = map[text][]string{
	"pending":        {"transaction.sale.pending", "transaction.authorization.pending"},
	"authorized":     {"transaction.authorization.success"},
	"partially_paid": {"transaction.sale.success", "transaction.capture.success"},
	"paid":           {"transaction.sale.success", "transaction.capture.success"},
	"voided":         {"transaction.void.success"},
}

// shopifyTellers lists the event types, derived from the tables of the states.
func shopifyTellers() (all []Teller) {
	for _, status := range slices.Sorted(maps.Keys(shopifyOrderTypes)) {
		t := Teller{Event: "order." + string(status), Facts: distinct(shopifyOrderTypes[status]), Subscription: "orders/create, orders/updated"}
		if status == "paid" {
			t.Subscription = "orders/paid"
		}
		if others := shopifyTransactionReports[status]; others != nil {
			t.Tells, t.Instead = shopifyOrders, "with tells transactions: "+strings.Join(others, ", ")
		}
		all = append(all, t)
	}
	for _, state := range slices.Sorted(maps.Keys(shopifyTransactionTypes)) {
		t := Teller{Event: "transaction." + state, Facts: distinct(shopifyTransactionTypes[state]), Subscription: "order_transactions/create"}
		if others := shopifyOrderReports[state]; others != nil {
			t.Tells, t.Instead = shopifyTransactions, "with tells orders: "+strings.Join(others, ", ")
		}
		if strings.HasPrefix(state, "refund.") {
			t.Subscription = "refunds/create or order_transactions/create"
		}
		all = append(all, t)
	}
	for _, status := range slices.Sorted(maps.Keys(shopifyDisputeTypes)) {
		all = append(all, Teller{Event: "dispute." + string(status), Facts: distinct(shopifyDisputeTypes[status]), Subscription: "disputes/create, disputes/update"})
	}
	return append(all, Teller{Event: "subscription_billing_attempt.failure", Facts: distinct(schemas.PaymentFailed), Subscription: "subscription_billing_attempts/failure"})
}

// shopifyTransactionTypes maps the kind and the status of a transaction to the
// event type.
var shopifyTransactionTypes = map[string]schemas.Type{
	"authorization.success": schemas.PaymentAuthorized,
	"authorization.pending": schemas.PaymentProcessing,
	"authorization.failure": schemas.PaymentFailed,
	"authorization.error":   schemas.PaymentFailed,
	"sale.success":          schemas.PaymentCaptured,
	"sale.pending":          schemas.PaymentProcessing,
	"sale.failure":          schemas.PaymentFailed,
	"sale.error":            schemas.PaymentFailed,
	"capture.success":       schemas.PaymentCaptured,
	"capture.pending":       schemas.PaymentProcessing,
	"capture.failure":       schemas.PaymentCaptureFailed,
	"capture.error":         schemas.PaymentCaptureFailed,
	"void.success":          schemas.PaymentCancelled,
	"void.failure":          schemas.PaymentCancelFailed,
	"void.error":            schemas.PaymentCancelFailed,
	"refund.success":        schemas.RefundSucceeded,
	"refund.pending":        schemas.RefundPending,
	"refund.failure":        schemas.RefundFailed,
	"refund.error":          schemas.RefundFailed,
}

// shopifyOrderTypes maps the financial status of an order to the event type.
var shopifyOrderTypes = map[text]schemas.Type{
	"pending":        schemas.PaymentProcessing,
	"authorized":     schemas.PaymentAuthorized,
	"partially_paid": schemas.PaymentCaptured,
	"paid":           schemas.PaymentCaptured,
	"voided":         schemas.PaymentCancelled,
	"expired":        schemas.PaymentExpired,
}

// shopifyDisputeTypes maps the status of a dispute to the event type.
var shopifyDisputeTypes = map[text]schemas.Type{
	"needs_response":  schemas.DisputeOpened,
	"under_review":    schemas.DisputeChallenged,
	"charge_refunded": schemas.DisputeCancelled, // nothing is left to contest
	"accepted":        schemas.DisputeAccepted,
	"won":             schemas.DisputeWon,
	"lost":            schemas.DisputeLost,
}

// shopifyStages maps the type of a dispute to its stage.
var shopifyStages = map[text]schemas.Stage{
	"inquiry":    schemas.StagePreDispute,
	"chargeback": schemas.StageDispute,
}

// shopifyResource is an order, a transaction, a refund, a billing attempt or a
// dispute.
type shopifyResource struct {
	ID          text   `json:"id"`
	OrderID     text   `json:"order_id"`
	Test        *bool  `json:"test"`
	Currency    string `json:"currency"`
	Amount      text   `json:"amount"`
	Status      text   `json:"status"`
	CreatedAt   text   `json:"created_at"`
	ProcessedAt text   `json:"processed_at"`
	UpdatedAt   text   `json:"updated_at"`
	CancelledAt text   `json:"cancelled_at"`

	FinancialStatus text `json:"financial_status"`
	TotalPrice      text `json:"total_price"`

	CurrentTotalPrice text `json:"current_total_price"`
	TotalOutstanding  text `json:"total_outstanding"`

	Kind           text `json:"kind"`
	Message        text `json:"message"`
	ErrorCode      text `json:"error_code"`
	ErrorMessage   text `json:"error_message"`
	Gateway        text `json:"gateway"`
	PaymentDetails struct {
		Company text `json:"credit_card_company"`
	} `json:"payment_details"`

	Transactions []part `json:"transactions"`
	Note         text   `json:"note"`

	SubscriptionContractID text `json:"subscription_contract_id"`
	IdempotencyKey         text `json:"idempotency_key"`

	EvidenceSentOn    text `json:"evidence_sent_on"`
	Type              text `json:"type"`
	Reason            text `json:"reason"`
	NetworkReasonCode text `json:"network_reason_code"`
	EvidenceDueBy     text `json:"evidence_due_by"`
	InitiatedAt       text `json:"initiated_at"`
	FinalizedOn       text `json:"finalized_on"`
}

func shopifyNormalize(payload []byte, o Options) ([]fact, error) {
	var k shopifyEnvelope
	if err := decode(payload, &k); err != nil {
		return nil, err
	}
	read, name, typ := k.reader()
	switch {
	case read == nil:
		return []fact{ignored("", "neither an order with a financial_status nor a transaction, refund, billing attempt or dispute")}, nil
	case name == "order.refunded" || name == "order.partially_refunded":
		return []fact{reportedBy(name, "transaction.refund.success")}, nil // the order does not say which refund is new
	case name != "" && typ == "":
		return []fact{ignored(name, fmt.Sprintf("%q moves no money by itself, or is not known", name))}, nil
	}
	var r shopifyResource
	if err := redecode(payload, &r); err != nil {
		return oneMalformed(name, err)
	}
	facts := read(r)
	for i, f := range facts {
		if f.Type != "" {
			facts[i] = f.applyShopifyTells(o.Settings[shopifyTells.Name])
		}
	}
	return facts, nil
}

// applyShopifyTells applies the setting tells to the fact: it returns an ignored fact
// if another resource makes its event. If orders report the payments, a voided
// transaction has the identity of its voided order: both are one fact, and the merchant
// may have subscribed to orders/paid and to no other topic of orders.
func (f fact) applyShopifyTells(tells string) fact {
	name := f.ConnectorEventType
	transaction, ofTransaction := strings.CutPrefix(name, "transaction.")
	order, ofOrder := strings.CutPrefix(name, "order.")
	var others []string
	switch {
	case ofTransaction && tells == shopifyOrders:
		others = shopifyOrderReports[transaction]
	case ofOrder && tells == shopifyTransactions:
		others = shopifyTransactionReports[text(order)]
	}
	if others != nil {
		return reportedBy(name, others...)
	}
	if transaction == "void.success" && tells == shopifyOrders && f.MerchantTransactionID != "" {
		f.Formerly = []string{f.Identity}
		f.Identity = f.MerchantTransactionID + ":order.voided"
	}
	return f
}

// shopifyEnvelope has the fields that distinguish the kinds of resources, because the
// topic is not signed.
type shopifyEnvelope struct {
	Kind                   text `json:"kind"`
	Status                 text `json:"status"`
	FinancialStatus        text `json:"financial_status"`
	SubscriptionContractID text `json:"subscription_contract_id"`
	IdempotencyKey         text `json:"idempotency_key"`
	Type                   text `json:"type"`
	RefundLineItems        part `json:"refund_line_items"`
}

// reader returns the function that reads the resource; nil if the resource is
// not about money. For a resource that becomes one fact, it also returns a
// name, which is the kind and the state of the resource, and the event type,
// empty if the state is not known.
func (k shopifyEnvelope) reader() (read func(shopifyResource) []fact, name string, typ schemas.Type) {
	one := func(read func(shopifyResource, *fact) error) func(shopifyResource) []fact {
		return func(r shopifyResource) []fact { return []fact{r.fact(name, typ, read)} }
	}
	switch {
	case k.Kind != "":
		state := string(k.Kind + "." + k.Status)
		name, typ = "transaction."+state, shopifyTransactionTypes[state]
		return one(shopifyResource.transaction), name, typ
	case k.RefundLineItems.kind() == '[':
		return shopifyResource.refund, "", ""
	case k.FinancialStatus != "":
		name, typ = "order."+string(k.FinancialStatus), shopifyOrderTypes[k.FinancialStatus]
		return one(shopifyResource.order), name, typ
	case k.SubscriptionContractID != "" && k.IdempotencyKey != "":
		return shopifyResource.attempt, "", ""
	case shopifyStages[k.Type] != "":
		name, typ = "dispute."+string(k.Status), shopifyDisputeTypes[k.Status]
		return one(shopifyResource.dispute), name, typ
	}
	return nil, "", ""
}

// fact returns a fact of the type typ; read fills in its fields. The name,
// which is the kind and the state of the resource, becomes part of the
// identity.
func (r shopifyResource) fact(name string, typ schemas.Type, read func(shopifyResource, *fact) error) fact {
	if r.ID == "" {
		return malformed(name, fmt.Errorf("%w: no id: the webhook does not say what it is about", ErrMalformed))
	}
	f := fact{Type: typ}
	if err := read(r, &f); err != nil {
		return malformed(name, err)
	}
	if r.Test != nil {
		f.Mode = modeOf(!*r.Test)
	}
	f.Identity, f.ConnectorEventType = string(r.ID)+":"+name, name
	f.ConnectorTransactionID = f.MerchantTransactionID
	return f
}

// shopifyTime reads the first time that is not empty.
func shopifyTime(at ...text) (time.Time, error) {
	return timestamp(first(at...), time.RFC3339, time.DateOnly)
}

// order fills in the fact about the payment of an order.
func (r shopifyResource) order(f *fact) (err error) {
	f.MerchantTransactionID = string(r.ID)
	changed := r.UpdatedAt
	if f.Type == schemas.PaymentCancelled {
		changed = cmp.Or(r.CancelledAt, r.UpdatedAt)
	}
	if f.Time, err = shopifyTime(changed); err != nil || r.FinancialStatus == "partially_paid" { // the order does not say how much
		return err
	}
	f.Amount, err = major(r.TotalPrice, r.Currency)
	if f.Type == schemas.PaymentCaptured && err == nil {
		f.Amount, err = r.paid(f.Amount)
	}
	shopifyTotals(f)
	return err
}

// paid returns how much was paid for an order: its price, or its current price
// if the order was edited, minus the outstanding amount.
func (r shopifyResource) paid(price *schemas.Amount) (*schemas.Amount, error) {
	current, err := major(r.CurrentTotalPrice, r.Currency)
	if err != nil || current == nil {
		return price, err
	}
	outstanding, err := major(r.TotalOutstanding, r.Currency)
	if err != nil || outstanding == nil {
		return price, err
	}
	return &schemas.Amount{Value: current.Value - outstanding.Value, Currency: current.Currency}, nil
}

// transaction fills in the fact of a transaction.
func (r shopifyResource) transaction(f *fact) (err error) {
	if f.Time, err = shopifyTime(r.ProcessedAt, r.CreatedAt); err != nil {
		return err
	}
	f.MerchantTransactionID = string(r.OrderID)
	f.PaymentMethod = r.method()
	if f.Type.Family() == "refund" {
		f.ConnectorRefundID = string(r.ID)
	}
	if r.Status == "failure" || r.Status == "error" {
		f.Error = failure(r.ErrorCode, r.Message, "")
	}
	f.Amount, err = major(r.Amount, r.Currency)
	if f.Type == schemas.PaymentAuthorized { // an order can have several sales and captures
		shopifyTotals(f)
	}
	return err
}

// method returns the payment method. A gateway accepts several kinds; the
// payment was by card if the company of the card is given.
func (r shopifyResource) method() *schemas.PaymentMethod {
	if company := string(r.PaymentDetails.Company); company != "" && r.Gateway != "gift_card" {
		return method("card", company)
	}
	return method(r.Gateway, "")
}

// shopifyTotals sets how much of a payment is authorized and captured so far.
func shopifyTotals(f *fact) {
	switch f.Type {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentCaptured:
		f.AuthorizedAmount, f.CapturedAmount = f.Amount, f.Amount
	}
}

// refund returns a fact for each transaction of a refund. The id of each is that of the
// transaction, because a refund can have several. A refund without transactions returned
// goods and no money.
func (r shopifyResource) refund() []fact {
	if len(r.Transactions) == 0 {
		return []fact{ignored("refund", "the refund has no transactions: no money was returned")}
	}
	facts := make([]fact, len(r.Transactions))
	for i, transaction := range r.Transactions {
		facts[i] = r.refunded(transaction)
		if f := &facts[i]; f.Type.Family() == "refund" {
			f.ConnectorReferences, f.Reason = others(f.ConnectorTransactionID, string(r.ID)), string(r.Note)
		}
	}
	return facts
}

// refunded returns the fact of one transaction of a refund.
func (r shopifyResource) refunded(transaction part) fact {
	var k shopifyEnvelope
	if err := redecode(transaction, &k); err != nil {
		return malformed("refund", err)
	}
	state := string(k.Kind + "." + k.Status)
	name, typ := "transaction."+state, shopifyTransactionTypes[state]
	if typ == "" {
		return ignored(name, fmt.Sprintf("%q moves no money by itself, or is not known", name))
	}
	var t shopifyResource
	if err := redecode(transaction, &t); err != nil {
		return malformed(name, err)
	}
	t.OrderID = cmp.Or(t.OrderID, r.OrderID)
	return t.fact(name, typ, shopifyResource.transaction)
}

// attempt reads a billing attempt of a subscription.
func (r shopifyResource) attempt() []fact {
	if r.ErrorCode == "" {
		return []fact{reportedBy("subscription_billing_attempt", "order.paid", "transaction.sale.success")} // of the order that it makes
	}
	f := r.fact("subscription_billing_attempt.failure", schemas.PaymentFailed, func(r shopifyResource, f *fact) error {
		f.MerchantTransactionID = first(r.OrderID, r.IdempotencyKey)
		f.MandateID = string(r.SubscriptionContractID)
		f.Error = failure(r.ErrorCode, r.ErrorMessage, "")
		return nil // the attempt does not say when it failed
	})
	if r.OrderID == "" {
		f.ConnectorTransactionID = string(r.ID)
	}
	return []fact{f}
}

// dispute fills in the fact of a dispute.
func (r shopifyResource) dispute(f *fact) (err error) {
	f.MerchantTransactionID, f.ConnectorDisputeID = string(r.OrderID), string(r.ID)
	f.Reason, f.ReasonCode, f.Stage = string(r.Reason), string(r.NetworkReasonCode), shopifyStages[r.Type]
	at := r.FinalizedOn
	switch f.Type {
	case schemas.DisputeOpened:
		at = r.InitiatedAt
	case schemas.DisputeChallenged:
		at = r.EvidenceSentOn
	}
	if f.Time, err = shopifyTime(at); err != nil {
		return err
	}
	by, err := timestamp(r.EvidenceDueBy, time.RFC3339)
	if err != nil {
		return err
	}
	f.RespondBy = deadline(by)
	f.Amount, err = major(r.Amount, r.Currency)
	return err
}
