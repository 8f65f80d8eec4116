package normalize

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// paypal normalises PayPal's webhooks. One webhook is one event, {"id",
// "event_type", "create_time", "resource"}. The resource is the object that the
// event is about, in its state at that time, in the format of the API that
// created it: v2 has status, amount.value and invoice_id where v1 has state,
// amount.total and invoice_number. The status of the resource decides the event
// type; the event name decides only where there is no status. Several events can be
// about one capture or refund, so the identity of these is their own id, and each of
// their states is one fact. Orders, invoices and failed payments of subscriptions have
// their id and state as identity. PayPal's id of the event is the identity only where
// the object can reach one state several times (an order that is approved or declined
// again, a mandate that is activated again).
//
// The merchant's reference is the invoice id, which PayPal accepts only once
// per merchant, else the custom id, a free field. The payment id is the id of
// the capture, the sale or the authorization that the event is about. A capture
// also has a reference to its authorization. It has none to its order, because
// an order can be for several payments. A refund can have references of its
// own:
// https://developer.paypal.com/api/payments/v2/captures-refund
//
// Only some resources have the merchant's account, so events have none: with it, the
// events of one payment would have different keys. The host in the event's links shows
// whether the event is from the sandbox.
//
// https://developer.paypal.com/api/rest/webhooks/event-names/
var paypal = Connector{
	Docs:      "https://developer.paypal.com/api/rest/webhooks/event-names/",
	Key:       "resource.invoice_id, else resource.custom_id; of orders, purchase_units' invoice_id, custom_id or reference_id; of invoices, their number; of payouts, sender_item_id",
	Tellers:   paypalTellers(),
	Captures:  CountsTotal,   // each capture has an id of its own and is captured once; an invoice without its payments has the sum so far
	Refunds:   CountsUnknown, // only a refund of an invoice can lack an id, and it has no amount
	normalize: paypalNormalize,
}

// paypalInstead maps redundant event types to those that report the same facts. At
// PayPal, the merchant chooses the event types of a webhook.
// CHECKOUT.ORDER.COMPLETED and INVOICING.INVOICE.PAID report the same facts as the
// captures' own events, but are not listed here: they have a merchant's reference that
// these may not have.
var paypalInstead = map[string]string{
	"INVOICING.INVOICE.REFUNDED": "PAYMENT.CAPTURE.REFUNDED or PAYMENT.SALE.REFUNDED",
	"PAYMENT.REFUND.COMPLETED":   "PAYMENT.CAPTURE.REFUNDED",
	"RISK.DISPUTE.CREATED":       "CUSTOMER.DISPUTE.CREATED",
}

// paypalTellers lists the event types that have a reader, with the event types that it
// can return.
func paypalTellers() (all []Teller) {
	captures := append(slices.Sorted(maps.Values(paypalCaptureTypes)), schemas.PaymentCaptureFailed)
	authorizations := slices.Sorted(maps.Values(paypalAuthorizationTypes))
	for _, event := range slices.Sorted(maps.Keys(paypalReaders)) {
		family, state := event[:strings.LastIndex(event, ".")], event[strings.LastIndex(event, ".")+1:]
		var facts []schemas.Type
		switch {
		case state == "REVERSED" && family != "CHECKOUT.PAYMENT-APPROVAL":
			facts = []schemas.Type{schemas.PaymentReversed}
		case family == "PAYMENT.REFUND" || state == "REFUNDED" && (family == "PAYMENT.CAPTURE" || family == "PAYMENT.SALE"):
			facts = slices.Sorted(maps.Values(paypalRefundTypes))
		case family == "PAYMENT.CAPTURE" || family == "PAYMENT.SALE":
			facts = captures
		case family == "PAYMENT.AUTHORIZATION":
			facts = authorizations
		case event == "CHECKOUT.ORDER.COMPLETED":
			facts = slices.Concat(captures, authorizations)
		case event == "INVOICING.INVOICE.PAID":
			facts = []schemas.Type{schemas.PaymentCaptured, schemas.PaymentProcessing}
		case event == "INVOICING.INVOICE.REFUNDED":
			facts = []schemas.Type{schemas.RefundSucceeded}
		case event == "INVOICING.INVOICE.CANCELLED":
			facts = []schemas.Type{schemas.PaymentCancelled}
		case event == "BILLING.SUBSCRIPTION.PAYMENT.FAILED":
			facts = []schemas.Type{schemas.PaymentFailed}
		case strings.HasSuffix(family, ".DISPUTE"):
			facts = append(slices.Sorted(maps.Values(paypalDisputeOutcomeTypes)), schemas.DisputeOpened, schemas.DisputeChallenged)
		case paypalPayoutTypes[event] != "":
			facts = []schemas.Type{paypalPayoutTypes[event], schemas.PayoutProcessing}
		case paypalOrderTypes[event] != "":
			facts = []schemas.Type{paypalOrderTypes[event]}
		default:
			facts = []schemas.Type{paypalMandateTypes[state]}
		}
		all = append(all, Teller{Event: event, Facts: distinct(facts...), Instead: paypalInstead[event]})
	}
	return all
}

