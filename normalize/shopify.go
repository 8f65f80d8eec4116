package normalize

import (
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// shopify: one resource a webhook, as it is after the change. What the change
// was stands in a header that is not signed; so the resource and its state
// decide, and their identity is id and state: a webhook of another topic that
// finds an order in the same state tells the same fact.
//
// A transaction moves money for an order. A refund is told as the transactions
// that it consists of, with the identity that they have by themselves. An
// order tells of its payment too, for those who subscribe to orders only. The
// order's id is all that they have in common, and the key. A subscription's
// billing attempt has an order only if it succeeded, and that order tells; one
// that failed has the key that the merchant gave it. Tender transactions say
// once more what transactions say, under other ids, and are ignored.
//
// https://shopify.dev/docs/api/webhooks
var shopify = Connector{
	Docs:      "https://shopify.dev/docs/api/webhooks",
	Key:       "id of orders, order_id of transactions, refunds and disputes, idempotency_key of billing attempts",
	Normalize: shopifyNormalize,
}

// shopifyTransactions are what transactions mean, by kind and status.
var shopifyTransactions = map[string]schemas.Type{
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

var shopifyOrders = map[text]schemas.Type{
	"pending":        schemas.PaymentProcessing,
	"authorized":     schemas.PaymentAuthorized,
	"partially_paid": schemas.PaymentCaptured,
	"paid":           schemas.PaymentCaptured,
	"voided":         schemas.PaymentCancelled,
	"expired":        schemas.PaymentExpired,
}

var shopifyDisputes = map[text]schemas.Type{
	"needs_response":  schemas.DisputeOpened,
	"under_review":    schemas.DisputeChallenged,
	"charge_refunded": schemas.DisputeCancelled, // nothing is left to contest
	"accepted":        schemas.DisputeAccepted,
	"won":             schemas.DisputeWon,
	"lost":            schemas.DisputeLost,
}

var shopifyStages = map[text]schemas.Stage{
	"inquiry":    schemas.StagePreDispute,
	"chargeback": schemas.StageDispute,
}

// shopifyResource is an order, transaction, refund or dispute.
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

	FinancialStatus text `json:"financial_status"`
	TotalPrice      text `json:"total_price"`

	Kind           text `json:"kind"`
	Message        text `json:"message"`
	ErrorCode      text `json:"error_code"`
	ErrorMessage   text `json:"error_message"`
	Gateway        text `json:"gateway"`
	PaymentDetails struct {
		Company text `json:"credit_card_company"`
	} `json:"payment_details"`

	Transactions    []shopifyResource `json:"transactions"`
	RefundLineItems *[]struct{}       `json:"refund_line_items"`
	Note            text              `json:"note"`

	SubscriptionContractID text `json:"subscription_contract_id"`
	IdempotencyKey         text `json:"idempotency_key"`

	Type              text `json:"type"`
	Reason            text `json:"reason"`
	NetworkReasonCode text `json:"network_reason_code"`
	EvidenceDueBy     text `json:"evidence_due_by"`
	InitiatedAt       text `json:"initiated_at"`
	FinalizedOn       text `json:"finalized_on"`
}

func shopifyNormalize(payload []byte, _ Options) ([]Fact, error) {
	var r shopifyResource
	if err := decode(payload, &r); err != nil {
		return nil, err
	}
	switch {
	case r.Kind != "":
		return []Fact{r.fact("transaction."+string(r.Kind)+"."+string(r.Status), r.ProcessedAt, r.transaction)}, nil
	case r.RefundLineItems != nil:
		return r.refund(), nil
	case r.FinancialStatus != "":
		return []Fact{r.fact("order."+string(r.FinancialStatus), r.UpdatedAt, r.order)}, nil
	case r.SubscriptionContractID != "" && r.IdempotencyKey != "":
		return []Fact{r.attempt()}, nil
	case shopifyStages[r.Type] != "":
		return []Fact{r.fact("dispute."+string(r.Status), text(first(r.FinalizedOn, r.InitiatedAt)), r.dispute)}, nil
	}
	return []Fact{ignored("", "it is no order with a financial_status, and no transaction, refund, billing attempt or dispute")}, nil
}

// fact is what read makes of the resource. Its name is the resource and its
// state, which is also its identity.
func (r shopifyResource) fact(name string, at text, read func(*Fact) (schemas.Type, error)) Fact {
	if r.ID == "" {
		return malformed(name, fmt.Errorf("%w: no id: it is not told what the webhook is about", ErrMalformed))
	}
	var f Fact
	var err error
	if f.Type, err = read(&f); err == nil {
		f.Time, err = timestamp(first(at, r.CreatedAt), time.RFC3339, time.DateOnly)
	}
	switch {
	case err != nil:
		return malformed(name, err)
	case f.Type == "":
		return ignored(name, fmt.Sprintf("%q moves no money by itself, or is not known", name))
	}
	if r.Test != nil {
		f.Mode = mode(!*r.Test)
	}
	f.Identity, f.ConnectorEventType = string(r.ID)+":"+name, name
	f.ConnectorTransactionID = f.MerchantTransactionID
	return f
}

func (r shopifyResource) order(f *Fact) (_ schemas.Type, err error) {
	typ := shopifyOrders[r.FinancialStatus]
	f.MerchantTransactionID = string(r.ID)
	if r.FinancialStatus == "partially_paid" {
		return typ, nil // how much is not told
	}
	f.Amount, err = major(string(r.TotalPrice), r.Currency)
	shopifyTotals(f, typ)
	return typ, err
}

func (r shopifyResource) transaction(f *Fact) (_ schemas.Type, err error) {
	typ := shopifyTransactions[string(r.Kind)+"."+string(r.Status)]
	f.MerchantTransactionID = string(r.OrderID)
	f.PaymentMethod = method(string(r.Gateway), string(r.PaymentDetails.Company))
	if typ.Family() == "refund" {
		f.ConnectorRefundID = string(r.ID)
	}
	if r.Status == "failure" || r.Status == "error" {
		f.Error = failure(string(r.ErrorCode), string(r.Message), "")
	}
	f.Amount, err = major(string(r.Amount), r.Currency)
	if r.Kind != "capture" { // one of several, perhaps
		shopifyTotals(f, typ)
	}
	return typ, err
}

// shopifyTotals is how much of a payment is authorized or captured so far.
func shopifyTotals(f *Fact, typ schemas.Type) {
	switch typ {
	case schemas.PaymentAuthorized:
		f.AuthorizedAmount = f.Amount
	case schemas.PaymentCaptured:
		f.AuthorizedAmount, f.CapturedAmount = f.Amount, f.Amount
	}
}

// refund is the transactions that it consists of: none if goods came back and
// no money went.
func (r shopifyResource) refund() []Fact {
	if len(r.Transactions) == 0 {
		return []Fact{ignored("refund", "it has no transactions: no money went back")}
	}
	facts := make([]Fact, len(r.Transactions))
	for i, t := range r.Transactions {
		if t.OrderID == "" {
			t.OrderID = r.OrderID
		}
		facts[i] = t.fact("transaction."+string(t.Kind)+"."+string(t.Status), t.ProcessedAt, t.transaction)
		if facts[i].Type.Family() == "refund" {
			facts[i].ConnectorRefundID, facts[i].Reason = string(r.ID), string(r.Note)
		}
	}
	return facts
}

func (r shopifyResource) attempt() Fact {
	if r.ErrorCode == "" {
		return ignored("subscription_billing_attempt", "it did not fail: the order that it makes tells")
	}
	f := r.fact("subscription_billing_attempt.failure", "", func(f *Fact) (schemas.Type, error) {
		f.MerchantTransactionID = first(r.OrderID, r.IdempotencyKey)
		f.MandateID = string(r.SubscriptionContractID)
		f.Error = failure(string(r.ErrorCode), string(r.ErrorMessage), "")
		return schemas.PaymentFailed, nil
	})
	if r.OrderID == "" {
		f.ConnectorTransactionID = string(r.ID)
	}
	return f
}

func (r shopifyResource) dispute(f *Fact) (_ schemas.Type, err error) {
	f.MerchantTransactionID, f.ConnectorDisputeID = string(r.OrderID), string(r.ID)
	f.Reason, f.ReasonCode, f.Stage = string(r.Reason), string(r.NetworkReasonCode), shopifyStages[r.Type]
	by, err := timestamp(string(r.EvidenceDueBy), time.RFC3339)
	if err != nil {
		return "", err
	}
	f.RespondBy = deadline(by)
	f.Amount, err = major(string(r.Amount), r.Currency)
	return shopifyDisputes[r.Status], err
}
