package fetch

import (
	"fmt"
	"net/url"
)

// billplz fetches the bill of a callback for the merchant's reference. The callback of a
// payment order has everything.
//
// Billplz publishes no rate limit.
//
// https://www.billplz.com/api#get-a-bill
var billplz = Connector{
	Docs:      "https://www.billplz.com/api#get-a-bill",
	Lost:      "events of bills do not have the merchant's reference",
	Must:      true,
	Keys:      "the secret key of the account: Settings; Billplz has no read-only ones",
	Hosts:     map[Environment]string{Live: "www.billplz.com", Sandbox: "www.billplz-sandbox.com"},
	plan:      billplzPlan,
	authorize: basicUser,
	check:     checkIDAt("id"),
}

func billplzPlan(w Webhook, _ API) ([]Request, error) {
	form, err := url.ParseQuery(string(w.Payload))
	if err != nil {
		return nil, fmt.Errorf("%w: it is no form", ErrNothingToAsk)
	}
	id := form.Get("id")
	if !form.Has("paid") || !opaqueID.MatchString(id) {
		return nil, nil
	}
	return []Request{{Name: "bill/" + id, Path: "/api/v3/bills/" + segment(id)}}, nil
}