// paypalReader reads the resource of an event.
type paypalReader func(event string, resource part) ([]fact, error)

// paypalReaders maps an event to the function that reads its resource.
var paypalReaders = map[string]paypalReader{
	"PAYMENT.AUTHORIZATION.CREATED": paypalSingle(paypalAuthorization),
	"PAYMENT.AUTHORIZATION.VOIDED":  paypalSingle(paypalAuthorization),
	"PAYMENT.CAPTURE.COMPLETED":     paypalSingle(paypalCapture),
	"PAYMENT.CAPTURE.PENDING":       paypalSingle(paypalCapture),
	"PAYMENT.CAPTURE.DECLINED":      paypalSingle(paypalCapture),
	"PAYMENT.CAPTURE.DENIED":        paypalSingle(paypalCapture),
	"PAYMENT.CAPTURE.REFUNDED":      paypalSingle(paypalRefund),
	"PAYMENT.CAPTURE.REVERSED":      paypalSingle(paypalReversal),
	"PAYMENT.SALE.COMPLETED":        paypalSingle(paypalCapture),
	"PAYMENT.SALE.PENDING":          paypalSingle(paypalCapture),
	"PAYMENT.SALE.DENIED":           paypalSingle(paypalCapture),
	"PAYMENT.SALE.REFUNDED":         paypalSingle(paypalRefund),
	"PAYMENT.SALE.REVERSED":         paypalSingle(paypalReversal),
	"PAYMENT.REFUND.COMPLETED":      paypalSingle(paypalRefund),
	"PAYMENT.REFUND.PENDING":        paypalSingle(paypalRefund),
	"PAYMENT.REFUND.FAILED":         paypalSingle(paypalRefund),
	"PAYMENT.REFUND.CANCELLED":      paypalSingle(paypalRefund),

	"PAYMENTS.PAYMENT.CREATED":           paypalOrder,
	"PAYMENT.ORDER.CREATED":              paypalOrder,
	"PAYMENT.ORDER.CANCELLED":            paypalOrder,
	"CHECKOUT.CHECKOUT.BUYER-APPROVED":   paypalOrder,
	"CHECKOUT.ORDER.APPROVED":            paypalOrder,
	"CHECKOUT.ORDER.PROCESSED":           paypalOrder,
	"CHECKOUT.ORDER.DECLINED":            paypalOrder,
	"CHECKOUT.ORDER.VOIDED":              paypalOrder,
	"CHECKOUT.PAYMENT-APPROVAL.REVERSED": paypalOrder,
	"CHECKOUT.ORDER.COMPLETED":           paypalOrderCompleted,

	"INVOICING.INVOICE.PAID":      paypalInvoicePaid,
	"INVOICING.INVOICE.REFUNDED":  paypalInvoiceRefunded,
	"INVOICING.INVOICE.CANCELLED": paypalSingle(paypalInvoiceCancelled),

	"CUSTOMER.DISPUTE.CREATED":  paypalSingle(paypalDispute),
	"CUSTOMER.DISPUTE.UPDATED":  paypalSingle(paypalDispute),
	"CUSTOMER.DISPUTE.RESOLVED": paypalSingle(paypalDispute),
	"RISK.DISPUTE.CREATED":      paypalSingle(paypalDispute),

	"PAYMENT.PAYOUTSBATCH.PROCESSING":          paypalSingle(paypalPayoutBatch),
	"PAYMENT.PAYOUTSBATCH.SUCCESS":             paypalSingle(paypalPayoutBatch),
	"PAYMENT.PAYOUTSBATCH.DENIED":              paypalSingle(paypalPayoutBatch),
	"PAYMENT.PAYOUTS-ITEM.SUCCEEDED":           paypalSingle(paypalPayoutItem),
	"PAYMENT.PAYOUTS-ITEM.FAILED":              paypalSingle(paypalPayoutItem),
	"PAYMENT.PAYOUTS-ITEM.DENIED":              paypalSingle(paypalPayoutItem),
	"PAYMENT.PAYOUTS-ITEM.BLOCKED":             paypalSingle(paypalPayoutItem),
	"PAYMENT.PAYOUTS-ITEM.HELD":                paypalSingle(paypalPayoutItem),
	"PAYMENT.PAYOUTS-ITEM.UNCLAIMED":           paypalSingle(paypalPayoutItem),
	"PAYMENT.PAYOUTS-ITEM.CANCELED":            paypalSingle(paypalPayoutItem),
	"PAYMENT.PAYOUTS-ITEM.RETURNED":            paypalSingle(paypalPayoutItem),
	"PAYMENT.PAYOUTS-ITEM.REFUNDED":            paypalSingle(paypalPayoutItem),
	"PAYMENT.REFERENCED-PAYOUT-ITEM.COMPLETED": paypalSingle(paypalReferencedPayout),
	"PAYMENT.REFERENCED-PAYOUT-ITEM.FAILED":    paypalSingle(paypalReferencedPayout),

	"BILLING.SUBSCRIPTION.CREATED":           paypalSingle(paypalMandate),
	"BILLING.SUBSCRIPTION.ACTIVATED":         paypalSingle(paypalMandate),
	"BILLING.SUBSCRIPTION.RE-ACTIVATED":      paypalSingle(paypalMandate),
	"BILLING.SUBSCRIPTION.CANCELLED":         paypalSingle(paypalMandate),
	"BILLING.SUBSCRIPTION.EXPIRED":           paypalSingle(paypalMandate),
	"BILLING.SUBSCRIPTION.SUSPENDED":         paypalSingle(paypalMandate),
	"BILLING.SUBSCRIPTION.PAYMENT.FAILED":    paypalSingle(paypalSubscriptionUnpaid),
	"BILLING_AGREEMENTS.AGREEMENT.CREATED":   paypalSingle(paypalMandate),
	"BILLING_AGREEMENTS.AGREEMENT.CANCELLED": paypalSingle(paypalMandate),
	"VAULT.PAYMENT-TOKEN.CREATED":            paypalSingle(paypalMandate),
	"VAULT.PAYMENT-TOKEN.DELETED":            paypalSingle(paypalMandate),
	"VAULT.CREDIT-CARD.CREATED":              paypalSingle(paypalMandate),
	"VAULT.CREDIT-CARD.DELETED":              paypalSingle(paypalMandate),
}

