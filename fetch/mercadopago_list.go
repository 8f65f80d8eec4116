package fetch

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// mercadopagoList lists the payments that changed within the time range, the latest change
// first, in their present state. An item is the notification of its payment, with the
// payment: the ids of its events are made of the payment or the refund and its state, as
// those of notifications with the topic payment. The search leaves the refunds out, so a
// payment that has some is read again.
//
// An order of the Orders API gives its payments other ids, so that each would seem to be
// missing, and Mercado Pago does not document that the search tells such payments from
// others. The list therefore needs the setting tells with the value payments, with which
// notifications of orders make no events. A payment of
// the Orders API without a notification of the topic payment is missing then.
//
// The API does not say how far an offset may go. The search starts again at the time of the
// last payment before the offset is large.
//
// https://www.mercadopago.com.br/developers/en/reference/payments/_payments_search/get
// https://github.com/mercadopago/sdk-nodejs, src/clients/payment/search/types.ts
var mercadopagoList = List{
	Docs:       "https://www.mercadopago.com.br/developers/en/reference/payments/_payments_search/get",
	Kind:       ListStates,
	Keys:       "the access token of the application; the setting tells must be payments",
	Redelivers: 4 * 24 * time.Hour, // Mercado Pago publishes no end
	Publish:    true,
	parts: []part{{
		name: "payments",
		request: func(q ListQuery, cursor string) (Request, error) {
			if q.Settings["tells"] != "payments" {
				return Request{}, errors.New("the setting tells is not payments: an order of the Orders API gives a payment another event id than the payments that are listed; set it to payments if the endpoint gets the topic payment")
			}
			end, offset := q.To, "0"
			if cursor != "" {
				text, after, _ := strings.Cut(cursor, " ")
				t, err := timeOf(text)
				if err != nil {
					return Request{}, err
				}
				end, offset = t, after
			}
			return Request{Path: "/v1/payments/search", Query: url.Values{
				"range": {"date_last_updated"}, "begin_date": {mercadopagoTime(q.From)}, "end_date": {mercadopagoTime(end)},
				"sort": {"date_last_updated"}, "criteria": {"desc"}, "limit": {strconv.Itoa(mercadopagoPage)}, "offset": {offset},
			}}, nil
		},
		read:   mercadopagoPayments,
		detail: mercadopagoDetail,
	}},
}

const (
	mercadopagoPage    = 100
	mercadopagoOffsets = 900 // the search starts again after this offset
)

// mercadopagoTime writes a time as the search reads it.
func mercadopagoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

func mercadopagoPayments(_ ListQuery, a Answer) (items []Item, next string, err error) {
	var page struct {
		Paging struct {
			Total int `json:"total"`
		} `json:"paging"`
		Results []jsontext.Value `json:"results"`
	}
	if err := decode(a.Body, &page); err != nil {
		return nil, "", err
	}
	for _, raw := range page.Results {
		var o object
		if err := decode(raw, &o); err != nil {
			return nil, "", err
		}
		at, err := timeOf(o.text("date_last_updated"))
		if err != nil {
			return nil, "", err
		}
		i := Item{ID: o.text("id"), Type: "payment." + o.text("status"), Time: at.UTC()}
		if mercadopagoNumber.MatchString(i.ID) {
			i = mercadopagoItem(i, o, raw)
		}
		items = append(items, i)
	}
	offset, _ := strconv.Atoi(a.Query.Get("offset"))
	switch after := offset + len(items); {
	case len(items) == 0 || after >= page.Paging.Total:
	case after < mercadopagoOffsets:
		next = fmt.Sprintf("%s %d", a.Query.Get("end_date"), after)
	default:
		last := mercadopagoTime(items[len(items)-1].Time.Add(time.Millisecond)) // the end may or may not be in the range
		if last == a.Query.Get("end_date") {
			return nil, "", fmt.Errorf("%w: it has more than %d payments of the same time, %s", ErrUnavailable, mercadopagoOffsets, last)
		}
		next = last + " 0"
	}
	return items, next, nil
}

// mercadopagoItem returns the item of a payment, or one whose payment has to be read.
func mercadopagoItem(i Item, o object, body []byte) Item {
	refunded := decimal(o.text("transaction_amount_refunded"))
	if status := o.text("status"); status == "refunded" || status == "charged_back" || refunded != nil && refunded.Sign() > 0 {
		r := mercadopagoRequest("payment", "/v1/payments/", i.ID, mercadopagoNumber)[0]
		i.detail = &r
		return i
	}
	return mercadopagoListed(i, body)
}

func mercadopagoDetail(_ ListQuery, i Item, a Answer) ([]Item, error) {
	i.detail = nil
	return []Item{mercadopagoListed(i, a.Body)}, nil
}

// mercadopagoListed returns the item with the notification of its payment, and the payment.
func mercadopagoListed(i Item, body []byte) Item {
	r := mercadopagoRequest("payment", "/v1/payments/", i.ID, mercadopagoNumber)[0]
	i.Payload, _ = json.Marshal(map[string]any{"type": "payment", "data": map[string]string{"id": i.ID}}, json.Deterministic(true))
	i.Fetched = []schemas.Fetched{listedDocument(r, mercadopago.host(API{}), body)}
	return i
}
