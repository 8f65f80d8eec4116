package fetch

import (
	"strings"
)

// truelayer fetches the payment, refund or payout of an event, with an access token that
// it gets with the client id and secret.
//
// The API shows payments into a merchant account alone. An endpoint for payments into
// other accounts has the setting beneficiary, and its payments are not fetched.
//
// TrueLayer publishes no rate limit.
//
// https://docs.truelayer.com/docs/get-data-about-a-payment
// https://docs.truelayer.com/docs/generate-an-access-token
var truelayer = Connector{
	Docs:     "https://docs.truelayer.com/docs/get-data-about-a-payment",
	Lost:     "events have no amount",
	Must:     true,
	Keys:     "the client secret of the application: Console, App settings; TrueLayer has no read-only ones",
	ClientID: "the client id of the application",
	Hosts:    map[Environment]string{Live: "api.truelayer.com", Sandbox: "api.truelayer-sandbox.com"},
	plan:     truelayerPlan,
	token:    truelayerToken,
	check:    checkIDAt("id"),
}

func truelayerToken(a API, key Key) Token {
	host := "auth.truelayer.com"
	if a.Environment == Sandbox {
		host = "auth.truelayer-sandbox.com"
	}
	return Token{Host: host, Path: "/connect/token", ClientID: a.ClientID, ClientSecret: key.Value, Scopes: []string{"payments"}}
}

func truelayerPlan(w Webhook, _ API) ([]Request, error) {
	var e object
	if err := decode(w.Payload, &e); err != nil {
		return nil, err
	}
	payment, refund, payout := e.text("payment_id"), e.text("refund_id"), e.text("payout_id")
	switch kind, _, _ := strings.Cut(e.text("type"), "_"); {
	case kind == "payment" && w.Settings["beneficiary"] != "external_account" && opaqueID.MatchString(payment):
		return []Request{{Name: "payment/" + payment, Path: "/v3/payments/" + segment(payment)}}, nil
	case kind == "refund" && opaqueID.MatchString(payment) && opaqueID.MatchString(refund):
		return []Request{{Name: "refund/" + refund, Path: "/v3/payments/" + segment(payment) + "/refunds/" + segment(refund)}}, nil
	case kind == "payout" && opaqueID.MatchString(payout):
		return []Request{{Name: "payout/" + payout, Path: "/v3/payouts/" + segment(payout)}}, nil
	}
	return nil, nil
}
