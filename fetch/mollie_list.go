package fetch

import (
	"net/url"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// mollieList lists the payments, the refunds and the chargebacks, newest first, in their
// present state. Mollie cannot select them by time. An item is the classic webhook of its
// payment, with the payment: the ids of its events are made of the object and its state,
// as those of webhooks. A payment that has refunds, chargebacks or captures is read again
// with them. A state that was over before is not seen.
//
// https://docs.mollie.com/reference/list-payments
// https://docs.mollie.com/reference/list-all-refunds
// https://docs.mollie.com/reference/list-all-chargebacks
var mollieList = List{
	Docs:       "https://docs.mollie.com/reference/list-payments",
	Kind:       ListStates,
	Keys:       "the API key of the profile, or an access token with payments.read and refunds.read",
	Redelivers: 26 * time.Hour,
	Note:       "the present states are listed; a payment that was authorized and is now paid shows only that it is paid",
	Publish:    true,
	parts: []part{
		molliePart("payments"), molliePart("refunds"), molliePart("chargebacks"),
	},
}

// molliePart is the list of one kind of objects.
func molliePart(kind string) part {
	return part{
		name: kind,
		request: func(q ListQuery, cursor string) (Request, error) {
			r := molliePayment("list", q.API) // with testmode if the key needs it
			r.Path = "/v2/" + kind
			r.Query.Del("embed")
			r.Query.Set("limit", "250")
			if cursor != "" {
				r.Query.Set("from", cursor)
			}
			return r, nil
		},
		read: func(q ListQuery, a Answer) (items []Item, next string, err error) {
			var page object
			if err := decode(a.Body, &page); err != nil {
				return nil, "", err
			}
			items, _, err = eventItems(page["_embedded"], kind, "id", "status", "createdAt")
			if err != nil {
				return nil, "", err
			}
			if newerThan(items, q.From) {
				next = queryOf(page.object("_links").object("next").text("href"), "from")
			}
			for n := range items {
				var o object
				if err := decode(items[n].Payload, &o); err != nil {
					return nil, "", err
				}
				items[n] = mollieItem(q, items[n], o)
			}
			return items, next, nil
		},
		detail: func(q ListQuery, i Item, a Answer) ([]Item, error) {
			var o object
			if err := decode(a.Body, &o); err != nil {
				return nil, err
			}
			i.detail = nil
			return []Item{mollieListed(q, i, o.text("id"), a.Body)}, nil
		},
	}
}

// mollieItem returns the item of a payment, or one whose payment has to be read.
func mollieItem(q ListQuery, i Item, o object) Item {
	id := o.text("id")
	if payment := o.text("paymentId"); payment != "" { // a refund or a chargeback
		id = payment
	}
	if !molliePaymentID.MatchString(id) {
		i.Payload = nil
		return i
	}
	for _, amount := range []string{"amountRefunded", "amountChargedBack", "amountCaptured"} {
		if value := o.object(amount).text("value"); value != "" && value != "0.00" && value != "0" {
			id, o = o.text("id"), nil
			break
		}
	}
	if o == nil || id != o.text("id") {
		r := molliePayment(id, q.API)
		i.detail, i.Payload = &r, nil
		return i
	}
	return mollieListed(q, i, id, i.Payload)
}

// mollieListed returns the item with the classic webhook of its payment, and the payment.
func mollieListed(q ListQuery, i Item, payment string, body []byte) Item {
	r := molliePayment(payment, q.API)
	i.Payload = []byte(url.Values{"id": {payment}}.Encode())
	i.Fetched = []schemas.Fetched{listedDocument(r, mollie.host(q.API), body)}
	return i
}
