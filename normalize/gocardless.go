package normalize

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// gocardless reads up to 250 events for each webhook, {"events": [{"id",
// "resource_type", "action", "links", "details"}]}. A redelivered event has the same
// id. Events have no amount: the payment, refund or payout has it, which the API gives
// either alone, {"payments": {…}}, or with the events of its type,
// {"linked": {"payments": […]}}.
//
// A direct debit that the payer's bank takes back is a dispute, which the merchant
// cannot answer and which has no id of its own. A payment can also fail after it was
// confirmed or paid out: that failure contradicts the capture, and
// late_failure_settled then says that GoCardless has taken the money back.
//
// A fulfilled billing request reports no fact of its own, but its metadata can have the
// merchant's reference of its payment.
//
// GoCardless sends the events of all resources to every webhook endpoint.
// payments.paid_out can therefore be ignored: payments.confirmed reports the payment,
// and payouts.paid the payout.
//
// https://developer.gocardless.com/api-reference/#event-types-payment
// https://developer.gocardless.com/api-reference/#core-endpoints-events
var gocardless = Connector{
	Docs:      "https://developer.gocardless.com/api-reference/#core-endpoints-events",
	Key:       "events[].resource_metadata.<merchant_id_keys>, else (fetched) metadata.<merchant_id_keys>",
	Tellers:   tellersOf(gocardlessTypes),
	Captures:  CountsOnce, // a payment is collected once
	normalize: gocardlessNormalize,
}

// gocardlessTypes maps a resource type and action to the event type.
var gocardlessTypes = map[string]schemas.Type{
	"payments.created":                   schemas.PaymentProcessing,
	"payments.customer_approval_granted": schemas.PaymentProcessing,
	"payments.submitted":                 schemas.PaymentProcessing,
	"payments.resubmission_requested":    schemas.PaymentProcessing,
	"payments.confirmed":                 schemas.PaymentCaptured,
	"payments.customer_approval_denied":  schemas.PaymentFailed,
	"payments.failed":                    schemas.PaymentFailed,
	"payments.cancelled":                 schemas.PaymentCancelled,
	"payments.late_failure_settled":      schemas.PaymentReversed,
	"payments.charged_back":              schemas.DisputeOpened,
	"payments.chargeback_cancelled":      schemas.DisputeCancelled,
	"payments.chargeback_settled":        schemas.DisputeLost,

	"refunds.created":   schemas.RefundPending,
	"refunds.submitted": schemas.RefundPending,
	"refunds.paid":      schemas.RefundSucceeded,
	"refunds.failed":    schemas.RefundFailed,
	"refunds.bounced":   schemas.RefundFailed,

	"mandates.active":             schemas.MandateActive,
	"mandates.reinstated":         schemas.MandateActive,
	"mandates.failed":             schemas.MandateFailed,
	"mandates.cancelled":          schemas.MandateRevoked,
	"mandates.expired":            schemas.MandateRevoked,
	"mandates.consumed":           schemas.MandateRevoked,
	"mandates.blocked":            schemas.MandateRevoked,
	"mandates.suspended_by_payer": schemas.MandateRevoked,
	"mandates.replaced":           schemas.MandateRevoked, // by another mandate

	"payouts.paid":             schemas.PayoutSucceeded,
	"creditors.bounced_payout": schemas.PayoutReversed, // the event does not say which payout

	"outbound_payments.created":                 schemas.PayoutCreated,
	"outbound_payments.set_to_pending_approval": schemas.PayoutCreated,
	"outbound_payments.set_to_executing":        schemas.PayoutProcessing,
	"outbound_payments.executed":                schemas.PayoutSucceeded,
	"outbound_payments.failed":                  schemas.PayoutFailed,
	"outbound_payments.cancelled":               schemas.PayoutCancelled,
}

// gocardlessIgnored maps an ignored event to the reason.
var gocardlessIgnored = map[string]string{
	"payments.paid_out":                  "payments.confirmed reports the payment, and payouts.paid reports the payout",
	"refunds.refund_settled":             "a payout includes the refund; refunds.paid reports the refund",
	"refunds.funds_returned":             "refunds.failed or refunds.bounced reports the failed refund",
	"mandates.created":                   "the mandate is not active yet",
	"mandates.submitted":                 "the mandate is not active yet",
	"mandates.customer_approval_granted": "the mandate is not active yet",
	"mandates.customer_approval_skipped": "the mandate is not active yet",
	"mandates.resubmission_requested":    "the mandate is not active yet",
	"mandates.transferred":               "the mandate continues with another bank account",
}

