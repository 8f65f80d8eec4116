package fetch

import (
	"cmp"
	"net/url"
	"time"
)

// paystackList lists the transactions that were created within the time range, in their
// present state. One that succeeded is its webhook charge.success; others had none.
//
// https://paystack.com/docs/api/transaction/#list
var paystackList = List{
	Docs:       "https://paystack.com/docs/api/transaction/#list",
	Kind:       ListStates,
	Keys:       "the secret key; Paystack has no read-only ones",
	Redelivers: 72 * time.Hour,
	Note:       "only payments that succeeded are compared; refunds, disputes and transfers are not listed",
	Publish:    true,
	parts: []part{{
		name: "transactions",
		request: func(q ListQuery, cursor string) (Request, error) {
			return Request{Path: "/transaction", Query: url.Values{"perPage": {"100"}, "page": {cmp.Or(cursor, "1")}, "from": {rfc3339(q.From)}, "to": {rfc3339(q.To)}}}, nil
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			items, page, err := eventItems(a.Body, "data", "id", "status", "created_at")
			for n := range items {
				switch items[n].Type {
				case "success":
					items[n].Type, items[n].Payload = "charge.success", wrap(`{"event":"charge.success","data":`, items[n].Payload, `}`)
				default:
					items[n].Payload = nil
				}
			}
			return items, nextPage(a, page.text("meta.pageCount"), items), err
		},
	}},
}
