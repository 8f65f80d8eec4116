package fetch

import (
	"net/url"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// xenditList lists the payments and refunds in Xendit's ledger that were created within the
// time range. An entry names its payment or refund, and has neither the webhook's fields
// nor its kind, so what is missing is only reported. The names of a payment's objects
// differ by product: Xendit does not say for each which id the ledger has. A payment
// whose webhook names it by another id is reported as missing although it came, which
// loses nothing.
//
// https://docs.xendit.co/apidocs/list-transactions
var xenditList = List{
	Docs:       "https://docs.xendit.co/apidocs/list-transactions",
	Kind:       ListStates,
	Keys:       "a secret API key with Transaction: Read",
	Redelivers: 24 * time.Hour,
	Note:       "payments and refunds that succeeded are compared by the id in the ledger; failures, disputes and payouts are not listed",
	parts: []part{{
		name: "transactions",
		request: func(q ListQuery, cursor string) (Request, error) {
			query := url.Values{
				"types": {"PAYMENT", "REFUND"}, "statuses": {"SUCCESS"}, "limit": {"50"},
				"created[gte]": {rfc3339(q.From)}, "created[lte]": {rfc3339(q.To)},
			}
			if cursor != "" {
				query.Set("after_id", cursor)
			}
			return Request{Path: "/transactions", Query: query}, nil
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			items, page, err := eventItems(a.Body, "data", "product_id", "type", "created")
			if err != nil {
				return nil, "", err
			}
			entries := page.objects("data")
			for n := range items {
				i := &items[n]
				i.Payload = nil
				typ := map[string]schemas.Type{"PAYMENT": schemas.PaymentCaptured, "REFUND": schemas.RefundSucceeded}[i.Type]
				if i.ID != "" && typ != "" && entries[n].text("status") == "SUCCESS" {
					i.Facts = []Fact{{ID: i.ID, Type: typ}}
				}
			}
			if page.text("has_more") == "true" && len(items) > 0 {
				next = entries[len(entries)-1].text("id")
			}
			return items, next, nil
		},
	}},
}
