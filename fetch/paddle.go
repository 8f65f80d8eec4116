package fetch

import (
	"net/http"
	"regexp"
	"strings"
)

// paddle fetches the transaction of an adjustment, which is a refund or a chargeback, for
// the merchant's reference. Paddle waits 5 seconds for an answer to a webhook.
//
// Paddle allows 240 requests a minute from one address.
//
// https://developer.paddle.com/api-reference/transactions/get-transaction
// https://developer.paddle.com/api-reference/about/rate-limiting
var paddle = Connector{
	Docs:  "https://developer.paddle.com/api-reference/transactions/get-transaction",
	Lost:  "refunds and chargebacks have the merchant's id only if the transaction's webhook came before",
	Keys:  "an API key with transaction.read alone",
	Hosts: map[Environment]string{Live: "api.paddle.com", Sandbox: "sandbox-api.paddle.com"},
	Rate:  240. / 60 / 2,
	plan:  paddlePlan,
	check: checkIDAt("data.id"),
}

var paddleTransactionID = regexp.MustCompile(`^txn_[a-z0-9]{1,64}$`)

func paddlePlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	id := e.text("data.transaction_id")
	if !strings.HasPrefix(e.text("event_type"), "adjustment.") || !paddleTransactionID.MatchString(id) {
		return nil, nil
	}
	return []Request{{Name: "transaction/" + id, Path: "/transactions/" + segment(id), Header: http.Header{"Paddle-Version": {"1"}}}}, nil
}
