package fetch

import (
	"maps"
	"net/url"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// razorpayHook reads the webhooks of the account. Razorpay documents the same list for the
// accounts of partners (/v2/accounts/{id}/webhooks). Its own libraries read that of the key's
// account at this address. Event types are a list there, or an object with a boolean for
// each: both are read.
//
// https://razorpay.com/docs/api/partners/webhooks/fetch-all/
// https://github.com/razorpay/razorpay-node, lib/resources/webhooks.js
var razorpayHook = hook{
	keys: "the key secret of an API key",
	request: func(_ API, cursor string) (Request, error) {
		query := url.Values{"count": {strconv.Itoa(razorpayWebhooks)}}
		if cursor != "" {
			query.Set("skip", cursor)
		}
		return Request{Path: "/v1/webhooks", Query: query}, nil
	},
	read: func(_ API, a Answer) (all []Hook, next string, err error) {
		var page object
		if err := decode(a.Body, &page); err != nil {
			return nil, "", err
		}
		items := page.objects("items")
		for _, o := range items {
			all = append(all, Hook{ID: o.text("id"), URL: o.text("url"), Enabled: o.text("active") == "true", Types: razorpayTypes(o)})
		}
		if len(items) == razorpayWebhooks {
			skip, _ := strconv.Atoi(a.Cursor)
			next = strconv.Itoa(skip + len(items))
		}
		return all, next, nil
	},
}

// razorpayWebhooks is how many webhooks a page has at most.
const razorpayWebhooks = 100

// razorpayTypes returns the event types of a webhook.
func razorpayTypes(o object) (all []string) {
	if o["events"].Kind() == jsontext.KindBeginArray {
		return o.strings("events")
	}
	events := o.object("events")
	for _, t := range slices.Sorted(maps.Keys(events)) {
		if set := events.text(t); set == "true" || set == "1" {
			all = append(all, t)
		}
	}
	return all
}