// paypalFormerlyByEvent lists the events whose facts had the id of the event as their
// identity in earlier versions.
var paypalFormerlyByEvent = map[string]bool{
	"PAYMENT.ORDER.CREATED":               true,
	"PAYMENT.ORDER.CANCELLED":             true,
	"CHECKOUT.ORDER.PROCESSED":            true,
	"CHECKOUT.ORDER.VOIDED":               true,
	"CHECKOUT.PAYMENT-APPROVAL.REVERSED":  true,
	"INVOICING.INVOICE.PAID":              true,
	"INVOICING.INVOICE.CANCELLED":         true,
	"BILLING.SUBSCRIPTION.PAYMENT.FAILED": true,
}

// paypalSingle turns a function that returns one fact into a reader.
func paypalSingle(read func(event string, resource part) (fact, error)) paypalReader {
	return func(event string, resource part) ([]fact, error) {
		f, err := read(event, resource)
		return []fact{f}, err
	}
}

func paypalNormalize(payload []byte, o Options) ([]fact, error) {
	var e struct {
		ID         text `json:"id"`
		EventType  text `json:"event_type"`
		CreateTime text `json:"create_time"`
		Resource   part `json:"resource"`
		Links      part `json:"links"`
	}
	if err := decode(payload, &e); err != nil {
		return nil, err
	}
	event := string(e.EventType)
	read, ok := paypalReaders[event]
	switch {
	case event == "":
		return nil, fmt.Errorf("%w: no event_type: not an event of PayPal's", ErrMalformed)
	case !ok:
		return []fact{notUnified(event)}, nil
	case e.ID == "":
		return oneMalformed(event, fmt.Errorf("%w: no id: not an event of PayPal's", ErrMalformed))
	}
	var links paypalLinks
	if err := redecode(e.Links, &links); err != nil {
		return oneMalformed(event, err)
	}
	facts, err := read(event, e.Resource)
	if err != nil {
		return oneMalformed(event, err)
	}
	// PayPal's simulator sends times whose month is 19. Such an event is not lost:
	// it gets the time at which the webhook was received.
	when, _ := timestamp(e.CreateTime, time.RFC3339)
	for i := range facts {
		f := &facts[i]
		f.Time, f.Mode = when, links.mode()
		if f.Identity == "" {
			f.Identity = string(e.ID)
		} else if paypalFormerlyByEvent[event] && f.Item == i {
			f.Formerly = []string{string(e.ID)}
		}
		f.ConnectorEventID, f.ConnectorEventType = string(e.ID), event
		if err := f.fillFromPaypal(o); err != nil {
			return oneMalformed(event, err)
		}
	}
	return facts, nil
}

