package fetch

import (
	"bytes"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// mollie fetches the payment that a classic webhook, id=tr_…, names, with its refunds,
// chargebacks and captures. A classic webhook of a refund or chargeback has the id of its
// payment. A next-gen webhook without an entity ("simple" payload) needs its payment or,
// for other entities, the event with the entity, which only an access token may read. A
// next-gen webhook with its entity needs nothing.
//
// An API key is of one profile and one mode: it finds no other payments. An access token
// finds payments in test mode only with testmode=true.
//
// Mollie publishes no rate limit.
//
// https://docs.mollie.com/reference/get-payment
// https://docs.mollie.com/reference/get-webhook-event
var mollie = Connector{
	Docs:  "https://docs.mollie.com/reference/get-payment",
	Lost:  "classic webhooks (id=tr_…) are refused, and next-gen webhooks without their entity have no amount and no merchant's id",
	Must:  true,
	Keys:  "the API key of the profile (live_… or test_…), or an access token (access_…) with payments.read and events.read",
	Hosts: map[Environment]string{Live: "api.mollie.com", Sandbox: "api.mollie.com"},
	plan:  molliePlan,
	check: mollieCheck,
}

var (
	molliePaymentID = regexp.MustCompile(`^tr_[A-Za-z0-9]{1,64}$`)
	mollieEventID   = regexp.MustCompile(`^[A-Za-z]{1,16}_[A-Za-z0-9]{1,64}$`)
)

func molliePlan(w Webhook, a API) ([]Request, error) {
	if w.Unsigned {
		form, err := url.ParseQuery(string(bytes.TrimPrefix(w.Payload, []byte("\ufeff"))))
		if err != nil || len(form["id"]) != 1 || !molliePaymentID.MatchString(form.Get("id")) {
			return nil, fmt.Errorf("%w: want id=tr_…", ErrNothingToAsk)
		}
		return []Request{molliePayment(form.Get("id"), a)}, nil
	}
	var e struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		EntityID string `json:"entityId"`
		Embedded any    `json:"_embedded"`
	}
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	if embedded, ok := e.Embedded.(map[string]any); ok && len(embedded) > 0 {
		return nil, nil
	}
	switch {
	case molliePaymentID.MatchString(e.EntityID) && strings.HasPrefix(e.Type, "payment."):
		return []Request{molliePayment(e.EntityID, a)}, nil
	case mollieEventID.MatchString(e.ID) && mollieAccessToken(a):
		return []Request{{Name: "event/" + e.ID, Path: "/v2/events/" + segment(e.ID), Query: mollieQuery(a)}}, nil
	}
	return nil, nil
}

// molliePayment returns the request for a payment.
func molliePayment(id string, a API) Request {
	q := mollieQuery(a)
	q.Set("embed", "refunds,chargebacks,captures")
	return Request{Name: "payment/" + id, Path: "/v2/payments/" + segment(id), Query: q}
}

func mollieQuery(a API) url.Values {
	q := url.Values{}
	if a.Environment == Sandbox && mollieAccessToken(a) {
		q.Set("testmode", "true")
	}
	return q
}

// mollieAccessToken reports whether the keys are access tokens, not API keys.
func mollieAccessToken(a API) bool {
	return len(a.Keys) > 0 && strings.HasPrefix(a.Keys[0].Value, "access_")
}

func mollieCheck(w Webhook, _ API, f schemas.Fetched) error {
	var d struct {
		ID   string `json:"id"`
		Mode string `json:"mode"`
	}
	if err := decode(f.Body, &d); err != nil {
		return err
	}
	if _, id, _ := strings.Cut(f.Name, "/"); d.ID != id {
		return fmt.Errorf("%w: the answer is for the id %q", ErrAccount, d.ID)
	}
	if w.Unsigned && w.Live && d.Mode == "test" {
		return fmt.Errorf("%w: the object is in test mode, and the endpoint is live", ErrAccount)
	}
	return nil
}
