package fetch

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// btcpayList lists the latest deliveries of the store's webhook with our address, newest
// first, and reads the request of each: the webhook's own JSON. BTCPay Server prunes old
// deliveries, and has no cursor: one request names how many. The store is the one that the
// key is for.
//
// Even reading needs a key that may change the store's webhooks.
//
// https://docs.btcpayserver.org/API/Greenfield/v1/#operation/ApiKeys_GetCurrentApiKey
// https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Webhooks_GetWebhookDeliveries
// https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Webhooks_RedeliverWebhookDelivery
var btcpayList = List{
	Docs:       "https://docs.btcpayserver.org/API/Greenfield/v1/#operation/Webhooks_GetWebhookDeliveries",
	Kind:       ListEvents,
	Keys:       "an API key of the store with btcpay.store.webhooks.canmodifywebhooks; it could redirect the webhooks, so do not give it to the server",
	Redelivers: 2 * time.Hour,
	Note:       "only the latest deliveries of the webhook with the endpoint's address are listed; events that the webhook is not subscribed to have none",
	Publish:    true,
	parts: []part{{
		name: "deliveries",
		request: func(_ ListQuery, cursor string) (Request, error) {
			if cursor == "" {
				cursor = btcpayCurrentKey
			}
			r := Request{Path: cursor}
			if strings.HasSuffix(cursor, "/deliveries") {
				r.Query = url.Values{"count": {strconv.Itoa(btcpayDeliveries)}}
			}
			return r, nil
		},
		read:   btcpayRead,
		detail: btcpayDelivery,
	}},
	ResendKeys: "the same key",
	resend: []func(ListQuery, Item, Answer) (Request, error){
		func(ListQuery, Item, Answer) (Request, error) { return Request{Path: btcpayCurrentKey}, nil },
		func(_ ListQuery, _ Item, previous Answer) (Request, error) {
			path, err := btcpayWebhooks(previous)
			return Request{Path: path}, err
		},
		func(q ListQuery, i Item, previous Answer) (Request, error) {
			path, err := btcpayWebhook(q, previous)
			return Request{Method: http.MethodPost, Path: path + "/deliveries/" + segment(i.ID) + "/redeliver"}, err
		},
	},
}

const (
	// btcpayDeliveries is how many deliveries are listed at most.
	btcpayDeliveries = 10_000
	btcpayCurrentKey = "/api/v1/api-keys/current"
)

// btcpayRead reads an answer: of the current key, which names the store; of the store's
// webhooks; or of the deliveries of a webhook.
func btcpayRead(q ListQuery, a Answer) (items []Item, next string, err error) {
	switch {
	case a.Path == btcpayCurrentKey:
		next, err = btcpayWebhooks(a)
		return nil, next, err
	case !strings.HasSuffix(a.Path, "/deliveries"):
		next, err = btcpayWebhook(q, a)
		return nil, next + "/deliveries", err
	}
	var all []object
	if err := decode(a.Body, &all); err != nil {
		return nil, "", err
	}
	for _, o := range all {
		seconds, err := strconv.ParseInt(o.text("timestamp"), 10, 64)
		if err != nil {
			return nil, "", fmt.Errorf("%w: a delivery without a time", ErrUnavailable)
		}
		i := Item{ID: o.text("id"), Type: "delivery", Time: time.Unix(seconds, 0).UTC()}
		if i.Time.Before(q.From) || !i.Time.Before(q.To) {
			continue
		}
		i.detail = &Request{Name: "delivery", Path: a.Path + "/" + segment(i.ID) + "/request"}
		items = append(items, i)
	}
	return items, "", nil
}

// btcpayWebhooks returns the path of the webhooks of the store that the key is for. A
// permission ends in the store's id. A key for several stores is an error: it does not say
// which one is meant.
func btcpayWebhooks(a Answer) (path string, err error) {
	var key struct {
		Permissions []string `json:"permissions"`
	}
	if err := decode(a.Body, &key); err != nil {
		return "", err
	}
	var stores []string
	for _, p := range key.Permissions {
		if _, store, ok := strings.Cut(p, ":"); ok && strings.HasPrefix(p, "btcpay.store.webhooks.") && opaqueID.MatchString(store) {
			stores = append(stores, store)
		}
	}
	slices.Sort(stores)
	switch stores = slices.Compact(stores); len(stores) {
	case 0:
	case 1:
		return "/api/v1/stores/" + segment(stores[0]) + "/webhooks", nil
	default:
		return "", fmt.Errorf("%w: it is for the stores %s: want a key with btcpay.store.webhooks.canmodifywebhooks for one store", ErrCredentials, strings.Join(stores, ", "))
	}
	return "", fmt.Errorf("%w: want a key with btcpay.store.webhooks.canmodifywebhooks for one store", ErrCredentials)
}

// btcpayWebhook returns the path of the webhook with our address.
func btcpayWebhook(q ListQuery, a Answer) (path string, err error) {
	var all []object
	if err := decode(a.Body, &all); err != nil {
		return "", err
	}
	for _, o := range all {
		if sameAddress(o.text("url"), q.URL) {
			return a.Path + "/" + segment(o.text("id")), nil
		}
	}
	return "", ErrNoEndpoint
}

// btcpayDelivery returns a delivery with the webhook that it sent.
func btcpayDelivery(_ ListQuery, i Item, a Answer) ([]Item, error) {
	var e object
	if err := decode(a.Body, &e); err != nil {
		return nil, err
	}
	i.Type, i.Payload, i.detail = e.text("type"), a.Body, nil
	return []Item{i}, nil
}
