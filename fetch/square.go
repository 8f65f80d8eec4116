package fetch

import (
	"net/http"
	"regexp"
	"strings"
)

// square fetches the payment of a refund or a dispute for the merchant's reference. The
// payments themselves have it in their webhooks. What Square reads can lag some seconds
// behind its webhooks.
//
// Square publishes no rate limit.
//
// https://developer.squareup.com/reference/square/payments-api/get-payment
var square = Connector{
	Docs:  "https://developer.squareup.com/reference/square/payments-api/get-payment",
	Lost:  "refunds and disputes have the merchant's reference only if the payment's webhook came before",
	Keys:  "an access token with PAYMENTS_READ alone",
	Hosts: map[Environment]string{Live: "connect.squareup.com", Sandbox: "connect.squareupsandbox.com"},
	plan:  squarePlan,
	check: checkIDAt("payment.id"),
}

// squareVersion is the version of the API.
const squareVersion = "2025-01-23"

var squareID = regexp.MustCompile(`^[A-Za-z0-9_-]{4,192}$`)

func squarePlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	id := ""
	switch kind, _, _ := strings.Cut(e.text("type"), "."); kind {
	case "refund":
		id = e.text("data.object.refund.payment_id")
	case "dispute":
		id = e.text("data.object.dispute.disputed_payment.payment_id")
	}
	if !squareID.MatchString(id) {
		return nil, nil
	}
	return []Request{{Name: "payment/" + id, Path: "/v2/payments/" + segment(id), Header: http.Header{"Square-Version": {squareVersion}}}}, nil
}