type gocardlessEvent struct {
	ID           string `json:"id"`
	CreatedAt    text   `json:"created_at"`
	ResourceType text   `json:"resource_type"`
	Action       text   `json:"action"`
	Links        struct {
		Organisation    text `json:"organisation"`
		Payment         text `json:"payment"`
		RequestPayment  text `json:"payment_request_payment"` // of a billing request
		Refund          text `json:"refund"`
		Mandate         text `json:"mandate"`
		Payout          text `json:"payout"`
		OutboundPayment text `json:"outbound_payment"`
	} `json:"links"`
	Details struct {
		Cause       text `json:"cause"`
		Description text `json:"description"`
		ReasonCode  text `json:"reason_code"`
		Scheme      text `json:"scheme"`
	} `json:"details"`
	ResourceMetadata metadata `json:"resource_metadata"`
}

func gocardlessNormalize(payload []byte, o Options) ([]fact, error) {
	var batch struct {
		Events []part `json:"events"`
	}
	if err := decode(payload, &batch); err != nil {
		return nil, err
	}
	if len(batch.Events) == 0 {
		return nil, fmt.Errorf("%w: no events: not a webhook of GoCardless's", ErrMalformed)
	}
	resources := gocardlessFetched(o)
	facts := make([]fact, len(batch.Events))
	for i, event := range batch.Events {
		facts[i] = gocardlessRead(event, resources, o)
	}
	return facts, nil
}

// gocardlessResource is a payment, refund, payout or outbound payment in the API. Its
// status is not read: it can be newer than the event.
type gocardlessResource struct {
	Amount   *int64   `json:"amount"`
	Currency text     `json:"currency"`
	Metadata metadata `json:"metadata"`
	Links    struct {
		Payment text `json:"payment"` // of refunds
		Mandate text `json:"mandate"`
	} `json:"links"`
}

// gocardlessResources are the resources that were fetched.
type gocardlessResources struct {
	byID map[text]part
	err  error // a document that cannot be read: it may have the resources that are missing
}

// gocardlessFetched returns the resources of all fetched documents.
func gocardlessFetched(o Options) (all gocardlessResources) {
	if len(o.Fetched) == 0 {
		return all
	}
	all.byID = map[text]part{}
	for _, d := range o.Fetched {
		if _, ok := o.fetched(d.Name); !ok {
			continue
		}
		if err := all.add(d.Body); err != nil {
			all.err = fmt.Errorf("the fetched %s: %w", d.Name, err)
		}
	}
	return all
}

// add adds the resources of one document.
func (r gocardlessResources) add(document []byte) error {
	var d struct {
		Payment         part              `json:"payments"`
		Refund          part              `json:"refunds"`
		Payout          part              `json:"payouts"`
		OutboundPayment part              `json:"outbound_payments"`
		Linked          map[string][]part `json:"linked"`
	}
	if err := decodeDocument(document, &d); err != nil {
		return err
	}
	resources := []part{d.Payment, d.Refund, d.Payout, d.OutboundPayment}
	for _, kind := range slices.Sorted(maps.Keys(d.Linked)) {
		resources = append(resources, d.Linked[kind]...)
	}
	for _, resource := range resources {
		var identified struct {
			ID text `json:"id"`
		}
		if err := redecode(resource, &identified); err != nil {
			return err
		}
		if identified.ID != "" {
			r.byID[identified.ID] = resource
		}
	}
	return nil
}

// read returns the resource with the id; it is empty if it was not fetched.
func (r gocardlessResources) read(id text) (resource gocardlessResource, err error) {
	value, ok := r.byID[id]
	if !ok {
		return resource, r.err
	}
	if err := redecode(value, &resource); err != nil {
		return resource, fmt.Errorf("the fetched %s: %w", id, err)
	}
	return resource, nil
}

// gocardlessRead returns the fact of one event of a webhook. It reads each event
// separately, so that one that cannot be read does not affect the others.
func gocardlessRead(event part, resources gocardlessResources, o Options) fact {
	var n struct {
		ResourceType text `json:"resource_type"`
		Action       text `json:"action"`
	}
	if err := redecode(event, &n); err != nil {
		return malformed("", err)
	}
	name := string(n.ResourceType + "." + n.Action)
	switch {
	case n.Action == "":
		return malformed(name, fmt.Errorf("%w: no action", ErrMalformed))
	case gocardlessIgnored[name] != "":
		return ignored(name, gocardlessIgnored[name])
	case gocardlessTypes[name] == "" && name != gocardlessFulfilled:
		return notUnified(name)
	}
	var e gocardlessEvent
	err := redecode(event, &e)
	if err == nil && e.ID == "" {
		err = fmt.Errorf("%w: no id of the event", ErrMalformed)
	}
	var f fact
	switch {
	case err != nil:
	case name == gocardlessFulfilled:
		f = e.fulfilled(name, o)
	default:
		f, err = e.fact(name, gocardlessTypes[name], resources, o)
	}
	if err != nil {
		return malformed(name, err)
	}
	return f
}

