package fetch

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tollbridge/tollbridge/schemas"
)

// portoneList lists the payments whose status changed within the time range, in their
// present state. They are compared by the merchant's paymentId. The id of an event is made
// of its webhook, which the list does not have, so what is missing is only reported, or
// PortOne is asked to send it again: it then sends the payment's latest webhook.
//
// The parameter requestBody has the filter and the page as JSON, as in all GET requests of
// PortOne's SDK with a filter; the page counts from 0.
//
// https://developers.portone.io/api/rest-v2/payment#get-payments
// https://github.com/portone-io/server-sdk, javascript/src/generated: payment/client.ts, payment/PaymentFilterInput.ts, common/PageInput.ts
var portoneList = List{
	Docs:       "https://developers.portone.io/api/rest-v2/payment",
	Kind:       ListStates,
	Keys:       "an API secret of version V2; PortOne has no read-only ones",
	ResendKeys: "an API secret of version V2",
	Redelivers: 24 * time.Hour, // PortOne publishes no limit
	Note:       "the present states of payments are listed; of several refunds of a payment only one is looked for, and a resend sends the latest webhook alone",
	resend:     []func(ListQuery, Item, Answer) (Request, error){portoneResend},
	parts: []part{{
		name: "payments",
		request: func(q ListQuery, cursor string) (Request, error) {
			number, _ := strconv.Atoi(cursor)
			body, err := json.Marshal(map[string]any{
				"page":   map[string]int{"number": number, "size": portonePage},
				"filter": map[string]any{"timestampType": "STATUS_CHANGED_AT", "from": rfc3339(q.From), "until": rfc3339(q.To)},
			}, json.Deterministic(true))
			return Request{Path: "/payments", Query: url.Values{"requestBody": {string(body)}}}, err
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			items, page, err := eventItems(a.Body, "items", "id", "status", "statusChangedAt")
			if err != nil {
				return nil, "", err
			}
			for n := range items {
				items[n].Payload = nil
				for _, typ := range portoneStates[items[n].Type] {
					items[n].Facts = append(items[n].Facts, Fact{ID: items[n].ID, Type: typ})
				}
			}
			number, _ := strconv.Atoi(a.Cursor)
			if total, _ := strconv.Atoi(page.text("page.totalCount")); len(items) > 0 && (number+1)*portonePage < total {
				next = strconv.Itoa(number + 1)
			}
			return items, next, nil
		},
	}},
}

// portonePage is how many payments a page has.
const portonePage = 100

// portoneStates maps the status of a payment to the facts that its webhooks reported. A
// payment that was refunded was paid before.
var portoneStates = map[string][]schemas.Type{
	"PAID":              {schemas.PaymentCaptured},
	"PARTIAL_CANCELLED": {schemas.PaymentCaptured, schemas.RefundSucceeded},
	"CANCELLED":         {schemas.RefundSucceeded},
	"FAILED":            {schemas.PaymentFailed},
}

// portoneResend asks PortOne to send the latest webhook of a payment again.
func portoneResend(_ ListQuery, i Item, _ Answer) (Request, error) {
	return Request{Method: http.MethodPost, Path: "/payments/" + segment(i.ID) + "/resend-webhook", Header: jsonBody, Body: []byte("{}")}, nil
}
