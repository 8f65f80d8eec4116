package fetch

import "strings"

// btcpayHook reads the webhooks of the store that the key is for.
//
// https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Webhooks_GetWebhooks
var btcpayHook = hook{
	docs: "https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Webhooks_GetWebhooks",
	keys: "an API key of the store with btcpay.store.webhooks.canmodifywebhooks",
	request: func(_ API, cursor string) (Request, error) {
		if cursor == "" {
			cursor = btcpayCurrentKey
		}
		return Request{Path: cursor}, nil
	},
	read: func(_ API, a Answer) (all []Hook, next string, err error) {
		if !strings.HasSuffix(a.Path, "/webhooks") {
			next, err = btcpayWebhooks(a)
			return nil, next, err
		}
		var page []object
		if err := decode(a.Body, &page); err != nil {
			return nil, "", err
		}
		for _, o := range page {
			events := o.object("authorizedEvents")
			h := Hook{ID: o.text("id"), URL: o.text("url"), Enabled: o.text("enabled") == "true", AllTypes: events.text("everything") == "true", Types: events.strings("specificEvents")}
			if o.text("automaticRedelivery") == "false" {
				h.Trouble = "it is not delivered again after a failure: switch on automatic redelivery"
			}
			all = append(all, h)
		}
		return all, "", nil
	},
}
