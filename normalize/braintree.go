package normalize

import (
	"encoding/xml"
	"fmt"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// braintree reads one notification for each webhook, in XML: <notification> with
// <kind>, <timestamp> and a <subject> that contains the resource. A notification has
// no event id, and several kinds report the same fact: a transaction is settled, then
// disbursed. The identity is therefore the resource's id; the event type
// distinguishes its states.
//
// For card payments, Braintree sends only disbursements, which list the ids of their
// transactions. Each id becomes a captured payment without an amount or an order id; a
// notification with the transaction, or the fetched transaction, adds these. Braintree does not say whether the list
// includes refunds, and an id does not show it: see the setting tells.
//
// A refund can have an order id of its own:
// https://developer.paypal.com/braintree/docs/reference/request/transaction/refund
//
// The account is the notification's source-merchant-id: not every notification has
// the transaction's own merchant account.
//
// https://developer.paypal.com/braintree/docs/reference/general/webhooks/overview
var braintree = Connector{
	Docs:      "https://developer.paypal.com/braintree/docs/reference/general/webhooks/overview",
	Key:       "subject.transaction.order-id; subject.dispute.transaction.order-id of disputes; (fetched) orderId of the transactions of disbursements",
	Settings:  []Setting{braintreeTells},
	Tellers:   braintreeTellers,
	Captures:  CountsOnce, // a part that is captured is a transaction with an id of its own: https://developer.paypal.com/braintree/graphql/reference/types/partial-capture-details
	normalize: braintreeNormalize,
}

// braintreeTells is the setting that says whether a disbursement reports its
// transactions as captured.
var braintreeTells = Setting{
	Name: "tells",
	Description: "disbursements, if a disbursement makes payment.captured for each of its transactions, without an amount unless api is configured, or transactions, if only notifications that have the transaction do; " +
		"disbursements if it is not set, as Braintree sends nothing else about a captured card payment. The ids can be those of refunds, too: look the transaction up before you book it",
	Values: []string{"disbursements", "transactions"},
	Unset: "each transaction of a disbursement is payment.captured without an amount, and refunds may be among them: set tells to disbursements if your consumer looks a transaction up before it books it, " +
		"or to transactions if notifications that have the transaction come to the endpoint",
}

// braintreeTransactionTypes lists the event types of a transaction, which depend on its
// status and on whether it is a refund.
var braintreeTransactionTypes = []schemas.Type{
	schemas.PaymentCaptured, schemas.PaymentProcessing, schemas.PaymentAuthorized, schemas.PaymentFailed, schemas.PaymentCancelled, schemas.PaymentExpired,
	schemas.RefundSucceeded, schemas.RefundPending, schemas.RefundFailed, schemas.RefundCancelled,
}

// braintreeTellers lists the kinds of notifications, the most important first.
var braintreeTellers = []Teller{
	{Event: "disbursement", Facts: []schemas.Type{schemas.PaymentCaptured, schemas.PayoutSucceeded}},
	{Event: "transaction_disbursed", Facts: braintreeTransactionTypes}, // deprecated; it has the amount and the order id
	{Event: "transaction_settled", Facts: braintreeTransactionTypes},
	{Event: "transaction_settlement_declined", Facts: []schemas.Type{schemas.PaymentFailed, schemas.PaymentReversed, schemas.RefundFailed}},
	{Event: "subscription_charged_successfully", Facts: braintreeTransactionTypes},
	{Event: "subscription_charged_unsuccessfully", Facts: []schemas.Type{schemas.PaymentFailed, schemas.RefundFailed}},
	{Event: "local_payment_completed", Facts: append([]schemas.Type{schemas.PaymentActionRequired}, braintreeTransactionTypes...)},
	{Event: "local_payment_funded", Facts: braintreeTransactionTypes},
	{Event: "local_payment_expired", Facts: []schemas.Type{schemas.PaymentExpired}},
	{Event: "local_payment_reversed", Facts: []schemas.Type{schemas.PaymentReversed, schemas.RefundFailed}},
	{Event: "refund_failed", Facts: []schemas.Type{schemas.RefundFailed}},
	{Event: "transaction_retried", Facts: braintreeTransactionTypes},
	{Event: "transaction_reviewed", Facts: []schemas.Type{schemas.FraudApproved, schemas.FraudRejected}},
	{Event: "dispute_opened", Facts: []schemas.Type{schemas.DisputeOpened}},
	{Event: "dispute_under_review", Facts: []schemas.Type{schemas.DisputeChallenged}},
	{Event: "dispute_disputed", Facts: []schemas.Type{schemas.DisputeChallenged}},
	{Event: "dispute_accepted", Facts: []schemas.Type{schemas.DisputeAccepted}},
	{Event: "dispute_auto_accepted", Facts: []schemas.Type{schemas.DisputeAccepted}},
	{Event: "dispute_expired", Facts: []schemas.Type{schemas.DisputeExpired}},
	{Event: "dispute_won", Facts: []schemas.Type{schemas.DisputeWon}},
	{Event: "dispute_lost", Facts: []schemas.Type{schemas.DisputeLost}},
	{Event: "disbursement_exception", Facts: []schemas.Type{schemas.PayoutFailed}},
	{Event: "granted_payment_method_revoked", Facts: []schemas.Type{schemas.MandateRevoked}},
	{Event: "payment_method_revoked_by_customer", Facts: []schemas.Type{schemas.MandateRevoked}},
}

// braintreeReaders maps a kind to the function that reads its subject and to the event
// type. The type is empty where the subject decides.
var braintreeReaders = map[string]struct {
	read func(braintreeNotification, schemas.Type) (fact, error)
	typ  schemas.Type
}{
	"transaction_settled":             {braintreeTransacted, schemas.PaymentCaptured},
	"transaction_settlement_declined": {braintreeTransacted, schemas.PaymentFailed},
	"transaction_disbursed":           {braintreeTransacted, schemas.PaymentCaptured}, // the first notification about a card payment
	"transaction_retried":             {braintreeTransacted, ""},
	"refund_failed":                   {braintreeTransacted, schemas.RefundFailed},
	"transaction_reviewed":            {braintreeReviewed, ""},

	"subscription_charged_successfully":   {braintreeCharged, schemas.PaymentCaptured},
	"subscription_charged_unsuccessfully": {braintreeCharged, schemas.PaymentFailed},

	"local_payment_completed": {braintreeLocal, ""},
	"local_payment_funded":    {braintreeLocal, schemas.PaymentCaptured},
	"local_payment_expired":   {braintreeLocal, schemas.PaymentExpired},
	"local_payment_reversed":  {braintreeLocal, schemas.PaymentReversed},

	"dispute_opened":        {braintreeDisputed, schemas.DisputeOpened},
	"dispute_under_review":  {braintreeDisputed, schemas.DisputeChallenged},
	"dispute_disputed":      {braintreeDisputed, schemas.DisputeChallenged},
	"dispute_accepted":      {braintreeDisputed, schemas.DisputeAccepted},
	"dispute_auto_accepted": {braintreeDisputed, schemas.DisputeAccepted},
	"dispute_expired":       {braintreeDisputed, schemas.DisputeExpired},
	"dispute_won":           {braintreeDisputed, schemas.DisputeWon},
	"dispute_lost":          {braintreeDisputed, schemas.DisputeLost},

	"disbursement":           {braintreeDisbursed, schemas.PayoutSucceeded},
	"disbursement_exception": {braintreeDisbursed, schemas.PayoutFailed},

	"granted_payment_method_revoked":     {braintreeRevoked, schemas.MandateRevoked},
	"payment_method_revoked_by_customer": {braintreeRevoked, schemas.MandateRevoked},
}

// braintreeStatusTypes maps a transaction's status to the event type, where the kind
// does not decide. The payment is captured once the transaction is settled:
// https://developer.paypal.com/braintree/docs/reference/general/statuses
var braintreeStatusTypes = map[string]schemas.Type{
	"authorizing":              schemas.PaymentProcessing,
	"submitted_for_settlement": schemas.PaymentProcessing,
	"settlement_pending":       schemas.PaymentProcessing,
	"settlement_confirmed":     schemas.PaymentProcessing,
	"settling":                 schemas.PaymentProcessing,
	"authorized":               schemas.PaymentAuthorized,
	"settled":                  schemas.PaymentCaptured,
	"authorization_expired":    schemas.PaymentExpired,
	"voided":                   schemas.PaymentCancelled,
	"processor_declined":       schemas.PaymentFailed,
	"gateway_rejected":         schemas.PaymentFailed,
	"failed":                   schemas.PaymentFailed,
	"settlement_declined":      schemas.PaymentFailed,
}

// braintreeRefundTypes maps the payment type of a status to the refund type, for
// transactions of type credit, which are refunds.
var braintreeRefundTypes = map[schemas.Type]schemas.Type{
	schemas.PaymentProcessing: schemas.RefundPending,
	schemas.PaymentAuthorized: schemas.RefundPending,
	schemas.PaymentCaptured:   schemas.RefundSucceeded,
	schemas.PaymentFailed:     schemas.RefundFailed,
	schemas.PaymentCancelled:  schemas.RefundCancelled,
	schemas.PaymentReversed:   schemas.RefundFailed, // the money came back to the merchant
}

type braintreeNotification struct {
	Kind      string `xml:"kind"`
	Timestamp string `xml:"timestamp"`
	Account   string `xml:"source-merchant-id"`
	Subject   struct {
		Transaction  braintreeTransaction   `xml:"transaction"`
		Charges      []braintreeTransaction `xml:"subscription>transactions>transaction"` // newest first
		Review       braintreeReview        `xml:"transaction-review"`
		Dispute      braintreeDispute       `xml:"dispute"`
		Disbursement braintreeDisbursement  `xml:"disbursement"`
		Other        braintreeOther         `xml:",any"`
	} `xml:"subject"`
}

func braintreeNormalize(payload []byte, o Options) ([]fact, error) {
	var name struct {
		XMLName xml.Name `xml:"notification"`
		Kind    string   `xml:"kind"`
	}
	if err := decodeXML(payload, &name); err != nil {
		return nil, err
	}
	if name.Kind == "" {
		return nil, fmt.Errorf("%w: no kind: not a notification of Braintree's", ErrMalformed)
	}
	kind, ok := braintreeReaders[name.Kind]
	if !ok {
		return []fact{notUnified(name.Kind)}, nil
	}
	var n braintreeNotification
	if err := decodeXML(payload, &n); err != nil {
		return oneMalformed(name.Kind, err)
	}
	f, err := kind.read(n, kind.typ)
	if err == nil {
		f.Time, err = timestamp(n.Timestamp, time.RFC3339)
	}
	f.Account = n.Account
	facts, _ := oneFact(n.Kind, f, err)
	if f.Type == schemas.PayoutSucceeded && err == nil && o.Settings[braintreeTells.Name] != "transactions" {
		facts = append(facts, n.disbursed(f, o)...)
	}
	return facts, nil
}

// braintreeMissing returns the error for a subject without the resource of its kind.
func braintreeMissing(what string) error {
	return fmt.Errorf("%w: no %s in the subject", ErrMalformed, what)
}

// braintreeAmount returns an amount in major units. Some notifications have no
// currency and write 10 as "10" or "10.00": their amounts have two decimals.
func braintreeAmount(decimal, currency string) (*schemas.Amount, error) {
	if currency == "" && decimal != "" && !strings.Contains(decimal, ".") {
		decimal += ".00"
	}
	return major(decimal, currency)
}

// braintreeTransaction is a transaction, a payment or a refund:
// https://developer.paypal.com/braintree/docs/reference/response/transaction
type braintreeTransaction struct {
	ID                   string `xml:"id"`
	Status               string `xml:"status"`
	Type                 string `xml:"type"` // sale or credit
	Amount               string `xml:"amount"`
	Currency             string `xml:"currency-iso-code"`
	OrderID              string `xml:"order-id"`
	Refunded             string `xml:"refunded-transaction-id"`
	RefundedOld          string `xml:"refunded-transaction-fk"`
	Instrument           string `xml:"payment-instrument-type"`
	CardBrand            string `xml:"credit-card>card-type"`
	CardToken            string `xml:"credit-card>token"`
	NetworkTransactionID string `xml:"network-transaction-id"`
	ResponseCode         string `xml:"processor-response-code"`
	ResponseText         string `xml:"processor-response-text"`
	SettlementCode       string `xml:"processor-settlement-response-code"`
	SettlementText       string `xml:"processor-settlement-response-text"`
	NetworkCode          string `xml:"network-response-code"`
	Rejection            string `xml:"gateway-rejection-reason"`
	History              []struct {
		Status string `xml:"status"`
	} `xml:"status-history>status-event"`
}

// braintreeTransacted reads a transaction.
func braintreeTransacted(n braintreeNotification, typ schemas.Type) (fact, error) {
	return n.Subject.Transaction.fact(n.Kind, typ)
}

// braintreeCharged reads a charge of a subscription.
func braintreeCharged(n braintreeNotification, typ schemas.Type) (fact, error) {
	if len(n.Subject.Charges) == 0 {
		return fact{}, braintreeMissing("transaction of a subscription")
	}
	return n.Subject.Charges[0].fact(n.Kind, typ)
}

// fact returns the fact of a transaction; typ is the event type of the kind.
func (t braintreeTransaction) fact(kind string, typ schemas.Type) (f fact, err error) {
	if t.ID == "" {
		return f, braintreeMissing("transaction")
	}
	typ = t.eventType(kind, typ)
	if t.Type == "credit" && typ.Family() != "refund" {
		typ = braintreeRefundTypes[typ]
	}
	if typ == "" {
		return ignored(kind, fmt.Sprintf("transaction status %q of a %s is not one that Braintree documents", t.Status, first(t.Type, "sale"))), nil
	}
	f.Type, f.Identity = typ, t.ID
	f.MerchantTransactionID = t.OrderID
	f.PaymentMethod = method(t.Instrument, t.CardBrand)
	if typ.Status() == "failed" || typ == schemas.PaymentReversed {
		f.Error = t.failure()
	}
	if f.Amount, err = braintreeAmount(t.Amount, t.Currency); err != nil {
		return f, err
	}
	if typ.Family() == "refund" {
		f.ConnectorRefundID, f.ConnectorTransactionID = t.ID, first(t.Refunded, t.RefundedOld)
		if t.OrderID != "" {
			f.KeySource, f.MerchantRefundID = schemas.KeyFromRequest, t.OrderID
		}
		return f, nil
	}
	f.ConnectorTransactionID = t.ID
	f.NetworkTransactionID, f.MandateID = t.NetworkTransactionID, t.CardToken
	if typ == schemas.PaymentCaptured {
		f.CapturedAmount = f.Amount
	}
	return f, nil
}

// eventType returns the event type of a transaction: ofKind, the type of the kind, or
// the type of the status, where the kind has none or claims more than the status. A
// bank debit that was charged is settled or declined only days later, with another
// notification. A debit that is returned after it was settled is reversed.
//
// https://developer.paypal.com/braintree/docs/reference/general/webhooks/transaction
func (t braintreeTransaction) eventType(kind string, ofKind schemas.Type) schemas.Type {
	ofStatus := braintreeStatusTypes[t.Status]
	switch {
	case ofKind == "":
		return ofStatus
	case kind == "transaction_settlement_declined" && t.settled():
		return schemas.PaymentReversed
	case ofKind != schemas.PaymentCaptured || ofStatus == "" || ofStatus == schemas.PaymentCaptured:
		return ofKind
	case ofStatus == schemas.PaymentProcessing && !braintreeDebits[t.Instrument] && t.Status != "authorizing" && t.Status != "settlement_pending":
		return ofKind // a card payment submitted for settlement: no other notification reports its capture
	default:
		return ofStatus
	}
}

// braintreeDebits are the payment instruments whose settlement has its own
// notification.
var braintreeDebits = map[string]bool{"us_bank_account": true, "sepa_debit_account": true, "sepa_direct_debit_account": true}

// settled reports whether the transaction was settled before its current status.
func (t braintreeTransaction) settled() bool {
	for _, h := range t.History {
		if h.Status == "settled" {
			return true
		}
	}
	return false
}

// failure returns the error of the last step that has one. The steps are the
// processor's response, the gateway's rules and the settlement.
func (t braintreeTransaction) failure() *schemas.Error {
	switch {
	case t.SettlementCode != "":
		return failure(t.SettlementCode, t.SettlementText, t.NetworkCode)
	case t.Rejection != "":
		return failure(t.Rejection, "rejected by the gateway", t.NetworkCode)
	default:
		return failure(t.ResponseCode, t.ResponseText, t.NetworkCode)
	}
}

// braintreeOther is a local payment or a payment method. The name of its element
// depends on the kind.
type braintreeOther struct {
	PaymentID   string               `xml:"payment-id"`
	Transaction braintreeTransaction `xml:"transaction"`
	Token       string               `xml:"token"`
}

// braintreeLocal reads a local payment:
// https://developer.paypal.com/braintree/docs/reference/general/webhooks/local-payment-methods
func braintreeLocal(n braintreeNotification, typ schemas.Type) (f fact, err error) {
	p := n.Subject.Other
	if p.Transaction.ID != "" {
		f, err = p.Transaction.fact(n.Kind, typ)
		if p.PaymentID != "" {
			f.Also, f.ConnectorReferences = []string{p.PaymentID}, []string{p.PaymentID}
		}
		return f, err
	}
	if p.PaymentID == "" {
		return f, braintreeMissing("local payment")
	}
	if typ == "" {
		typ = schemas.PaymentActionRequired // the merchant has to create a transaction with the payment's nonce
	}
	f.Type, f.Identity = typ, p.PaymentID
	f.ConnectorTransactionID = p.PaymentID
	return f, nil
}

// braintreeRevoked reads a revoked payment method:
// https://developer.paypal.com/braintree/docs/reference/general/webhooks/payment-method
func braintreeRevoked(n braintreeNotification, typ schemas.Type) (f fact, err error) {
	token := n.Subject.Other.Token
	if token == "" {
		return f, braintreeMissing("token of a payment method")
	}
	f.Type, f.Identity = typ, token+":"+n.Timestamp // a payment method can be granted and revoked again
	f.ConnectorMandateID = token
	return f, nil
}

// braintreeReview is a review for fraud:
// https://developer.paypal.com/braintree/docs/reference/general/webhooks/fraud-protection
type braintreeReview struct {
	Transaction string `xml:"transaction-id"`
	Decision    string `xml:"decision"`
	Note        string `xml:"reviewer-note"`
}

// braintreeReviewed reads a review for fraud.
func braintreeReviewed(n braintreeNotification, _ schemas.Type) (f fact, err error) {
	r := n.Subject.Review
	if r.Transaction == "" {
		return f, braintreeMissing("transaction-review")
	}
	switch strings.ToLower(r.Decision) {
	case "accept", "accepted", "approve", "approved":
		f.Type = schemas.FraudApproved
	case "reject", "rejected", "decline", "declined":
		f.Type = schemas.FraudRejected
	default:
		return ignored(n.Kind, fmt.Sprintf("decision %q neither accepts nor rejects", r.Decision)), nil
	}
	f.Identity, f.ConnectorTransactionID = r.Transaction, r.Transaction
	f.Reason = r.Note
	return f, nil
}

// braintreeDispute is a dispute:
// https://developer.paypal.com/braintree/docs/reference/response/dispute
type braintreeDispute struct {
	ID             string `xml:"id"`
	Kind           string `xml:"kind"`
	Amount         string `xml:"amount"`
	AmountDisputed string `xml:"amount-disputed"`
	Currency       string `xml:"currency-iso-code"`
	Reason         string `xml:"reason"`
	ReasonCode     string `xml:"reason-code"`
	ReplyBy        string `xml:"reply-by-date"`
	Transaction    struct {
		ID         string `xml:"id"`
		OrderID    string `xml:"order-id"`
		Instrument string `xml:"payment-instrument-subtype"`
	} `xml:"transaction"`
}

// braintreeStages maps the kind of a dispute to its stage.
var braintreeStages = map[string]schemas.Stage{
	"retrieval":       schemas.StagePreDispute,
	"chargeback":      schemas.StageDispute,
	"pre_arbitration": schemas.StagePreArbitration,
}

// braintreeDisputed reads a dispute.
func braintreeDisputed(n braintreeNotification, typ schemas.Type) (f fact, err error) {
	d := n.Subject.Dispute
	if d.ID == "" {
		return f, braintreeMissing("dispute")
	}
	f.Type, f.Identity = typ, d.ID+":"+n.Kind // several kinds have the same event type
	f.MerchantTransactionID = d.Transaction.OrderID
	f.ConnectorTransactionID, f.ConnectorDisputeID = d.Transaction.ID, d.ID
	f.PaymentMethod = method(d.Transaction.Instrument, "")
	f.Reason, f.ReasonCode, f.Stage = d.Reason, d.ReasonCode, braintreeStages[strings.ToLower(d.Kind)]
	by, err := timestamp(d.ReplyBy, time.DateOnly) // the beginning of the day: the deadline must not be too late
	if err != nil {
		return f, err
	}
	f.RespondBy = deadline(by)
	f.Amount, err = braintreeAmount(first(d.AmountDisputed, d.Amount), d.Currency)
	return f, err
}

// braintreeDisbursement is a deposit to the merchant's bank account:
// https://developer.paypal.com/braintree/docs/reference/general/webhooks/disbursement
type braintreeDisbursement struct {
	ID        string `xml:"id"`
	Type      string `xml:"disbursement-type"`
	Amount    string `xml:"amount"`
	Currency  string `xml:"merchant-account>currency-iso-code"`
	Date      string `xml:"disbursement-date"`
	Exception string `xml:"exception-message"`
	FollowUp  string `xml:"follow-up-action"`
	Success   string `xml:"success"`

	Transactions []string `xml:"transaction-ids>item"`
}

// disbursed returns a captured payment for each transaction of a disbursement. payout
// is the fact of the disbursement itself. A fetched document that cannot be read adds a
// malformed fact, beside the payments that it would have completed.
func (n braintreeNotification) disbursed(payout fact, o Options) (facts []fact) {
	d := n.Subject.Disbursement
	if d.Success == "false" {
		return nil // it is tried again, with the same transactions
	}
	fetched, err := braintreeFetched(o)
	if err != nil {
		facts = append(facts, malformed(n.Kind, err))
	}
	for _, id := range d.Transactions {
		if id == "" {
			continue
		}
		f := fact{Type: schemas.PaymentCaptured, Identity: id, Time: payout.Time}
		f.Account, f.ConnectorEventType, f.ConnectorTransactionID = n.Account, n.Kind, id
		t := fetched[id]
		amount, err := major(t.Amount.Value, t.Amount.Currency)
		if err != nil {
			facts = append(facts, malformed(n.Kind, fmt.Errorf("the fetched transaction %s: %w", id, err)))
		}
		f.fillAmount(amount)
		f.MerchantTransactionID = string(t.OrderID)
		facts = append(facts, f)
	}
	return facts
}

// braintreeFetchedTransaction is a transaction in the GraphQL API:
// https://developer.paypal.com/braintree/graphql/reference/types/transaction
type braintreeFetchedTransaction struct {
	ID      text `json:"legacyId"`
	OrderID text `json:"orderId"`
	Amount  struct {
		Value    text `json:"value"`
		Currency text `json:"currencyCode"`
	} `json:"amount"`
}

// braintreeFetched returns the fetched transactions by their ids.
func braintreeFetched(o Options) (all map[string]braintreeFetchedTransaction, err error) {
	for _, d := range o.fetchedOf("transactions") {
		var answer struct {
			Data struct {
				Search struct {
					Transactions struct {
						Edges []struct {
							Node braintreeFetchedTransaction `json:"node"`
						} `json:"edges"`
					} `json:"transactions"`
				} `json:"search"`
			} `json:"data"`
		}
		if err := decodeDocument(d.Body, &answer); err != nil {
			return all, fmt.Errorf("the fetched %s: %w", d.Name, err)
		}
		for _, e := range answer.Data.Search.Transactions.Edges {
			if all == nil {
				all = map[string]braintreeFetchedTransaction{}
			}
			all[string(e.Node.ID)] = e.Node
		}
	}
	return all, nil
}

// braintreeDisbursed reads a disbursement.
func braintreeDisbursed(n braintreeNotification, typ schemas.Type) (f fact, err error) {
	d := n.Subject.Disbursement
	switch {
	case d.ID == "":
		return f, braintreeMissing("disbursement")
	case strings.EqualFold(d.Type, "debit"):
		return ignored(n.Kind, "the disbursement debits the merchant: it is not a payout"), nil
	}
	f.Type, f.Identity = typ, d.ID+":"+d.Date // a failed disbursement is retried on another day
	f.ConnectorPayoutID = d.ID
	f.Error = failure(d.Exception, d.FollowUp, "")
	f.Amount, err = braintreeAmount(d.Amount, d.Currency)
	return f, err
}
