package fetch

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// razorpayList lists the payments and the refunds that were created within the time range,
// in their present state. An item is the webhook of that state: the ids of its events are
// made of the payment or the refund and its state. A refunded payment was captured before.
//
// https://razorpay.com/docs/api/payments/fetch-all-payments/
// https://razorpay.com/docs/api/refunds/fetch-all/
var razorpayList = List{
	Docs:       "https://razorpay.com/docs/api/payments/fetch-all-payments/",
	Kind:       ListStates,
	Keys:       "the key id and the key secret",
	Redelivers: 24 * time.Hour,
	Note:       "the present states are listed; disputes, settlements and payouts are not, and payments of cancelled orders neither",
	Publish:    true,
	parts: []part{
		razorpayPart("payment", map[string]string{"authorized": "payment.authorized", "captured": "payment.captured", "refunded": "payment.captured", "failed": "payment.failed"}),
		razorpayPart("refund", map[string]string{"pending": "refund.created", "processed": "refund.processed", "failed": "refund.failed"}),
	},
}

// razorpayPage is how many objects a page has.
const razorpayPage = 100

// razorpayPart is the list of one kind of objects, with the webhook of each status.
func razorpayPart(kind string, events map[string]string) part {
	return part{
		name: kind + "s",
		request: func(q ListQuery, cursor string) (Request, error) {
			skip, _ := strconv.Atoi(cursor)
			return Request{Path: "/v1/" + kind + "s", Query: url.Values{
				"from": {strconv.FormatInt(q.From.Unix(), 10)}, "to": {strconv.FormatInt(q.To.Unix(), 10)},
				"count": {strconv.Itoa(razorpayPage)}, "skip": {strconv.Itoa(skip)},
			}}, nil
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			var page struct {
				Items []jsontext.Value `json:"items"`
			}
			if err := decode(a.Body, &page); err != nil {
				return nil, "", err
			}
			for _, raw := range page.Items {
				var o object
				if err := decode(raw, &o); err != nil {
					return nil, "", err
				}
				seconds, err := strconv.ParseInt(o.text("created_at"), 10, 64)
				if err != nil {
					return nil, "", fmt.Errorf("%w: a %s without created_at", ErrUnavailable, kind)
				}
				i := Item{ID: o.text("id"), Type: kind + "." + o.text("status"), Time: time.Unix(seconds, 0).UTC()}
				if event := events[o.text("status")]; event != "" {
					i.Type = event
					if i.Payload, err = razorpayWebhook(kind, event, seconds, o); err != nil {
						return nil, "", err
					}
				}
				items = append(items, i)
			}
			if len(items) == razorpayPage {
				skip, _ := strconv.Atoi(a.Query.Get("skip"))
				next = strconv.Itoa(skip + razorpayPage)
			}
			return items, next, nil
		},
	}
}

// razorpayWebhook returns the webhook that reports an object's state.
func razorpayWebhook(kind, event string, created int64, o object) ([]byte, error) {
	if event == "payment.captured" {
		o["status"] = jsontext.Value(`"captured"`)
	}
	return json.Marshal(map[string]any{
		"entity": "event", "event": event, "contains": []string{kind}, "created_at": created,
		"payload": map[string]any{kind: map[string]any{"entity": o}},
	}, json.Deterministic(true))
}
