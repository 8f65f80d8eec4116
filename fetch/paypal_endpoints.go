package fetch

// paypalHook reads the webhooks of the application. PayPal has no state of a webhook.
//
// https://developer.paypal.com/docs/api/webhooks/v1/#webhooks_list
var paypalHook = hook{
	keys:    "the client id and secret of the application whose webhooks are received",
	request: func(API, string) (Request, error) { return Request{Path: "/v1/notifications/webhooks"}, nil },
	read: func(_ API, a Answer) (all []Hook, next string, err error) {
		var page object
		if err := decode(a.Body, &page); err != nil {
			return nil, "", err
		}
		for _, o := range page.objects("webhooks") {
			h := Hook{ID: o.text("id"), URL: o.text("url"), Enabled: true}
			for _, t := range o.objects("event_types") {
				h.Types = append(h.Types, t.text("name"))
				h.AllTypes = h.AllTypes || t.text("name") == "*"
			}
			all = append(all, h)
		}
		return all, "", nil
	},
	create: &paypalCreation,
}

// paypalCreation makes a webhook with those of the event types that PayPal offers. A
// webhook has no secret: its id is in what PayPal signs.
//
// https://developer.paypal.com/docs/api/webhooks/v1/#webhooks_post
// https://developer.paypal.com/docs/api/webhooks/v1/#webhooks-event-types_list
var paypalCreation = creation{
	docs:    "https://developer.paypal.com/docs/api/webhooks/v1/#webhooks_post",
	keys:    "the secret of the application whose webhooks are received",
	without: "PayPal signs with its own certificates, and the webhook's id is the setting webhook_id",
	prepare: func(API) Request { return Request{Path: "/v1/notifications/webhooks-event-types"} },
	offered: func(prepared Answer) (all []string, err error) {
		var page object
		if err := decode(prepared.Body, &page); err != nil {
			return nil, err
		}
		for _, t := range page.objects("event_types") {
			all = append(all, t.text("name"))
		}
		return all, nil
	},
	requests: func(_ API, n NewHook, _ Answer) ([]Request, error) {
		return []Request{jsonRequest("/v1/notifications/webhooks", map[string]any{"url": n.URL, "event_types": paypalTypes(n.Types)})}, nil
	},
	read: func(o object) Made {
		return Made{Hook: Hook{ID: o.text("id"), URL: o.text("url"), Enabled: true}}
	},
	setting: "webhook_id",
}

// paypalTypes returns event types as PayPal reads them.
func paypalTypes(types []string) (all []map[string]string) {
	for _, t := range types {
		all = append(all, map[string]string{"name": t})
	}
	return all
}
