package fetch

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/tollbridge/tollbridge/schemas"
)

// portone fetches the payment of an event. Its id is the merchant's own text. The payment
// shows its newest attempt, so if the event is about another one, the list of all attempts
// is fetched, too.
//
// PortOne publishes no rate limit.
//
// https://developers.portone.io/api/rest-v2/payment#get-payment
// https://github.com/portone-io/server-sdk, javascript/src/generated/payment/client.ts
var portone = Connector{
	Docs:      "https://developers.portone.io/api/rest-v2/payment",
	Lost:      "most events have no amount, those of refunds have none, and none has a currency",
	Must:      true,
	Keys:      "an API secret of version V2: console, 연동 정보, API Keys; PortOne has no read-only ones",
	Hosts:     map[Environment]string{Live: "api.portone.io", Sandbox: "api.portone.io"},
	plan:      portonePlan,
	then:      portoneThen,
	authorize: authorization("PortOne "),
	check:     portoneCheck,
}

// portoneMaxID is the longest paymentId that is asked for, in bytes.
const portoneMaxID = 256

func portonePlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	switch typ := e.text("type"); {
	case !strings.HasPrefix(typ, "Transaction."), typ == "Transaction.Ready", typ == "Transaction.DisputeResolved":
		return nil, nil
	}
	return portoneRequest(e.object("data"), "payment", ""), nil
}

// portoneRequest returns the request for a payment, or for what is below it.
func portoneRequest(data object, kind, below string) []Request {
	id := data.text("paymentId")
	if id == "" || len(id) > portoneMaxID || strings.ContainsFunc(id, unicode.IsControl) {
		return nil
	}
	q := url.Values{}
	if store := data.text("storeId"); opaqueID.MatchString(store) {
		q.Set("storeId", store)
	}
	return []Request{{Name: kind + "/" + id, Path: "/payments/" + segment(id) + below, Query: q}}
}

func portoneThen(w Webhook, _ API, answers []schemas.Fetched) ([]Request, error) {
	var e, d object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	if len(answers) != 1 || answers[0].Status != http.StatusOK {
		return nil, nil
	}
	if err := decode(answers[0].Body, &d); err != nil {
		return nil, err
	}
	data := e.object("data")
	if d.text("transactionId") == data.text("transactionId") {
		return nil, nil
	}
	return portoneRequest(data, "transactions", "/transactions"), nil
}

func portoneCheck(w Webhook, _ API, f schemas.Fetched) error {
	var e, d object
	if err := decode(w.Payload, &e); err != nil {
		return err
	}
	if err := decode(f.Body, &d); err != nil {
		return err
	}
	store := e.object("data").text("storeId")
	if strings.HasPrefix(f.Name, "payment/") {
		if err := checkID(f, d.text("id")); err != nil {
			return err
		}
		return checkSame("storeId", d.text("storeId"), store)
	}
	for _, attempt := range d.objects("items") {
		if err := checkID(f, attempt.text("paymentId")); err != nil {
			return err
		}
		if err := checkSame("storeId", attempt.text("storeId"), store); err != nil {
			return err
		}
	}
	return nil
}
