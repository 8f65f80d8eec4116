package fetch

import (
	"regexp"
	"strings"

	"github.com/tollbridge/tollbridge/schemas"
)

// paypal fetches what some webhooks leave out: the transaction of a dispute, and the
// merchant's ids of the captured payment of a refund that has none of its own. It gets an
// access token with the client id and secret.
//
// PayPal publishes no rate limit.
//
// https://developer.paypal.com/docs/api/customer-disputes/v1/#disputes_get
// https://developer.paypal.com/docs/api/payments/v2/#captures_get
// https://github.com/paypal/paypal-rest-api-specifications, openapi/payments_payment_v2.json
var paypal = Connector{
	Docs:     "https://developer.paypal.com/docs/api/payments/v2/#captures_get",
	Lost:     "some disputes and refunds have the merchant's id only if an earlier webhook had it",
	Keys:     "the client secret of a REST app with the feature Customer disputes",
	ClientID: "the client id of the REST app",
	Hosts:    map[Environment]string{Live: "api-m.paypal.com", Sandbox: "api-m.sandbox.paypal.com"},
	plan:     paypalPlan,
	token: func(a API, key Key) Token {
		return Token{Path: "/v1/oauth2/token", ClientID: a.ClientID, ClientSecret: key.Value, Basic: true}
	},
	check: paypalCheck,
}

var (
	paypalDisputeID = regexp.MustCompile(`^[A-Z0-9-]{1,255}$`)
	// paypalCaptureLink has the id of a capture. Only the id is used, never the address.
	paypalCaptureLink = regexp.MustCompile(`/v2/payments/captures/([A-Z0-9]{1,50})$`)
)

func paypalPlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	event, resource := e.text("event_type"), e.object("resource")
	if strings.HasPrefix(event, "CUSTOMER.DISPUTE.") {
		id := resource.text("dispute_id")
		if len(resource.objects("disputed_transactions")) > 0 || !paypalDisputeID.MatchString(id) {
			return nil, nil
		}
		return []Request{{Name: "dispute/" + id, Path: "/v1/customer/disputes/" + segment(id)}}, nil
	}
	if event != "PAYMENT.CAPTURE.REFUNDED" && event != "PAYMENT.CAPTURE.REVERSED" && event != "PAYMENT.REFUND.PENDING" && event != "PAYMENT.REFUND.FAILED" ||
		resource.text("invoice_id") != "" || resource.text("custom_id") != "" {
		return nil, nil
	}
	for _, link := range resource.objects("links") {
		if id := paypalCaptureLink.FindStringSubmatch(link.text("href")); id != nil && link.text("rel") == "up" {
			return []Request{{Name: "capture/" + id[1], Path: "/v2/payments/captures/" + segment(id[1])}}, nil
		}
	}
	return nil, nil
}

func paypalCheck(_ Webhook, _ API, f schemas.Fetched) error {
	var d object
	if err := decode(f.Body, &d); err != nil {
		return err
	}
	if strings.HasPrefix(f.Name, "dispute/") {
		return checkID(f, d.text("dispute_id"))
	}
	return checkID(f, d.text("id"))
}
