package fetch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// hooks are the processors whose API has the webhook endpoints, by connector. Each has
// one line here and a file NAME_endpoints.go.
var hooks = map[string]hook{
	"btcpay":          btcpayHook,
	"lithic":          lithicHook,
	"modern-treasury": modernTreasuryHook,
	"paddle":          paddleHook,
	"paypal":          paypalHook,
	"square":          squareHook,
	"stripe":          stripeHook,
}

// hook describes how the webhook endpoints are read that the processor has.
type hook struct {
	docs string
	keys string // which rights the key needs
	// request returns the request for a page. The cursor is empty for the first page.
	request func(a API, cursor string) (Request, error)
	// read returns the endpoints of a page, and the cursor of the next page.
	read func(a API, answer Answer) (all []Hook, next string, err error)
}

// Hook is a webhook endpoint as the processor has it.
type Hook struct {
	ID         string   `json:"id"`
	URL        string   `json:"url"`
	Enabled    bool     `json:"enabled"`
	Types      []string `json:"types,omitempty"` // the event types, as the processor names them
	AllTypes   bool     `json:"all_types,omitempty"`
	APIVersion string   `json:"api_version,omitempty"`
	Trouble    string   `json:"trouble,omitempty"` // what the processor says about it, such as failures
}

// SubscribedTo reports whether the endpoint gets an event type of the processor.
func (h Hook) SubscribedTo(eventType string) bool {
	return h.AllTypes || slices.Contains(h.Types, eventType)
}

// ChecksEndpoints returns the names of the connectors whose endpoints can be checked,
// sorted.
func ChecksEndpoints() []string { return slices.Sorted(maps.Keys(hooks)) }

// EndpointKeys returns which rights the key needs to read a connector's endpoints, and
// whether they can be read.
func EndpointKeys(connector string) (keys string, ok bool) {
	h, ok := hooks[connector]
	return h.keys, ok
}

// maxHookPages bounds how many pages of endpoints are read.
const maxHookPages = 50

// Hooks returns the webhook endpoints that the processor has. Errors are those of a list.
func (c *Caller) Hooks(ctx context.Context, connector string, a API) (all []Hook, err error) {
	h, ok := hooks[connector]
	if !ok {
		return nil, fmt.Errorf("the API of %s does not have its webhook endpoints", connector)
	}
	cursor := ""
	for range maxHookPages {
		r, err := h.request(a, cursor)
		if err != nil {
			return nil, err
		}
		answer, err := c.call(ctx, connector, a, r)
		if err != nil {
			return nil, err
		}
		page, next, err := h.read(a, answer)
		if err != nil {
			return nil, fmt.Errorf("%s: its webhook endpoints: %w", connectors[connector].host(a), err)
		}
		all = append(all, page...)
		if next == "" || next == cursor {
			break
		}
		cursor = next
	}
	return all, nil
}

// CheckHooks compares the endpoints that the processor has with ours, and returns what to
// change; nothing if all is well. types are the event types that ours should get, as the
// processor names them.
func CheckHooks(all []Hook, address string, types []string) (ours *Hook, findings []string, err error) {
	if address == "" {
		return nil, nil, errors.New("the endpoint's address is unknown: set url or public_url")
	}
	var same []Hook
	for _, h := range all {
		if sameAddress(h.URL, address) {
			same = append(same, h)
		}
	}
	slices.SortStableFunc(same, func(a, b Hook) int {
		switch {
		case a.Enabled == b.Enabled:
			return 0
		case a.Enabled:
			return -1
		}
		return 1
	})
	if len(same) == 0 {
		text := "the processor has no webhook endpoint with this address: create one"
		if len(all) > 0 {
			text += fmt.Sprintf("; it has %d others, such as %s", len(all), all[0].URL)
		}
		return nil, []string{text}, nil
	}
	h := same[0]
	if !h.Enabled {
		findings = append(findings, h.ID+" is disabled: enable it")
	}
	if h.Enabled && len(same) > 1 && same[1].Enabled {
		findings = append(findings, fmt.Sprintf("%d endpoints have this address: each webhook comes as often; keep one", len(same)))
	}
	var missing []string
	for _, t := range types {
		if !h.SubscribedTo(t) {
			missing = append(missing, t)
		}
	}
	if len(missing) > 0 {
		findings = append(findings, fmt.Sprintf("%s is not subscribed to %s", h.ID, strings.Join(missing, ", ")))
	}
	if h.Trouble != "" {
		findings = append(findings, h.ID+": "+h.Trouble)
	}
	return &h, findings, nil
}

// strings returns the texts of the array in the field.
func (o object) strings(name string) (all []string) {
	if v := o[name]; len(v) == 0 || decode(v, &all) != nil {
		return nil
	}
	return all
}
