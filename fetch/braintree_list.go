package fetch

import (
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// braintreeList lists the transactions and the refunds that were settled within the time
// range. They are compared by the id that webhooks have, which the API calls legacyId, and
// only reported: the API has no webhooks, and other fields than they have.
//
// Braintree reports most card payments only with the disbursement of their money, some days
// after they are settled.
//
// https://developer.paypal.com/braintree/graphql/guides/search
// https://developer.paypal.com/braintree/graphql/reference/types/transaction-search-input
// https://developer.paypal.com/braintree/graphql/reference/types/refund
var braintreeList = List{
	Docs:       "https://developer.paypal.com/braintree/graphql/guides/search",
	Kind:       ListStates,
	Keys:       "the public and the private key; Braintree has no read-only ones",
	Redelivers: 5 * 24 * time.Hour, // until the disbursement, and a day of retries
	Note:       "settled payments and refunds are compared; failures, disputes and payouts are not. Braintree sends no webhook for each refund: subscribe to disbursement, or refunds seem to be missing",
	parts: []part{
		braintreePart("transactions", "TransactionSearchInput", schemas.PaymentCaptured),
		braintreePart("refunds", "RefundSearchInput", schemas.RefundSucceeded),
	},
}

// braintreePart is the list of one kind of objects, which are facts of one type.
func braintreePart(kind, input string, typ schemas.Type) part {
	query := `query Search($input: ` + input + `!, $after: String) { search { ` + kind + `(input: $input, first: 50, after: $after) {` +
		` pageInfo { hasNextPage endCursor } edges { node { legacyId status createdAt statusHistory { status timestamp } } } } } }`
	return part{
		name: kind,
		request: func(q ListQuery, cursor string) (Request, error) {
			variables := map[string]any{"input": map[string]any{"statusTransition": map[string]any{
				"settledAt": map[string]string{"greaterThanOrEqualTo": rfc3339(q.From), "lessThanOrEqualTo": rfc3339(q.To)},
			}}}
			if cursor != "" {
				variables["after"] = cursor
			}
			return braintreeQuery("", query, variables)
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			answer, err := braintreeAnswer(a.Body)
			if err != nil {
				return nil, "", err
			}
			found := answer.object("data").object("search").object(kind)
			for _, edge := range found.objects("edges") {
				i, err := braintreeItem(kind, edge.object("node"), typ)
				if err != nil {
					return nil, "", err
				}
				items = append(items, i)
			}
			if found.text("pageInfo.hasNextPage") == "true" {
				next = found.text("pageInfo.endCursor")
			}
			return items, next, nil
		},
	}
}

// braintreeItem returns the item of a settled transaction or refund, at the time of its
// settlement.
func braintreeItem(kind string, node object, typ schemas.Type) (Item, error) {
	at := node.text("createdAt")
	for _, e := range node.objects("statusHistory") {
		if e.text("status") == "SETTLED" {
			at = e.text("timestamp")
		}
	}
	t, err := timeOf(at)
	i := Item{ID: node.text("legacyId"), Type: kind + " " + node.text("status"), Time: t.UTC()}
	if i.ID != "" {
		i.Facts = []Fact{{ID: i.ID, Type: typ}}
	}
	return i, err
}
