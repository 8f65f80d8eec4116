package fetch

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// truelayerList lists the money that moved into and out of the merchant accounts within the
// time range, in days: TrueLayer allows 31 of them in one request if there are many. It is
// compared by the ids of the payments and payouts and only reported: the id of an event is
// that of the webhook, which the list does not have. That a refund has the field refund_id
// is read from TrueLayer's SDK (Refund.java); one without it is not compared.
//
// The first page is the list of the accounts. A cursor has the accounts that are still to be
// listed, and the cursor of the first of them.
//
// https://docs.truelayer.com/reference/merchant-account-get-transactions
// https://github.com/TrueLayer/truelayer-java, merchantaccounts/entities/transactions
var truelayerList = List{
	Docs:       "https://docs.truelayer.com/reference/merchant-account-get-transactions",
	Kind:       ListStates,
	Keys:       "the client secret of the application; TrueLayer has no read-only ones",
	Redelivers: 3 * 24 * time.Hour,
	Note:       "only money that moved is listed: payments into merchant accounts and payouts; failures and payments into other accounts are not",
	parts: []part{{
		name: "transactions",
		request: func(q ListQuery, cursor string) (Request, error) {
			accounts, page, listed := strings.Cut(cursor, " ")
			if !listed {
				return Request{Path: "/v3/merchant-accounts"}, nil
			}
			account, _, _ := strings.Cut(accounts, ",")
			query := url.Values{"from": {rfc3339(q.From)}, "to": {rfc3339(q.To)}}
			if page != "" {
				query.Set("cursor", page)
			}
			return Request{
				Path: "/v3/merchant-accounts/" + segment(account) + "/transactions", Query: query,
				Header: http.Header{"Tl-Enable-Pagination": {"true"}},
			}, nil
		},
		read: func(_ ListQuery, a Answer) (items []Item, next string, err error) {
			var page object
			if err := decode(a.Body, &page); err != nil {
				return nil, "", err
			}
			if !strings.HasSuffix(a.Path, "/transactions") {
				var accounts []string
				for _, o := range page.objects("items") {
					if id := o.text("id"); opaqueID.MatchString(id) {
						accounts = append(accounts, id)
					}
				}
				if len(accounts) > 0 {
					next = strings.Join(accounts, ",") + " "
				}
				return nil, next, nil
			}
			for _, o := range page.objects("items") {
				i, err := truelayerItem(o)
				if err != nil {
					return nil, "", err
				}
				items = append(items, i)
			}
			accounts, _, _ := strings.Cut(a.Cursor, " ")
			if cursor := page.text("pagination.next_cursor"); cursor != "" {
				return items, accounts + " " + cursor, nil
			}
			if _, others, more := strings.Cut(accounts, ","); more {
				next = others + " "
			}
			return items, next, nil
		},
	}},
}

// truelayerMoves maps the type and status of a transaction to the field with the id of its
// payment, payout or refund, to the field with its time, and to the event type.
var truelayerMoves = map[string]struct {
	id, at string
	typ    schemas.Type
}{
	"merchant_account_payment settled": {"payment_id", "settled_at", schemas.PaymentCaptured},
	"payout executed":                  {"payout_id", "executed_at", schemas.PayoutSucceeded},
	"refund executed":                  {"refund_id", "executed_at", schemas.RefundSucceeded},
}

// truelayerItem returns the item of a transaction of a merchant account. Only one that is
// documented to have a webhook has facts.
func truelayerItem(o object) (Item, error) {
	kind := o.text("type") + " " + o.text("status")
	move := truelayerMoves[kind]
	at, err := timeOf(cmp.Or(o.text(move.at), o.text("executed_at"), o.text("settled_at"), o.text("created_at")))
	if err != nil {
		return Item{}, fmt.Errorf("a transaction %q: %w", kind, err)
	}
	i := Item{ID: o.text("id"), Type: kind, Time: at.UTC()}
	if id := o.text(move.id); move.typ != "" && id != "" {
		i.ID, i.Facts = id, []Fact{{ID: id, Type: move.typ}}
	}
	return i, nil
}
