package fetch

import (
	"cmp"
	"net/url"
	"strings"
	"time"
)

// flutterwaveList lists the transactions of version 3 that were created within the time
// range, in their present state. One that succeeded or failed is its webhook
// charge.completed: the ids of its events are made of the transaction and its state. The
// API selects by days, not by times.
//
// Version 4, which is another API with other ids, has another list.
//
// https://developer.flutterwave.com/v3.0/reference/get-all-transactions
var flutterwaveList = List{
	Docs:       "https://developer.flutterwave.com/v3.0/reference/get-all-transactions",
	Kind:       ListStates,
	Keys:       "the secret key; Flutterwave has no read-only ones",
	Redelivers: 2 * time.Hour,
	Note:       "the present states of payments of version 3 are listed; refunds, chargebacks, transfers and version 4 are not",
	Publish:    true,
	parts: []part{{
		name: "transactions",
		request: func(q ListQuery, cursor string) (Request, error) {
			return Request{Path: "/v3/transactions", Query: url.Values{
				"from": {q.From.UTC().Format(time.DateOnly)}, "to": {q.To.UTC().Format(time.DateOnly)}, "page": {cmp.Or(cursor, "1")},
			}}, nil
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			items, page, err := eventItems(a.Body, "data", "id", "status", "created_at")
			for n := range items {
				switch status := strings.ToLower(items[n].Type); status {
				case "successful", "failed":
					items[n].Type = "charge.completed " + status
					items[n].Payload = wrap(`{"event":"charge.completed","data":`, items[n].Payload, `}`)
				default:
					items[n].Payload = nil // it has no webhook yet
				}
			}
			return items, nextPage(a, page.text("meta.page_info.total_pages"), items), err
		},
	}},
}
