package normalize

import (
	"cmp"
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// mercadopago reads a notification, {"type", "action", "data": {"id"}}, that a resource
// has changed. Mercado Pago does not sign the body, so nothing in it is used for an
// event: the resource must be fetched, by the id in the query. The archive keeps the
// whole webhook, with its query. The older form, IPN, is {"resource", "topic"}, or empty.
//
// The facts are those of the fetched payments and orders: the status of each payment, and
// each refund in it. The identity is the object and its state, so that many notifications
// of one payment make each fact once. An order and the payments API give one payment two
// ids: the setting tells selects which of the two makes the events.
//
// How Mercado Pago reports the end of a chargeback (settled, reimbursed) and the statuses
// of refunds is not documented in full: an unknown status is ignored.
//
// https://www.mercadopago.com.mx/developers/en/docs/your-integrations/notifications/webhooks
// https://www.mercadopago.com.mx/developers/en/docs/checkout-api/response-handling/query-results
// https://github.com/mercadopago/sdk-go pkg/payment/response.go, pkg/order/response.go
var mercadopago = Connector{
	Docs: "https://www.mercadopago.com.mx/developers/en/docs/your-integrations/notifications/webhooks",
	Key:  "(fetched) metadata.<merchant_id_keys>, else external_reference; none without api",
	Settings: []Setting{{
		Name:        "collector_id",
		Description: "the account's user id: a fetched object of another account is ignored; the default accepts every object that the access token can read",
	}, mercadopagoTells},
	Captures:  CountsOnce, // a reserved amount is captured once, wholly or in part: https://www.mercadopago.com.br/developers/en/docs/checkout-api/payment-management/capture-authorized-payment
	normalize: mercadopagoNormalize,
}

// The values of the setting tells.
const (
	mercadopagoPayments = "payments"
	mercadopagoOrders   = "orders"
)

// mercadopagoTells is the setting that selects whose notifications make the events.
var mercadopagoTells = Setting{
	Name: "tells",
	Description: "which notifications report what happened to a payment: payments (the topics payment, merchant_order and chargebacks) or orders (the topic order, of the Orders API); " +
		"without it both do, and whoever gets both topics gets each payment twice",
	Values: []string{mercadopagoPayments, mercadopagoOrders},
	Unset: "the topics payment and order both report a payment of the Orders API, with two event ids, and whoever gets both gets it twice; " +
		"set tells to orders if the payments are made with the Orders API, else to payments, which tollbridge gaps needs",
}

func mercadopagoNormalize(payload []byte, o Options) ([]fact, error) {
	var facts []fact
	tells := o.Settings[mercadopagoTells.Name]
	for _, d := range o.fetchedOf("payment") {
		all, err := mercadopagoPaymentFacts(d.Body, o)
		if err != nil {
			return nil, fmt.Errorf("the fetched %s: %w", d.Name, err)
		}
		if tells == mercadopagoOrders {
			all = []fact{ignored("payment", "tells is orders: the order reports it")}
		}
		facts = append(facts, all...)
	}
	for _, d := range o.fetchedOf("order") {
		all, err := mercadopagoOrderFacts(d.Body, o)
		if err != nil {
			return nil, fmt.Errorf("the fetched %s: %w", d.Name, err)
		}
		if tells == mercadopagoPayments {
			all = []fact{ignored("order", "tells is payments: the payment reports it")}
		}
		facts = append(facts, all...)
	}
	for _, d := range o.fetchedOf("merchant_order") { // its payments are documents of their own
		var order struct {
			ID text `json:"id"`
		}
		if err := decode(d.Body, &order); err != nil || order.ID == "" {
			return nil, fmt.Errorf("the fetched %s: %w: want an object with an id", d.Name, cmp.Or(err, ErrMalformed))
		}
		if len(facts) == 0 {
			facts = append(facts, ignored("merchant_order", "the order has no payment yet"))
		}
	}
	if len(facts) > 0 {
		return facts, nil
	}
	var n struct {
		Type   text `json:"type"`
		Topic  text `json:"topic"`
		Action text `json:"action"`
	}
	if err := decode(payload, &n); err != nil {
		return []fact{ignored("", "the body is neither signed nor readable: fetch the resource by the id in the query")}, nil
	}
	event := first(n.Type, n.Topic, n.Action)
	return []fact{ignored(event, fmt.Sprintf("the body, which says %q, is not signed: fetch the resource by the id in the query", event))}, nil
}

// mercadopagoPayment is a payment as the API returns it. Amounts are in major units.
type mercadopagoPayment struct {
	ID              text     `json:"id"`
	Status          text     `json:"status"`
	StatusDetail    text     `json:"status_detail"`
	Amount          text     `json:"transaction_amount"`
	Currency        text     `json:"currency_id"`
	Captured        *bool    `json:"captured"`
	LiveMode        *bool    `json:"live_mode"`
	Reference       text     `json:"external_reference"`
	Metadata        metadata `json:"metadata"`
	MethodID        text     `json:"payment_method_id"`
	MethodType      text     `json:"payment_type_id"`
	DateCreated     text     `json:"date_created"`
	DateApproved    text     `json:"date_approved"`
	DateLastUpdated text     `json:"date_last_updated"`
	Refunds         []struct {
		ID          text `json:"id"`
		Amount      text `json:"amount"`
		Status      text `json:"status"`
		Reason      text `json:"reason"`
		DateCreated text `json:"date_created"`
	} `json:"refunds"`
}

// mercadopagoTypes maps a payment's status to the event type. A partly refunded payment
// stays approved. The refunds of a refunded payment are facts of their own.
var mercadopagoTypes = map[text]schemas.Type{
	"pending":      schemas.PaymentProcessing,
	"in_process":   schemas.PaymentProcessing,
	"authorized":   schemas.PaymentAuthorized,
	"approved":     schemas.PaymentCaptured,
	"rejected":     schemas.PaymentFailed,
	"cancelled":    schemas.PaymentCancelled,
	"in_mediation": schemas.DisputeOpened,
	"charged_back": schemas.DisputeOpened,
}

// mercadopagoRefundTypes maps a refund's status to the event type.
var mercadopagoRefundTypes = map[text]schemas.Type{
	"approved":   schemas.RefundSucceeded,
	"in_process": schemas.RefundPending,
	"rejected":   schemas.RefundFailed,
	"cancelled":  schemas.RefundFailed,
}

// mercadopagoPaymentFacts returns the facts of a payment: its status, that it was captured
// before it was refunded or disputed, and each refund.
func mercadopagoPaymentFacts(body []byte, o Options) ([]fact, error) {
	var p mercadopagoPayment
	if err := decode(body, &p); err != nil {
		return nil, err
	}
	if p.ID == "" || p.Status == "" {
		return nil, fmt.Errorf("%w: it has the id %q and the status %q", ErrMalformed, p.ID, p.Status)
	}
	event := "payment." + string(p.Status)
	amount, err := major(p.Amount, p.Currency)
	if err != nil {
		return nil, err
	}
	base := fact{}
	base.ConnectorEventType, base.ConnectorTransactionID = event, string(p.ID)
	base.MerchantTransactionID = cmp.Or(o.merchantID(p.Metadata), string(p.Reference))
	if p.LiveMode != nil {
		base.Mode = modeOf(*p.LiveMode)
	}
	var facts []fact
	add := func(typ schemas.Type, state string, at text) error {
		f := base
		f.Type, f.Identity, f.Amount = typ, "payment/"+string(p.ID)+"/"+state, amount
		if f.Time, err = timestamp(at, time.RFC3339); err != nil {
			return err
		}
		switch typ.Family() {
		case "payment":
			f.PaymentMethod = mercadopagoMethod(p.MethodType, p.MethodID)
			if typ == schemas.PaymentFailed {
				f.Error = failure(p.StatusDetail, "", "")
			}
			f.setAmountByType()
		case "dispute":
			f.ConnectorDisputeID, f.Stage = string(p.ID), schemas.StageDispute
		}
		if typ == schemas.PaymentCaptured && o.tooOld(f.Time) {
			f = ignored(event, "it was captured so long ago that its event was published before, and is no longer remembered")
		}
		facts = append(facts, f)
		return nil
	}
	typ := mercadopagoTypes[p.Status]
	wasCaptured := p.DateApproved != "" && (p.Captured == nil || *p.Captured)
	if (p.Status == "refunded" || typ == schemas.DisputeOpened) && wasCaptured {
		if err := add(schemas.PaymentCaptured, "approved", p.DateApproved); err != nil {
			return nil, err
		}
	}
	state, at := string(p.Status), p.DateLastUpdated
	switch {
	case p.Status == "refunded":
	case typ == "":
		facts = append(facts, unknownStatus(event, "the payment's status", p.Status))
	case typ == schemas.DisputeOpened:
		if err := add(typ, "dispute", ""); err != nil { // the API does not say when
			return nil, err
		}
		end := map[text]schemas.Type{"settled": schemas.DisputeLost, "reimbursed": schemas.DisputeWon}[p.StatusDetail]
		if end != "" {
			if err := add(end, "dispute/"+string(p.StatusDetail), ""); err != nil {
				return nil, err
			}
		}
	default:
		switch {
		case typ == schemas.PaymentCaptured:
			at = cmp.Or(p.DateApproved, at)
		case typ == schemas.PaymentCancelled && p.StatusDetail == "expired":
			typ = schemas.PaymentExpired
		case p.Status == "pending":
			at = cmp.Or(p.DateCreated, at)
		}
		if err := add(typ, state, at); err != nil {
			return nil, err
		}
	}
	for _, r := range p.Refunds {
		event := "refund." + string(r.Status)
		typ := mercadopagoRefundTypes[r.Status]
		if r.ID == "" || typ == "" {
			facts = append(facts, unknownStatus(event, "the refund's status", r.Status))
			continue
		}
		f := base
		f.Type, f.Identity, f.ConnectorEventType = typ, "refund/"+string(r.ID)+"/"+string(r.Status), event
		f.ConnectorRefundID, f.Reason = string(r.ID), string(r.Reason)
		if f.Amount, err = major(r.Amount, p.Currency); err != nil {
			return nil, err
		}
		if f.Time, err = timestamp(r.DateCreated, time.RFC3339); err != nil {
			return nil, err
		}
		facts = append(facts, f)
	}
	if len(facts) == 0 {
		facts = append(facts, ignored(event, "a refunded payment without refunds"))
	}
	return facts, nil
}

// mercadopagoMethod returns the payment method. The id is the card's brand or, for other
// kinds, the method itself (pix).
func mercadopagoMethod(kind, id text) *schemas.PaymentMethod {
	switch kind {
	case "credit_card", "debit_card", "prepaid_card":
		return method("card", id)
	}
	return method(cmp.Or(id, kind), "")
}

// mercadopagoOrder is an order as the API returns it. Amounts are decimal text.
type mercadopagoOrder struct {
	ID           text `json:"id"`
	Reference    text `json:"external_reference"`
	Status       text `json:"status"`
	Currency     text `json:"currency"`
	Updated      text `json:"last_updated_date"`
	Transactions struct {
		Payments []struct {
			ID           text `json:"id"`
			Status       text `json:"status"`
			StatusDetail text `json:"status_detail"`
			Amount       text `json:"amount"`
			PaidAmount   text `json:"paid_amount"`
			Method       struct {
				ID   text `json:"id"`
				Type text `json:"type"`
			} `json:"payment_method"`
		} `json:"payments"`
		Refunds []struct {
			ID            text `json:"id"`
			TransactionID text `json:"transaction_id"`
			Status        text `json:"status"`
			Amount        text `json:"amount"`
		} `json:"refunds"`
	} `json:"transactions"`
}

// mercadopagoOrderTypes maps the status of an order's payment to the event type. A payment
// that is refunded was captured.
//
// https://www.mercadopago.com.mx/developers/en/docs/order/status-errors/payment-status
var mercadopagoOrderTypes = map[text]schemas.Type{
	"processing":      schemas.PaymentProcessing,
	"action_required": schemas.PaymentActionRequired,
	"authorized":      schemas.PaymentAuthorized,
	"processed":       schemas.PaymentCaptured,
	"refunded":        schemas.PaymentCaptured,
	"failed":          schemas.PaymentFailed,
	"canceled":        schemas.PaymentCancelled,
	"cancelled":       schemas.PaymentCancelled,
	"expired":         schemas.PaymentExpired,
	"charged_back":    schemas.DisputeOpened,
}

// mercadopagoOrderRefundTypes maps the status of an order's refund to the event type.
var mercadopagoOrderRefundTypes = map[text]schemas.Type{
	"processing": schemas.RefundPending,
	"processed":  schemas.RefundSucceeded,
	"failed":     schemas.RefundFailed,
	"canceled":   schemas.RefundFailed,
}

// mercadopagoOrderFacts returns the facts of an order: one for each payment and refund. The
// API does not say when they happened, so they have no time of their own.
func mercadopagoOrderFacts(body []byte, o Options) ([]fact, error) {
	var d mercadopagoOrder
	if err := decode(body, &d); err != nil {
		return nil, err
	}
	if d.ID == "" {
		return nil, fmt.Errorf("%w: it has no id", ErrMalformed)
	}
	base := fact{}
	base.MerchantTransactionID = string(d.Reference)
	var facts []fact
	for _, p := range d.Transactions.Payments {
		event := "order.payment." + string(p.Status)
		typ := mercadopagoOrderTypes[p.Status]
		if p.Status == "created" {
			facts = append(facts, ignored(event, "the payer has not paid yet"))
			continue
		}
		if p.ID == "" || typ == "" {
			facts = append(facts, unknownStatus(event, "the payment's status", p.Status))
			continue
		}
		f := base
		f.Type, f.Identity, f.ConnectorEventType = typ, "payment/"+string(p.ID)+"/"+string(typ), event
		f.ConnectorTransactionID, f.ConnectorReferences = string(p.ID), others(p.ID, d.ID)
		amount := p.Amount
		if typ == schemas.PaymentCaptured {
			amount = cmp.Or(p.PaidAmount, amount)
		}
		var err error
		if f.Amount, err = major(amount, d.Currency); err != nil {
			return nil, err
		}
		if typ.Family() == "dispute" {
			f.ConnectorDisputeID, f.Stage = string(p.ID), schemas.StageDispute
		} else {
			f.PaymentMethod = mercadopagoMethod(p.Method.Type, p.Method.ID)
			f.setAmountByType()
		}
		if typ == schemas.PaymentFailed {
			f.Error = failure(p.StatusDetail, "", "")
		}
		facts = append(facts, f)
	}
	for _, r := range d.Transactions.Refunds {
		event := "order.refund." + string(r.Status)
		typ := mercadopagoOrderRefundTypes[r.Status]
		if r.ID == "" || typ == "" {
			facts = append(facts, unknownStatus(event, "the refund's status", r.Status))
			continue
		}
		f := base
		f.Type, f.Identity, f.ConnectorEventType = typ, "refund/"+string(r.ID)+"/"+string(r.Status), event
		f.ConnectorRefundID, f.ConnectorTransactionID = string(r.ID), string(r.TransactionID)
		f.ConnectorReferences = others(r.TransactionID, d.ID)
		var err error
		if f.Amount, err = major(r.Amount, d.Currency); err != nil {
			return nil, err
		}
		facts = append(facts, f)
	}
	if len(facts) == 0 {
		facts = append(facts, ignored("order", "the order has no payment yet"))
	}
	return facts, nil
}