// fillFromPaypal adds the merchant's reference of the captured payment of a refund, and
// the transaction of a dispute, which were fetched because the webhook lacks them.
func (f *fact) fillFromPaypal(o Options) error {
	if len(o.Fetched) == 0 {
		return nil
	}
	var capture paypalReference
	if _, err := o.document("capture/"+f.ConnectorTransactionID, &capture); err != nil {
		return err
	}
	fill(&f.MerchantTransactionID, capture.id())
	var dispute paypalDisputeObject
	if _, err := o.document("dispute/"+f.ConnectorDisputeID, &dispute); err != nil {
		return err
	}
	if len(dispute.Transactions) > 0 {
		fill(&f.MerchantTransactionID, dispute.Transactions[0].id())
		fill(&f.ConnectorTransactionID, dispute.Transactions[0].SellerTransactionID)
	}
	return nil
}

// paypalLinks are the links to related objects. For some of them, a webhook has
// the id in no other field.
type paypalLinks []struct {
	Href string `json:"href"`
}

// id returns the id in the first link to an object of one of the kinds; "" if there is
// none.
func (l paypalLinks) id(kinds ...string) string {
	for _, link := range l {
		for _, kind := range kinds {
			if _, id, ok := strings.Cut(link.Href, "/"+kind+"/"); ok && id != "" && !strings.Contains(id, "/") {
				return id
			}
		}
	}
	return ""
}

// mode returns modeTest for the sandbox. Otherwise the mode is unknown, because
// the simulator has the same host as live.
func (l paypalLinks) mode() mode {
	for _, link := range l {
		if u, err := url.Parse(link.Href); err == nil && strings.HasSuffix(u.Host, ".sandbox.paypal.com") {
			return modeTest
		}
	}
	return modeUnknown
}

// paypalMoney is an amount of v2 or of v1. In v1, amounts of refunds are
// negative.
type paypalMoney struct {
	Value        text `json:"value"`
	CurrencyCode text `json:"currency_code"`
	Total        text `json:"total"`
	Currency     text `json:"currency"`
}

// amount returns the amount without its sign; nil if there is none.
func (m paypalMoney) amount() (*schemas.Amount, error) {
	a, err := major(first(m.Value, m.Total), first(m.CurrencyCode, m.Currency))
	if a != nil {
		*a = a.Abs()
	}
	return a, err
}

// paypalReference has the merchant's references, with the names of v2 and of
// v1.
type paypalReference struct {
	InvoiceID     text `json:"invoice_id"`
	InvoiceNumber text `json:"invoice_number"`
	CustomID      text `json:"custom_id"`
	Custom        text `json:"custom"`
}

// id returns the merchant's reference.
func (r paypalReference) id() string {
	return first(r.InvoiceID, r.InvoiceNumber, r.CustomID, r.Custom)
}

// paypalSource is the payment source: an object with one member, whose name is
// the kind of payment method.
type paypalSource map[string]part

// method returns the payment method; nil if the source does not have exactly
// one member.
func (s paypalSource) method() *schemas.PaymentMethod {
	if len(s) != 1 {
		return nil
	}
	for kind, details := range s {
		var card struct {
			Brand text `json:"brand"`
		}
		_ = decode(details, &card) // only cards have a brand, and an event is complete without it
		return method(kind, card.Brand)
	}
	return nil
}
