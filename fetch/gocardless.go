package fetch

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// gocardless fetches the payments, refunds and payouts of a webhook's events. A webhook
// has up to 250 events. If they are about several payments, one request asks for the
// payment events of their time with the payments themselves, and the same for refunds and
// payouts. Payments that are missing in the answer are asked for one by one if they are
// few, and otherwise with the next page of events.
//
// GoCardless allows 1,000 requests a minute with one token.
//
// https://developer.gocardless.com/api-reference/#events-list-events
// https://developer.gocardless.com/api-reference/#payments-get-a-single-payment
// https://github.com/gocardless/gocardless-pro-go, event_service.go
var gocardless = Connector{
	Docs:  "https://developer.gocardless.com/api-reference/#events-list-events",
	Lost:  "events have no amount, and refunds may not name their payment",
	Must:  true,
	Keys:  "a read-only access token: Developers, Create, Access token",
	Hosts: map[Environment]string{Live: "api.gocardless.com", Sandbox: "api-sandbox.gocardless.com"},
	Rate:  1000. / 60 / 2,
	plan:  gocardlessPlan,
	then:  gocardlessThen,
	check: gocardlessCheck,
	// A request that it finds invalid is as good as one for an object that it does not
	// know: sent again, it would be invalid again.
	unknown: func(status int, _ []byte) bool { return status == http.StatusUnprocessableEntity },
}

// gocardlessKinds are the types of resources that are fetched, with the name of one.
var gocardlessKinds = []struct{ many, one string }{
	{"payments", "payment"}, {"refunds", "refund"}, {"payouts", "payout"}, {"outbound_payments", "outbound_payment"},
}

// gocardlessNoEvent are the events that become no event of ours, although they are about
// a payment or a refund.
var gocardlessNoEvent = map[string]bool{
	"payments.paid_out": true, "refunds.refund_settled": true, "refunds.funds_returned": true,
}

// gocardlessWanted are the ids of one type in a webhook, and the times of their events.
type gocardlessWanted struct {
	ids         []string
	first, last time.Time
}

// gocardlessWants returns what the events of a webhook are about, by type.
func gocardlessWants(payload []byte) (map[string]*gocardlessWanted, error) {
	var batch object
	if err := decode(payload, &batch); err != nil {
		return nil, err
	}
	all := map[string]*gocardlessWanted{}
	for _, e := range batch.objects("events") {
		kind := e.text("resource_type")
		i := slices.IndexFunc(gocardlessKinds, func(k struct{ many, one string }) bool { return k.many == kind })
		if i < 0 || gocardlessNoEvent[kind+"."+e.text("action")] {
			continue
		}
		id := e.text("links." + gocardlessKinds[i].one)
		at, err := time.Parse(time.RFC3339, e.text("created_at"))
		if !opaqueID.MatchString(id) || err != nil {
			continue
		}
		w := all[kind]
		if w == nil {
			w = &gocardlessWanted{first: at, last: at}
			all[kind] = w
		}
		if at.Before(w.first) {
			w.first = at
		}
		if at.After(w.last) {
			w.last = at
		}
		if !slices.Contains(w.ids, id) {
			w.ids = append(w.ids, id)
		}
	}
	return all, nil
}

func gocardlessPlan(w Webhook, _ API) (all []Request, err error) {
	wants, err := gocardlessWants(w.Payload)
	if err != nil {
		return nil, err
	}
	for _, kind := range gocardlessKinds {
		switch want := wants[kind.many]; {
		case want == nil:
		case len(want.ids) == 1:
			all = append(all, gocardlessOne(kind.many, kind.one, want.ids[0]))
		default:
			all = append(all, gocardlessEvents(kind.many, kind.one, *want, ""))
		}
	}
	return all, nil
}

// gocardlessOne returns the request for one resource.
func gocardlessOne(many, one, id string) Request {
	return Request{Name: one + "/" + id, Path: "/" + many + "/" + segment(id), Header: gocardlessHeader()}
}

// gocardlessEvents returns the request for the events of a type with their resources.
func gocardlessEvents(many, one string, want gocardlessWanted, after string) Request {
	q := url.Values{
		"resource_type":   {many},
		"include":         {one},
		"created_at[gte]": {want.first.UTC().Format(time.RFC3339Nano)},
		"created_at[lte]": {want.last.UTC().Format(time.RFC3339Nano)},
		"limit":           {"500"},
	}
	name := "events/" + many
	if after != "" {
		q.Set("after", after)
		name += "-after-" + after
	}
	return Request{Name: name, Path: "/events", Query: q, Header: gocardlessHeader()}
}

func gocardlessHeader() http.Header {
	return http.Header{"Gocardless-Version": {"2015-07-06"}}
}

// gocardlessThen returns the requests for resources that the lists of events lack.
func gocardlessThen(w Webhook, _ API, answers []schemas.Fetched) (all []Request, err error) {
	wants, err := gocardlessWants(w.Payload)
	if err != nil {
		return nil, err
	}
	for _, a := range answers {
		many, isList := strings.CutPrefix(a.Name, "events/")
		i := slices.IndexFunc(gocardlessKinds, func(k struct{ many, one string }) bool { return k.many == many })
		if !isList || i < 0 || a.Status != http.StatusOK || wants[many] == nil {
			continue
		}
		var list object
		if err := decode(a.Body, &list); err != nil {
			return nil, err
		}
		missing := slices.Clone(wants[many].ids)
		for _, resource := range list.object("linked").objects(many) {
			missing = slices.DeleteFunc(missing, func(id string) bool { return id == resource.text("id") })
		}
		left := maxRequests - len(answers) - len(all)
		after := list.object("meta").text("cursors.after")
		switch {
		case len(missing) == 0 || left <= 0:
		case len(missing) <= left:
			for _, id := range missing {
				all = append(all, gocardlessOne(many, gocardlessKinds[i].one, id))
			}
		case opaqueID.MatchString(after):
			all = append(all, gocardlessEvents(many, gocardlessKinds[i].one, *wants[many], after))
		}
	}
	return all, nil
}

func gocardlessCheck(_ Webhook, _ API, f schemas.Fetched) error {
	var d object
	if err := decode(f.Body, &d); err != nil {
		return err
	}
	one, _, _ := strings.Cut(f.Name, "/")
	for _, kind := range gocardlessKinds {
		if kind.one == one {
			return checkID(f, d.object(kind.many).text("id"))
		}
	}
	if d["events"].Kind() != jsontext.KindBeginArray {
		return fmt.Errorf("%w: the answer has no events", ErrUnavailable)
	}
	return nil
}
