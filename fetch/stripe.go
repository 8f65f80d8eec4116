package fetch

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// stripe fetches what a thin event of a resource of API v1 is about. The thin event names
// the event that contains the object, if the account has such events, too: that event is
// the webhook's own JSON, as it was then, and Stripe keeps it for 30 days. Without it, the
// object is fetched, in its present state. Events that contain their object need nothing.
//
// Stripe allows 100 requests a second in live mode, and 25 in a sandbox and for one
// resource.
//
// https://docs.stripe.com/webhooks/migrate-snapshot-to-thin-events
// https://docs.stripe.com/api/events/retrieve
// https://docs.stripe.com/context
// https://docs.stripe.com/rate-limits
var stripe = Connector{
	Docs:  "https://docs.stripe.com/webhooks/migrate-snapshot-to-thin-events",
	Lost:  "thin events have no amount and no merchant's id, and some become no event",
	Must:  true,
	Keys:  "a restricted key (rk_…) with Read on Events, PaymentIntents, Charges and Refunds, Checkout Sessions, Invoices, SetupIntents, Disputes, Payouts and Radar",
	Hosts: map[Environment]string{Live: "api.stripe.com", Sandbox: "api.stripe.com"},
	Rate:  20,
	plan:  stripePlan,
	then:  stripeThen,
	check: checkIDAnd("livemode", "livemode"),
}

// stripeVersion is the version of the API. It decides which fields an object has, and
// package normalize reads objects of this version.
const stripeVersion = "2025-03-31.basil"

// stripeResources maps the events that become events of ours to the path of their
// objects. It is empty for objects whose present state does not show what happened: only
// the event that contains the object is fetched.
var stripeResources = map[string]string{
	"payment_intent.succeeded":                 "payment_intents",
	"payment_intent.payment_failed":            "payment_intents",
	"payment_intent.canceled":                  "payment_intents",
	"payment_intent.processing":                "payment_intents",
	"payment_intent.requires_action":           "payment_intents",
	"payment_intent.partially_funded":          "payment_intents",
	"payment_intent.amount_capturable_updated": "payment_intents",

	"charge.failed":    "charges",
	"charge.expired":   "charges",
	"charge.succeeded": "",
	"charge.captured":  "",
	"charge.pending":   "",

	"checkout.session.async_payment_failed":    "checkout/sessions",
	"checkout.session.expired":                 "checkout/sessions",
	"checkout.session.completed":               "",
	"checkout.session.async_payment_succeeded": "",

	"invoice.payment_failed":    "invoices",
	"invoice.paid":              "",
	"invoice.payment_succeeded": "",
	"invoice_payment.paid":      "",

	"refund.failed":         "refunds",
	"refund.created":        "",
	"refund.updated":        "",
	"charge.refund.updated": "",
	"charge.refunded":       "",

	"charge.dispute.created":          "disputes",
	"charge.dispute.updated":          "",
	"charge.dispute.closed":           "",
	"charge.dispute.funds_withdrawn":  "",
	"charge.dispute.funds_reinstated": "",

	"payout.created":  "payouts",
	"payout.paid":     "payouts",
	"payout.failed":   "payouts",
	"payout.canceled": "payouts",
	"transfer.paid":   "",
	"transfer.failed": "",

	"setup_intent.succeeded":    "setup_intents",
	"setup_intent.setup_failed": "setup_intents",
	"mandate.updated":           "",
	"payment_method.detached":   "",

	"radar.early_fraud_warning.created": "radar/early_fraud_warnings",
	"radar.early_fraud_warning.updated": "",
	"review.closed":                     "",
}

var (
	stripeEventID   = regexp.MustCompile(`^evt_[A-Za-z0-9_]{1,100}$`)
	stripeObjectID  = regexp.MustCompile(`^[a-z]{2,10}_[A-Za-z0-9_]{1,200}$`)
	stripeContextID = regexp.MustCompile(`^[A-Za-z0-9_/-]{1,200}$`)
)

func stripePlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	name, v1 := strings.CutPrefix(e.text("type"), "v1.")
	if _, wanted := stripeResources[name]; !v1 || !wanted || e.text("object") != "v2.core.event" {
		return nil, nil
	}
	if id := e.text("snapshot_event"); stripeEventID.MatchString(id) {
		return []Request{stripeRequest(e, "event/"+id, "/v1/events/"+segment(id))}, nil
	}
	return stripeObject(e), nil
}

// stripeThen asks for the object if Stripe no longer has the event.
func stripeThen(w Webhook, _ API, answers []schemas.Fetched) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	if len(answers) == 1 && answers[0].Status == schemas.StatusUnknown && strings.HasPrefix(answers[0].Name, "event/") {
		return stripeObject(e), nil
	}
	return nil, nil
}

// stripeObject returns the request for the object of a thin event, if its present state
// is of use.
func stripeObject(e object) []Request {
	name := strings.TrimPrefix(e.text("type"), "v1.")
	id := e.text("related_object.id")
	path := stripeResources[name]
	if path == "" || !stripeObjectID.MatchString(id) {
		return nil
	}
	kind := name[:strings.LastIndex(name, ".")]
	return []Request{stripeRequest(e, kind+"/"+id, "/v1/"+path+"/"+segment(id))}
}

// stripeRequest returns a request in the context of the event: the connected account that
// it is about.
func stripeRequest(e object, name, path string) Request {
	h := http.Header{"Stripe-Version": {stripeVersion}}
	if context := e.text("context"); stripeContextID.MatchString(context) {
		h.Set("Stripe-Context", context)
	}
	return Request{Name: name, Path: path, Header: h, Query: url.Values{}}
}
