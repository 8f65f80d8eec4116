package fetch

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// shopifyList lists the orders that changed within the time range, in their present state,
// by the REST API: its orders and transactions are the JSON of the webhooks, so the ids of
// the events agree. Shopify calls this API legacy, and offers it to custom apps alone.
//
// The setting tells has to say which webhooks report the payments. With transactions, the
// transactions of each order are listed, with one request for each order. With orders, an
// order is its own webhook, and its refunds are those of refunds/create. An order that was
// refunded was paid before: the list no longer has how much, so that is only reported.
//
// Merchants report that a search by updated_at leaves out some orders at the edge of its
// range: it begins an hour before the time range.
//
// https://shopify.dev/docs/api/admin-rest/latest/resources/order
// https://shopify.dev/docs/api/admin-rest/latest/resources/transaction
// https://shopify.dev/docs/api/admin-rest/usage/pagination
var shopifyList = List{
	Docs:       "https://shopify.dev/docs/api/admin-rest/latest/resources/order",
	Kind:       ListStates,
	Keys:       "the Admin API access token of a custom app with read_orders; the setting tells must be set",
	Retention:  60 * 24 * time.Hour, // without read_all_orders
	Redelivers: 4 * time.Hour,
	Note:       "the present states of orders are listed; disputes and billing attempts are not, nor states of an order that are over",
	Publish:    true,
	parts: []part{{
		name:    "orders",
		request: shopifyRequest,
		read:    shopifyOrders,
		detail:  shopifyTransactions,
	}},
}

const (
	shopifyPath   = "/admin/api/2026-07/orders" // with the version of the API
	shopifyBefore = time.Hour
)

func shopifyRequest(q ListQuery, cursor string) (Request, error) {
	if tells := q.Settings["tells"]; tells != "orders" && tells != "transactions" {
		return Request{}, errors.New("the setting tells is not set: without it, orders and transactions both report a payment, with two event ids; set it to orders or transactions")
	}
	query := url.Values{"limit": {"250"}}
	if cursor != "" { // the other parameters must not be repeated
		query.Set("page_info", cursor)
	} else {
		query.Set("status", "any") // closed and cancelled orders, too
		query.Set("updated_at_min", rfc3339(q.From.Add(-shopifyBefore)))
		query.Set("updated_at_max", rfc3339(q.To))
	}
	return Request{Path: shopifyPath + ".json", Query: query}, nil
}

func shopifyOrders(q ListQuery, a Answer) (items []Item, next string, err error) {
	orders, _, err := eventItems(a.Body, "orders", "id", "financial_status", "updated_at")
	if err != nil {
		return nil, "", err
	}
	for _, i := range orders {
		if !decimalID.MatchString(i.ID) {
			return nil, "", fmt.Errorf("%w: an order has the id %q", ErrUnavailable, i.ID)
		}
		if q.Settings["tells"] == "transactions" {
			i.Type, i.Payload = "order", nil
			i.detail = &Request{Path: shopifyPath + "/" + segment(i.ID) + "/transactions.json"}
			items = append(items, i)
			continue
		}
		all, err := shopifyOrder(i)
		if err != nil {
			return nil, "", err
		}
		items = append(items, all...)
	}
	return items, shopifyNext(a.Header.Get("Link")), nil
}

// shopifyOrder returns the items of an order: its payment, and its refunds.
func shopifyOrder(i Item) (all []Item, err error) {
	var o struct {
		Refunds []jsontext.Value `json:"refunds"`
	}
	if err := decode(i.Payload, &o); err != nil {
		return nil, err
	}
	if i.Type == "refunded" || i.Type == "partially_refunded" {
		i.Payload, i.Facts = nil, []Fact{{ID: i.ID, Type: schemas.PaymentCaptured}}
	}
	i.Type = "order." + i.Type
	all = append(all, i)
	for _, raw := range o.Refunds {
		var r object
		if err := decode(raw, &r); err != nil {
			return nil, err
		}
		at, err := timeOf(r.text("created_at"))
		if err != nil {
			return nil, err
		}
		all = append(all, Item{ID: r.text("id"), Type: "refund", Time: at.UTC(), Payload: raw})
	}
	return all, nil
}

// shopifyTransactions returns the items of the transactions of an order.
func shopifyTransactions(_ ListQuery, _ Item, a Answer) (items []Item, err error) {
	items, page, err := eventItems(a.Body, "transactions", "id", "kind", "created_at")
	if err != nil {
		return nil, err
	}
	for n, o := range page.objects("transactions") {
		items[n].Type = "transaction." + items[n].Type + "." + o.text("status")
	}
	return items, nil
}

// shopifyNext returns the cursor of the next page, which is in the header Link:
// <https://…?page_info=…>; rel="next". It is empty if there is none.
func shopifyNext(link string) string {
	for _, one := range strings.Split(link, ",") {
		target, parameters, _ := strings.Cut(one, ";")
		if strings.Contains(parameters, `rel="next"`) {
			return queryOf(strings.Trim(strings.TrimSpace(target), "<>"), "page_info")
		}
	}
	return ""
}
