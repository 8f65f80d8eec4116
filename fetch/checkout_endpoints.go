package fetch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// checkoutHook reads the workflows with a webhook action. The list has only their ids, so
// that each is read by itself: the cursor has the ids that are left.
//
// https://api-reference.checkout.com/#operation/getAllWorkflows
// https://github.com/checkout/checkout-sdk-go, workflows/workflows.go
var checkoutHook = hook{
	keys: "a secret API key (sk_…) with the scope flow:workflows",
	request: func(_ API, cursor string) (Request, error) {
		if cursor == "" {
			return Request{Path: checkoutWorkflows}, nil
		}
		id, _, _ := strings.Cut(cursor, ",")
		return Request{Path: checkoutWorkflows + "/" + segment(id)}, nil
	},
	read: func(_ API, a Answer) (all []Hook, next string, err error) {
		var o object
		if err := decode(a.Body, &o); err != nil {
			return nil, "", err
		}
		if a.Cursor == "" {
			var ids []string
			for _, w := range o.objects("data") {
				id := w.text("id")
				if !opaqueID.MatchString(id) {
					return nil, "", fmt.Errorf("%w: a workflow has the id %q", ErrUnavailable, id)
				}
				ids = append(ids, id)
			}
			return nil, strings.Join(ids, ","), nil
		}
		h := Hook{ID: o.text("id"), Enabled: o.text("active") == "true", AllTypes: true}
		for _, c := range o.objects("conditions") {
			if c.text("type") == "event" {
				h.AllTypes = false
				h.Types = append(h.Types, checkoutTypes(c.object("events"))...)
			}
		}
		for _, action := range o.objects("actions") {
			if action.text("type") == "webhook" {
				h.URL = action.text("url")
				all = append(all, h)
			}
		}
		_, next, _ = strings.Cut(a.Cursor, ",")
		return all, next, nil
	},
	create: &checkoutCreation,
}

// checkoutCreation makes a workflow with a condition for the event types that Checkout.com
// offers, and a webhook action that signs with our secret. One unknown event type would make
// Checkout.com refuse the workflow.
//
// https://api-reference.checkout.com/#operation/addWorkflow
// https://api-reference.checkout.com/#operation/getEventTypes
// https://www.checkout.com/docs/developer-resources/webhooks/manage-webhooks
var checkoutCreation = creation{
	docs:    "https://api-reference.checkout.com/#operation/addWorkflow",
	keys:    "a secret API key (sk_…) with the scope flow:workflows",
	secret:  randomText,
	prepare: func(API) Request { return Request{Path: checkoutWorkflows + "/event-types"} },
	offered: func(prepared Answer) (all []string, err error) {
		bySource, err := checkoutOffered(prepared)
		for _, types := range bySource {
			all = append(all, types...)
		}
		return all, err
	},
	requests: func(_ API, n NewHook, prepared Answer) ([]Request, error) {
		bySource, err := checkoutOffered(prepared)
		if err != nil {
			return nil, err
		}
		events := map[string][]string{}
		for _, t := range n.Types {
			for source, types := range bySource {
				if slices.Contains(types, t) {
					events[source] = append(events[source], t)
				}
			}
		}
		return []Request{jsonRequest(checkoutWorkflows, map[string]any{
			"name": hookName, "active": true,
			"conditions": []any{map[string]any{"type": "event", "events": events}},
			"actions":    []any{map[string]any{"type": "webhook", "url": n.URL, "signature": map[string]string{"method": "HMACSHA256", "key": n.Secret}}},
		})}, nil
	},
	read: func(o object) Made {
		return Made{Hook: Hook{ID: o.text("id"), Enabled: true}}
	},
}

// checkoutOffered returns the event types by their source.
func checkoutOffered(a Answer) (bySource map[string][]string, err error) {
	var sources []object
	if err := decode(a.Body, &sources); err != nil {
		return nil, err
	}
	bySource = map[string][]string{}
	for _, s := range sources {
		for _, e := range s.objects("events") {
			bySource[s.text("id")] = append(bySource[s.text("id")], e.text("id"))
		}
	}
	return bySource, nil
}

const checkoutWorkflows = "/workflows"

// checkoutTypes returns the event types of all sources, sorted.
func checkoutTypes(bySource map[string]jsontext.Value) (all []string) {
	for source := range bySource {
		all = append(all, object(bySource).strings(source)...)
	}
	slices.Sort(all)
	return all
}
