package fetch

import (
	"cmp"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tollbridge/tollbridge/schemas"
)

// monnifyList lists the transactions that were created within the time range, in their
// present state. One that is paid is its webhook SUCCESSFUL_TRANSACTION: the id of its event
// is made of its reference. One that is paid in parts or overpaid has the amount in the id
// of its event, as the webhook writes it. The list may write it in another way, so such a
// transaction is only reported. A payment that failed has no webhook.
//
// The parameters from and to, in milliseconds, are not documented on a page that could be
// read. If Monnify ignores them, all transactions are listed, which takes longer, and what is
// outside the time range is left out here.
//
// https://developers.monnify.com/api/#get-all-transactions
var monnifyList = List{
	Docs:       "https://developers.monnify.com/api/#get-all-transactions",
	Kind:       ListStates,
	Keys:       "the API key and the secret key; Monnify has no read-only ones",
	Redelivers: 24 * time.Hour, // Monnify publishes no limit
	Note:       "only payments that succeeded are compared; refunds, disbursements, settlements and mandates are not listed",
	Publish:    true,
	parts: []part{{
		name: "transactions",
		request: func(q ListQuery, cursor string) (Request, error) {
			return Request{Path: "/api/v1/transactions/search", Query: url.Values{
				"page": {cmp.Or(cursor, "0")}, "size": {"100"},
				"from": {strconv.FormatInt(q.From.UnixMilli(), 10)}, "to": {strconv.FormatInt(q.To.UnixMilli(), 10)},
			}}, nil
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			var answer object
			if err := decode(a.Body, &answer); err != nil {
				return nil, "", err
			}
			items, page, err := eventItems(answer["responseBody"], "content", "transactionReference", "paymentStatus", "createdOn")
			if err != nil {
				return nil, "", err
			}
			for n := range items {
				if items[n], err = monnifyItem(items[n]); err != nil {
					return nil, "", err
				}
			}
			if page.text("last") != "true" && len(items) > 0 {
				number, _ := strconv.Atoi(a.Query.Get("page"))
				next = strconv.Itoa(number + 1)
			}
			return items, next, nil
		},
	}},
}

// monnifyZone is the time zone of the times in webhooks.
var monnifyZone = time.FixedZone("WAT", 60*60)

// monnifyItem returns the item with the webhook of the transaction in its payload.
func monnifyItem(i Item) (Item, error) {
	var o object
	if err := decode(i.Payload, &o); err != nil {
		return i, err
	}
	status := i.Type
	i.Type, i.Payload = "transaction "+status, nil
	switch status {
	case "PARTIALLY_PAID", "OVERPAID":
		i.Type, i.Facts = "SUCCESSFUL_TRANSACTION "+status, []Fact{{ID: i.ID, Type: schemas.PaymentCaptured}}
		return i, nil
	case "PAID":
	default:
		return i, nil
	}
	i.Type = "SUCCESSFUL_TRANSACTION"
	data := map[string]string{
		"transactionReference": i.ID, "paymentReference": o.text("paymentReference"), "paymentStatus": status,
		"amountPaid": cmp.Or(o.text("amountPaid"), o.text("amount")), "currency": o.text("currencyCode"), "paymentMethod": o.text("paymentMethod"),
	}
	if paid, err := timeOf(o.text("completedOn")); err == nil {
		data["paidOn"] = paid.In(monnifyZone).Format(time.DateTime)
	}
	var err error
	i.Payload, err = json.Marshal(map[string]any{"eventType": i.Type, "eventData": data}, json.Deterministic(true))
	return i, err
}
