package fetch

import (
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// recurlyList lists the transactions that changed within the time range, the latest change
// first, in their present state. An item is the webhook of that state, with the
// transaction: the ids of the events of payments are made of the transaction and its
// state. What is missing is only reported: a transaction does not name its site, which is
// the account of an event and, without a merchant's reference, a part of its key.
//
// https://recurly.com/developers/api/v2021-02-25/index.html#operation/list_transactions
var recurlyList = List{
	Docs:       "https://recurly.com/developers/api/v2021-02-25/index.html#operation/list_transactions",
	Kind:       ListStates,
	Keys:       "a private API key; Recurly has no read-only ones",
	Redelivers: 3*24*time.Hour + time.Hour,
	Note:       "the present states of transactions are listed; invoices are not, nor are captured transactions that were authorized before",
	parts: []part{{
		name: "transactions",
		request: func(q ListQuery, cursor string) (Request, error) {
			r := Request{Path: "/transactions", Header: http.Header{"Accept": {recurlyAccept}}, Query: url.Values{
				"begin_time": {rfc3339(q.From)}, "end_time": {rfc3339(q.To)}, "sort": {"updated_at"}, "order": {"desc"}, "limit": {"200"},
			}}
			if cursor != "" {
				query, err := url.ParseQuery(cursor)
				if err != nil {
					return Request{}, err
				}
				r.Query = query
			}
			return r, nil
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			items, page, err := eventItems(a.Body, "data", "id", "type", "updated_at")
			if err != nil {
				return nil, "", err
			}
			for n := range items {
				if items[n], err = recurlyItem(items[n]); err != nil {
					return nil, "", err
				}
			}
			if page.text("has_more") == "true" {
				next = rawQuery(page.text("next"))
			}
			return items, next, nil
		},
	}},
}

// recurlyStates maps the status of a transaction to the event of its webhook. A success is
// reported by the type of the transaction. Other statuses have no webhook, or Recurly does
// not say which.
var recurlyStates = map[string]string{
	"declined": "failed", "error": "failed", "void": "voided", "processing": "processing", "scheduled": "scheduled",
}

// recurlySuccesses maps the type of a transaction that succeeded to the event of its
// webhook. A verification moves no money.
var recurlySuccesses = map[string]string{
	"purchase": "succeeded", "capture": "succeeded", "authorization": "authorized", "refund": "refunded",
}

// recurlyItem returns the item with the webhook of the transaction in its payload, and with
// the transaction.
func recurlyItem(i Item) (Item, error) {
	var o object
	if err := decode(i.Payload, &o); err != nil {
		return i, err
	}
	body, status := i.Payload, o.text("status")
	event := recurlyStates[status]
	if status == "success" {
		event = recurlySuccesses[i.Type]
	}
	if i.Type == "verify" || i.Type == "refund" && status != "success" {
		event = ""
	}
	i.Type, i.Payload = i.Type+" "+status, nil
	if event == "" || !opaqueID.MatchString(i.ID) {
		return i, nil
	}
	i.Type = "payment." + event
	r := recurlyRequest("transaction/"+i.ID, "/transactions/"+segment(i.ID))
	i.Fetched = []schemas.Fetched{listedDocument(r, recurly.host(API{}), body)}
	var err error
	i.Payload, err = json.Marshal(map[string]any{
		"id": i.ID, "uuid": o["uuid"], "object_type": "payment", "event_type": event, "event_time": jsontext.Value(o["updated_at"]),
	}, json.Deterministic(true))
	return i, err
}
