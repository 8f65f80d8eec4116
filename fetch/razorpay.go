package fetch

import (
	"net/http"
	"regexp"
	"strings"
)

// razorpay fetches the order of a payment for its receipt, if the webhook has neither the
// order nor the merchant's id in the notes of the payment. Razorpay waits 5 seconds for an
// answer to a webhook.
//
// An order that does not exist gives the status 400, as other wrong requests do. The
// description of the error tells them apart.
//
// Razorpay publishes no rate limit.
//
// https://razorpay.com/docs/api/orders/fetch-with-id/
var razorpay = Connector{
	Docs:      "https://razorpay.com/docs/api/orders/fetch-with-id/",
	Lost:      "payments of orders whose merchant's id is only the order's receipt do not have it, except in order.paid",
	Keys:      "the key secret of an API key; Razorpay has no read-only ones",
	ClientID:  "the key id, rzp_live_… or rzp_test_…",
	Hosts:     map[Environment]string{Live: "api.razorpay.com", Sandbox: "api.razorpay.com"},
	plan:      razorpayPlan,
	authorize: basicPair,
	check:     checkIDAt("id"),
	unknown:   razorpayUnknown,
}

var razorpayOrderID = regexp.MustCompile(`^order_[A-Za-z0-9]{1,64}$`)

func razorpayPlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	notes := e.object("payload").object("payment").object("entity").object("notes")
	id := e.text("payload.payment.entity.order_id")
	switch {
	case !razorpayOrderID.MatchString(id), e.text("payload.order.entity.id") != "":
		return nil, nil
	case notes.text("merchant_transaction_id") != "", notes.text("order_id") != "":
		return nil, nil
	}
	return []Request{{Name: "order/" + id, Path: "/v1/orders/" + segment(id)}}, nil
}

// razorpayUnknown reports whether an error says that the order does not exist: "The id
// provided does not exist".
func razorpayUnknown(status int, body []byte) bool {
	var d object
	if status != http.StatusBadRequest || decode(body, &d) != nil {
		return false
	}
	return strings.Contains(d.text("error.description"), "does not exist")
}
