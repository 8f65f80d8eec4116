package fetch

import "strings"

// btcpayHook reads the webhooks of the store that the key is for.
//
// https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Webhooks_GetWebhooks
var btcpayHook = hook{
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
	create: &btcpayCreation,
}

// btcpayCreation makes a webhook of the store that the key is for, with our secret.
//
// https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Webhooks_CreateWebhook
var btcpayCreation = creation{
	docs:    "https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Webhooks_CreateWebhook",
	keys:    "an API key of the store with btcpay.store.webhooks.canmodifywebhooks",
	secret:  randomText,
	prepare: func(API) Request { return Request{Path: btcpayCurrentKey} },
	requests: func(_ API, n NewHook, prepared Answer) ([]Request, error) {
		path, err := btcpayWebhooks(prepared)
		return []Request{jsonRequest(path, map[string]any{
			"url": n.URL, "enabled": true, "automaticRedelivery": true, "secret": n.Secret,
			"authorizedEvents": map[string]any{"everything": false, "specificEvents": n.Types},
		})}, err
	},
	read: func(o object) Made {
		return Made{Hook: Hook{ID: o.text("id"), URL: o.text("url"), Enabled: o.text("enabled") == "true"}}
	},
}
