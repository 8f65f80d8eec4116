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
	docs: "https://api-reference.checkout.com/#operation/getAllWorkflows",
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
