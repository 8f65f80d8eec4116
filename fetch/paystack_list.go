package fetch

import (
	"net/url"
	"strconv"
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
			if cursor == "" {
				cursor = "1"
			}
			return Request{Path: "/transaction", Query: url.Values{"perPage": {"100"}, "page": {cursor}, "from": {rfc3339(q.From)}, "to": {rfc3339(q.To)}}}, nil
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
			number, _ := strconv.Atoi(a.Query.Get("page"))
			if pages, _ := strconv.Atoi(page.text("meta.pageCount")); number < pages && len(items) > 0 {
				next = strconv.Itoa(number + 1)
			}
			return items, next, err
		},
	}},
}
