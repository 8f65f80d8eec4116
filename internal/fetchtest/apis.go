package fetchtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Key is the key that the APIs of this file accept.
const Key = "rk_test_71demo71"

// Stripe answers as GET /v1/events does: newest first, in pages of at most limit events,
// after the event that starting_after names; and as GET /v1/events/{id}. The events are the
// newest first. The tests of module differential let Stripe's own library talk to it.
//
// https://docs.stripe.com/api/events/list and https://docs.stripe.com/api/pagination
func Stripe(t testing.TB, events []string) http.HandlerFunc {
	type about struct {
		ID      string
		Created int64
	}
	read := func(e string) (a about) {
		if err := json.Unmarshal([]byte(e), &a); err != nil {
			t.Errorf("the event %s: %v", e, err)
		}
		return a
	}
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Method != http.MethodGet || r.Host != "api.stripe.com" || r.Header.Get("Authorization") != "Bearer "+Key {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if id, ok := strings.CutPrefix(r.URL.Path, "/v1/events/"); ok {
			n := slices.IndexFunc(events, func(e string) bool { return read(e).ID == id })
			if n < 0 {
				w.WriteHeader(http.StatusNotFound)
				fmt.Fprintf(w, `{"error":{"code":"resource_missing","message":"No such event: '%s'","param":"id","type":"invalid_request_error"}}`, id)
				return
			}
			fmt.Fprint(w, events[n])
			return
		}
		limit, _ := strconv.Atoi(q.Get("limit"))
		gte, err1 := strconv.ParseInt(q.Get("created[gte]"), 10, 64)
		lte, err2 := strconv.ParseInt(q.Get("created[lte]"), 10, 64)
		if r.URL.Path != "/v1/events" || limit < 1 || limit > 100 || err1 != nil || err2 != nil {
			t.Errorf("bad request %s", r.URL)
		}
		var selected []json.RawMessage
		after := q.Get("starting_after")
		found := after == ""
		for _, e := range events {
			x := read(e)
			if found && x.Created >= gte && x.Created <= lte {
				selected = append(selected, json.RawMessage(e))
			}
			found = found || x.ID == after
			if len(selected) > limit {
				break
			}
		}
		more := len(selected) > limit
		_ = json.NewEncoder(w).Encode(map[string]any{"object": "list", "url": "/v1/events", "has_more": more, "data": selected[:min(limit, len(selected))]})
	}
}

// MercadoPago answers as GET /v1/payments/search does: the payments that were changed in a
// range of time, the latest change first, in pages, without their refunds; and as GET
// /v1/payments/{id}, with them. The search has no more than the documented filters, and
// refuses an offset of more than 1,000, as one that tollbridge should not use. The tests of
// module differential let Mercado Pago's own library talk to it.
//
// https://www.mercadopago.com.br/developers/en/reference/payments/_payments_search/get
// https://www.mercadopago.com.br/developers/en/reference/payments/_payments_id/get
func MercadoPago(t testing.TB, payments []string) http.HandlerFunc {
	type payment = map[string]json.RawMessage
	read := func(text string) (p payment, id string, changed time.Time) {
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Errorf("the payment %s: %v", text, err)
		}
		if err := json.Unmarshal(p["date_last_updated"], &changed); err != nil {
			t.Errorf("the payment %s: %v", text, err)
		}
		return p, string(p["id"]), changed
	}
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Method != http.MethodGet || r.Host != "api.mercadopago.com" || r.Header.Get("Authorization") != "Bearer "+Key {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if id := strings.TrimPrefix(r.URL.Path, "/v1/payments/"); id != "search" {
			for _, text := range payments {
				if _, found, _ := read(text); found == id {
					fmt.Fprint(w, text)
					return
				}
			}
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message":"Payment not found","error":"not_found","status":404,"cause":[{"code":2000,"description":"Payment not found"}]}`)
			return
		}
		begin, err1 := time.Parse(time.RFC3339, q.Get("begin_date"))
		end, err2 := time.Parse(time.RFC3339, q.Get("end_date"))
		limit, err3 := strconv.Atoi(q.Get("limit"))
		offset, err4 := strconv.Atoi(q.Get("offset"))
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil || offset > 1000 || q.Get("range") != "date_last_updated" || q.Get("sort") != "date_last_updated" || q.Get("criteria") != "desc" {
			t.Errorf("bad request %s", r.URL)
		}
		total, results := 0, []payment{}
		for _, text := range payments {
			p, _, changed := read(text)
			if changed.Before(begin) || changed.After(end) {
				continue
			}
			if total++; total > offset && len(results) < limit {
				delete(p, "refunds")
				results = append(results, p)
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"paging": map[string]int{"total": total, "limit": limit, "offset": offset}, "results": results})
	}
}

// Paddle answers as GET /events does: the latest first, in pages of at most per_page
// events, after the event that after names. The events are the latest first. The tests of
// module differential let Paddle's own library talk to it.
//
// https://developer.paddle.com/api-reference/events/list-events
func Paddle(t testing.TB, events []json.RawMessage) http.HandlerFunc {
	id := func(e json.RawMessage) (id string) {
		var about struct {
			ID string `json:"event_id"`
		}
		if err := json.Unmarshal(e, &about); err != nil {
			t.Errorf("the event %s: %v", e, err)
		}
		return about.ID
	}
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Host != "api.paddle.com" || r.Header.Get("Authorization") != "Bearer "+Key {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		size, err := strconv.Atoi(q.Get("per_page"))
		if err != nil || size < 1 || size > 200 || r.URL.Path != "/events" || r.Method != http.MethodGet || q.Get("order_by") != "id[DESC]" {
			t.Errorf("bad request %s %s", r.Method, r.URL)
		}
		rest := events
		if after := q.Get("after"); after != "" {
			rest = events[1+slices.IndexFunc(events, func(e json.RawMessage) bool { return id(e) == after }):]
		}
		page := rest[:min(size, len(rest))]
		next := *r.URL
		next.Scheme, next.Host = "https", r.Host
		if len(page) > 0 {
			q.Set("after", id(page[len(page)-1]))
		}
		next.RawQuery = q.Encode()
		_ = json.NewEncoder(w).Encode(map[string]any{
			"data": page,
			"meta": map[string]any{"request_id": "req-71", "pagination": map[string]any{"per_page": size, "next": next.String(), "has_more": len(rest) > len(page), "estimated_total": len(events)}},
		})
	}
}