// gocardlessFulfilled is the event of a billing request that made a payment or a
// mandate.
const gocardlessFulfilled = "billing_requests.fulfilled"

// fulfilled returns the ignored fact of a fulfilled billing request, with the reference
// of its payment.
func (e gocardlessEvent) fulfilled(name string, o Options) fact {
	f := ignored(name, "the payment or mandate that the billing request created has its own events")
	f.MerchantTransactionID = o.merchantID(e.ResourceMetadata)
	f.Account, f.ConnectorTransactionID = string(e.Links.Organisation), first(e.Links.RequestPayment, e.Links.Payment)
	return f
}

// fact returns the fact of an event; name is its resource type and action.
func (e gocardlessEvent) fact(name string, typ schemas.Type, resources gocardlessResources, o Options) (f fact, err error) {
	f, id, err := e.linked(typ)
	if err != nil {
		return f, err
	}
	f.Type, f.Identity = typ, e.ID
	f.MerchantTransactionID = o.merchantID(e.ResourceMetadata)
	if typ.Family() != "mandate" && id != "" {
		if err := f.fillFromGocardless(id, resources, o); err != nil {
			return f, err
		}
	}
	f.Account = string(e.Links.Organisation)
	f.ConnectorEventID, f.ConnectorEventType = e.ID, name
	switch typ {
	case schemas.PaymentFailed, schemas.PaymentReversed, schemas.RefundFailed, schemas.MandateFailed, schemas.PayoutFailed:
		f.Error = failure(e.Details.Cause, e.Details.Description, e.Details.ReasonCode)
	}
	f.Time, err = timestamp(e.CreatedAt, time.RFC3339)
	return f, err
}

// fillFromGocardless adds what the API says of the resource with the id.
func (f *fact) fillFromGocardless(id text, resources gocardlessResources, o Options) error {
	r, err := resources.read(id)
	if err != nil {
		return err
	}
	amount, err := minor(r.Amount, r.Currency, nil)
	if err != nil {
		return fmt.Errorf("the fetched %s: %w", id, err)
	}
	f.fillAmount(amount)
	fill(&f.MerchantTransactionID, o.merchantID(r.Metadata))
	switch f.Type.Family() {
	case "payment":
		fill(&f.MandateID, r.Links.Mandate)
	case "refund":
		fill(&f.ConnectorTransactionID, r.Links.Payment)
		payment, err := resources.read(text(f.ConnectorTransactionID)) // often in the same webhook
		if err != nil {
			return err
		}
		fill(&f.MerchantTransactionID, o.merchantID(payment.Metadata))
	}
	return nil
}

// linked returns the id of the resource that the event is about, and a fact with its ids
// and the fields that depend on its type.
func (e gocardlessEvent) linked(typ schemas.Type) (f fact, id text, err error) {
	id = e.Links.Payment
	f.ConnectorTransactionID = string(id)
	f.PaymentMethod = method(e.Details.Scheme, "")
	switch typ.Family() {
	case "payment":
		f.MandateID = string(e.Links.Mandate)
	case "dispute":
		f.Stage, f.Reason, f.ReasonCode = schemas.StageDispute, string(e.Details.Cause), string(e.Details.ReasonCode)
	case "refund":
		id, f.ConnectorRefundID = e.Links.Refund, string(e.Links.Refund)
	case "mandate":
		id, f.ConnectorMandateID = e.Links.Mandate, string(e.Links.Mandate)
		if typ == schemas.MandateRevoked {
			f.Reason = string(e.Details.Cause)
		}
	case "payout":
		id = e.Links.Payout
		switch e.ResourceType {
		case "outbound_payments":
			id = e.Links.OutboundPayment
		case "creditors":
			f.Error = failure(e.Details.Cause, e.Details.Description, e.Details.ReasonCode)
			f.PaymentMethod = nil
			return f, "", nil
		}
		f.ConnectorTransactionID, f.ConnectorPayoutID, f.PaymentMethod = "", string(id), nil
	}
	if id == "" {
		return f, id, fmt.Errorf("%w: no link to the %s: the event does not say what it is about", ErrMalformed, typ.Family())
	}
	return f, id, nil
}
