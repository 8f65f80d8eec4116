package normalize

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// authorizenet reads one notification for each webhook, {"notificationId",
// "eventType", "eventDate", "payload"}. An event called "created" can be about a
// declined transaction: responseCode decides. Amounts are in major units, without a
// currency, which is the merchant account's and has two decimals.
//
// A capture has the transaction id of its authorization. A refund has an id of its
// own and does not name the payment. merchantReferenceId is the reference of the
// request: for a capture, a void or a refund it may differ from the payment's.
//
// A transaction that is approved, held or refused at once has that state once, under
// its id. The merchant can try again to capture or to void it, and a subscription can
// fail each month: the identity of these failures is the notification.
//
// https://developer.authorize.net/api/reference/features/webhooks.html
var authorizenet = Connector{
	Docs:      "https://developer.authorize.net/api/reference/features/webhooks.html",
	Key:       "payload.merchantReferenceId, else payload.invoiceNumber",
	Tellers:   authorizenetTellers(),
	Captures:  CountsOnce, // the capture of an authorization has its id, and there is one
	normalize: authorizenetNormalize,
}

// authorizenetModifications lists the events about a merchant's request to modify a
// payment.
var authorizenetModifications = map[text]bool{
	"net.authorize.payment.priorAuthCapture.created": true,
	"net.authorize.payment.void.created":             true,
	"net.authorize.payment.refund.created":           true,
}

// authorizenetTypes maps an event to its event types for an approved and for a refused
// transaction. Events without the second type are not about a transaction.
var authorizenetTypes = map[string]struct{ approved, refused schemas.Type }{
	"net.authorize.payment.authorization.created":    {schemas.PaymentAuthorized, schemas.PaymentFailed},
	"net.authorize.payment.authcapture.created":      {schemas.PaymentCaptured, schemas.PaymentFailed},
	"net.authorize.payment.capture.created":          {schemas.PaymentCaptured, schemas.PaymentCaptureFailed}, // authorized outside of Authorize.Net, for example by phone
	"net.authorize.payment.priorAuthCapture.created": {schemas.PaymentCaptured, schemas.PaymentCaptureFailed},
	"net.authorize.payment.void.created":             {schemas.PaymentCancelled, schemas.PaymentCancelFailed},
	"net.authorize.payment.refund.created":           {schemas.RefundSucceeded, schemas.RefundFailed},
	"net.authorize.payment.fraud.held":               {schemas.PaymentProcessing, schemas.PaymentProcessing}, // until the merchant has reviewed it
	"net.authorize.payment.fraud.approved":           {schemas.FraudApproved, schemas.FraudApproved},
	"net.authorize.payment.fraud.declined":           {schemas.FraudRejected, schemas.FraudRejected},

	"net.authorize.customer.paymentProfile.created":  {schemas.MandateActive, ""},
	"net.authorize.customer.paymentProfile.deleted":  {schemas.MandateRevoked, ""},
	"net.authorize.customer.subscription.created":    {schemas.MandateActive, ""},
	"net.authorize.customer.subscription.cancelled":  {schemas.MandateRevoked, ""},
	"net.authorize.customer.subscription.terminated": {schemas.MandateRevoked, ""},
	"net.authorize.customer.subscription.expired":    {schemas.MandateRevoked, ""},
	"net.authorize.customer.subscription.failed":     {schemas.PaymentFailed, ""}, // a charge of the subscription; its transaction is not named
}

// authorizenetTellers lists the event types, derived from the table of the events.
func authorizenetTellers() (all []Teller) {
	for _, event := range slices.Sorted(maps.Keys(authorizenetTypes)) {
		types := authorizenetTypes[event]
		facts := []schemas.Type{types.approved, types.refused}
		if types.refused != "" {
			facts = append(facts, authorizenetHeld(types.approved))
		}
		all = append(all, Teller{Event: event, Facts: distinct(facts...)})
	}
	return all
}

type authorizenetEvent struct {
	NotificationID string `json:"notificationId"`
	EventType      text   `json:"eventType"`
	EventDate      string `json:"eventDate"`
	Payload        struct {
		ID                  text `json:"id"`
		EntityName          text `json:"entityName"`
		MerchantReferenceID text `json:"merchantReferenceId"`
		ResponseCode        text `json:"responseCode"`
		AuthAmount          text `json:"authAmount"`
		SettleAmount        text `json:"settleAmount"`
		MessageText         text `json:"messageText"`
		Amount              text `json:"amount"` // of subscriptions
		InvoiceNumber       text `json:"invoiceNumber"`
	} `json:"payload"`
}

