package fetch

// paypalHook reads the webhooks of the application. PayPal has no state of a webhook.
//
// https://developer.paypal.com/docs/api/webhooks/v1/#webhooks_list
var paypalHook = hook{
	docs:    "https://developer.paypal.com/docs/api/webhooks/v1/#webhooks_list",
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
}