func authorizenetNormalize(payload []byte, o Options) ([]fact, error) {
	var n struct {
		EventType text `json:"eventType"`
	}
	if err := decode(payload, &n); err != nil {
		return nil, err
	}
	event := string(n.EventType)
	if event == "" {
		return nil, fmt.Errorf("%w: no eventType: not a notification of Authorize.Net's", ErrMalformed)
	}
	types, ok := authorizenetTypes[event]
	if !ok {
		return []fact{notUnified(event)}, nil
	}
	var e authorizenetEvent
	if err := redecode(payload, &e); err != nil {
		return oneMalformed(event, err)
	}
	if e.Payload.ID == "" {
		return oneMalformed(event, fmt.Errorf("%w: no payload.id", ErrMalformed))
	}
	read := authorizenetTransaction
	if types.refused == "" {
		read = authorizenetMandate
	}
	f, err := read(e, types.approved, types.refused)
	if err == nil {
		f.Time, err = timestamp(e.EventDate, time.RFC3339)
	}
	if err == nil {
		err = f.fillFromAuthorizenet(e.Payload.ID, o)
	}
	f.ConnectorEventID = e.NotificationID
	if state := e.state(f.Type, types.refused); state != "" {
		f.Identity, f.Formerly = string(e.Payload.ID)+":"+state, []string{e.NotificationID}
	} else {
		f.Identity = e.NotificationID
	}
	return oneFact(event, f, err)
}

// fillFromAuthorizenet adds what the API says of the transaction with the id: for a refund,
// the payment, and the merchant's reference.
func (f *fact) fillFromAuthorizenet(id text, o Options) error {
	if len(o.Fetched) == 0 {
		return nil
	}
	var d struct {
		Transaction struct {
			Refunded text `json:"refTransId"`
			Order    struct {
				InvoiceNumber text `json:"invoiceNumber"`
			} `json:"order"`
		} `json:"transaction"`
	}
	if ok, err := o.document("transaction/"+string(id), &d); !ok {
		return err
	}
	fill(&f.MerchantTransactionID, d.Transaction.Order.InvoiceNumber)
	if f.Type.Family() == "refund" {
		fill(&f.ConnectorTransactionID, d.Transaction.Refunded)
		if f.MerchantTransactionID != "" {
			f.KeySource = schemas.KeyFromRequest
		}
	}
	return nil
}

// state returns the state that the object of the event can have only once; "" if it
// can have it again.
func (e authorizenetEvent) state(typ, refused schemas.Type) string {
	repeated := authorizenetModifications[e.EventType] && e.EventType != "net.authorize.payment.refund.created"
	switch {
	case typ == schemas.PaymentProcessing || typ == schemas.RefundPending:
		return "held"
	case typ == schemas.PaymentFailed && refused == "", typ == refused && repeated:
		return ""
	case typ.Family() == "mandate": // the ids of profiles and of subscriptions may be equal
		return first(e.Payload.EntityName, e.EventType)
	case typ == refused && typ.Family() != "fraud":
		return "refused"
	}
	return "approved"
}

// authorizenetTransaction reads a transaction. responseCode 1 means approved, 2
// declined, 3 an error and 4 held for review. Events for which no bank was asked have
// 0 or no responseCode.
func authorizenetTransaction(e authorizenetEvent, approved, refused schemas.Type) (f fact, err error) {
	p := e.Payload
	switch p.ResponseCode {
	case "", "0", "1":
		f.Type = approved
	case "2", "3":
		f.Type = refused
	case "4":
		f.Type = authorizenetHeld(approved)
	default:
		return statusNotUnified(e.EventType, "responseCode", p.ResponseCode), nil
	}
	if f.Type == refused && approved != refused {
		f.Error = failure(p.ResponseCode, p.MessageText, "")
	}
	f.MerchantTransactionID = first(p.MerchantReferenceID, p.InvoiceNumber)
	if authorizenetModifications[e.EventType] && f.MerchantTransactionID != "" {
		f.KeySource = schemas.KeyFromRequest
	}
	if f.Type.Family() == "refund" {
		f.ConnectorRefundID, f.MerchantRefundID = string(p.ID), string(p.MerchantReferenceID)
	} else {
		f.ConnectorTransactionID = string(p.ID)
	}
	if f.Amount, err = authorizenetAmount(first(p.SettleAmount, p.AuthAmount)); err != nil {
		return f, err
	}
	f.setAmountByType()
	return f, nil
}

// authorizenetAmount returns an amount without a currency: it is the merchant
// account's, and all currencies of Authorize.Net have two decimals.
func authorizenetAmount(decimal string) (*schemas.Amount, error) {
	a, err := major(decimal, "USD")
	if a != nil {
		a.Currency = schemas.NoCurrency
	}
	return a, err
}

// authorizenetHeld returns the event type of a transaction that waits for the
// merchant's review.
func authorizenetHeld(approved schemas.Type) schemas.Type {
	switch approved.Family() {
	case "refund":
		return schemas.RefundPending
	case "fraud":
		return approved
	default:
		return schemas.PaymentProcessing
	}
}

// authorizenetMandate reads a stored payment method or a subscription.
func authorizenetMandate(e authorizenetEvent, typ, _ schemas.Type) (f fact, err error) {
	f.Type, f.ConnectorMandateID = typ, string(e.Payload.ID)
	if strings.HasSuffix(string(e.Payload.EntityName), "subscription") {
		f.MerchantTransactionID = string(e.Payload.MerchantReferenceID)
	}
	if typ == schemas.PaymentFailed {
		f.ConnectorMandateID, f.MandateID = "", string(e.Payload.ID)
		f.Amount, err = authorizenetAmount(string(e.Payload.Amount))
	}
	return f, err
}
