package fetch

import (
	"cmp"
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
	"adyen":           adyenHook,
	"btcpay":          btcpayHook,
	"checkout":        checkoutHook,
	"lithic":          lithicHook,
	"modern-treasury": modernTreasuryHook,
	"mollie":          mollieHook,
	"paddle":          paddleHook,
	"paypal":          paypalHook,
	"razorpay":        razorpayHook,
	"shopify":         shopifyHook,
	"square":          squareHook,
	"stripe":          stripeHook,
	"svix":            svixHook,
}

// hook describes how the processor's webhook endpoints are read and made.
type hook struct {
	keys string // which rights the key needs
	// note says, in one line, when a webhook needs no endpoint at the processor. It may be
	// empty.
	note string
	// unsigned says, in one line, why an endpoint of ours without a secret has none at the
	// processor. It is empty where it has one all the same.
	unsigned string
	// single says that an endpoint of the processor has one event type. Those with one
	// address are then taken as one endpoint, with the event types of all.
	single bool
	// offers reports whether the API offers an event type of the processor. Nil means that
	// it offers all.
	offers func(eventType string) bool
	// request returns the request for a page. The cursor is empty for the first page.
	request func(a API, cursor string) (Request, error)
	// read returns the endpoints of a page, and the cursor of the next page.
	read func(a API, answer Answer) (all []Hook, next string, err error)
	// create says how an endpoint is made. Nil means that no documented API makes one.
	create *creation
}

// Hook is a webhook endpoint as the processor has it.
type Hook struct {
	ID         string   `json:"id"`
	URL        string   `json:"url"`
	Enabled    bool     `json:"enabled"`
	Types      []string `json:"types,omitempty"` // the event types, as the processor names them
	AllTypes   bool     `json:"all_types,omitempty"`
	Excluded   []string `json:"excluded_types,omitempty"` // the event types that it never gets
	APIVersion string   `json:"api_version,omitempty"`
	Trouble    string   `json:"trouble,omitempty"` // what the processor says about it, such as failures
}

// SubscribedTo reports whether the endpoint gets an event type of the processor.
func (h Hook) SubscribedTo(eventType string) bool {
	return (h.AllTypes || slices.Contains(h.Types, eventType)) && !slices.Contains(h.Excluded, eventType)
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

// HasNoHook says why an endpoint of ours has none at the processor, although the
// processor's API has endpoints; empty if it should have one. signed says that ours has a
// secret.
func HasNoHook(connector string, signed bool) string {
	if signed {
		return ""
	}
	return hooks[connector].unsigned
}

// byHand says, in one line, where a webhook endpoint is made at processors whose API cannot
// make one, or does not document it.
var byHand = map[string]string{
	"adyen-platform":  "Adyen's Customer Area, Developers, Webhooks",
	"braintree":       "Braintree's Control Panel, Settings, Webhooks",
	"gocardless":      "GoCardless has no API for webhook endpoints; its dashboard has: Developers, Create, Webhook endpoint. You choose the secret there",
	"mercadopago":     "Mercado Pago, Your integrations, the application, Webhooks, Configure notifications",
	"modern-treasury": "Modern Treasury's app, Developers, Webhooks",
	"paystack":        "Paystack's dashboard, Settings, API Keys & Webhooks. It is signed with the secret key",
	"razorpay":        "Razorpay's dashboard, Account & Settings, Webhooks. You choose the secret there",
	"recurly":         "Recurly's app, Integrations, Webhooks",
}

// EndpointByHand says where a person makes the webhook endpoint, in one line; empty if
// tollbridge does not know.
func EndpointByHand(connector string) string { return byHand[connector] }

// maxHookPages is how many pages of endpoints are read at most.
const maxHookPages = 200

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
		answer.Cursor = cursor
		page, next, err := h.read(a, answer)
		if err != nil {
			return nil, fmt.Errorf("%s: its webhook endpoints: %w", connectors[connector].host(a), err)
		}
		all = append(all, page...)
		switch {
		case next == "", next == cursor && len(page) == 0:
			if h.single {
				all = joined(all)
			}
			return all, nil
		case next == cursor: // what follows would be left out
			return nil, fmt.Errorf("%s: its webhook endpoints: %w: a page names itself as the next one", connectors[connector].host(a), ErrUnavailable)
		}
		cursor = next
	}
	return nil, fmt.Errorf("%s: it lists its webhook endpoints on more than %d pages: delete those that are not used", connectors[connector].host(a), maxHookPages)
}

// joined returns the endpoints with each address as one endpoint, which has the event
// types of all.
func joined(all []Hook) (byAddress []Hook) {
	for _, h := range all {
		n := slices.IndexFunc(byAddress, func(one Hook) bool { return one.URL == h.URL })
		if n < 0 {
			h.ID = "the app"
			byAddress = append(byAddress, h)
			continue
		}
		one := &byAddress[n]
		one.Types, one.Trouble = append(one.Types, h.Types...), cmp.Or(one.Trouble, h.Trouble)
	}
	return byAddress
}

// OfferedTypes returns the event types that the processor's API offers, and the others. An
// error wraps [ErrRequest]: there are event types, and it offers none of them.
func OfferedTypes(connector string, types []string) (offered, others []string, err error) {
	offers := hooks[connector].offers
	for _, t := range types {
		if offers == nil || offers(t) {
			offered = append(offered, t)
		} else {
			others = append(others, t)
		}
	}
	if len(types) > 0 && len(offered) == 0 {
		err = errNoneOffered(connector)
	}
	return offered, others, err
}

func errNoneOffered(connector string) error {
	return fmt.Errorf("%w: the API of %s offers none of the event types", ErrRequest, connector)
}

// CheckHooks compares the endpoints that the processor has with ours, and returns what to
// change; nothing if all is well. types are the event types that ours should get, as the
// processor names them.
func CheckHooks(connector string, all []Hook, address string, types []string) (ours *Hook, findings []string, err error) {
	if address == "" {
		return nil, nil, errors.New("the endpoint's address is unknown: set url or public_url")
	}
	same := hooksAt(all, address)
	if len(same) == 0 {
		text := "the processor has no webhook endpoint with this address: create one"
		if len(all) > 0 {
			text += fmt.Sprintf("; it has %d others, such as %s", len(all), all[0].URL)
		}
		if note := hooks[connector].note; note != "" {
			text += "; " + note
		}
		return nil, []string{text}, nil
	}
	h := same[0]
	if !h.Enabled {
		findings = append(findings, h.ID+" is disabled: enable it")
	}
	types, _, _ = OfferedTypes(connector, types) // if it offers none, none is missing
	if a, b, ok := duplicates(same, types); ok {
		findings = append(findings, fmt.Sprintf("%s and %s have this address and event types in common, whose webhooks come twice: keep one", a, b))
	}
	subscribed := SubscriptionsAt(same, address)
	if missing := slices.DeleteFunc(types, subscribed); len(missing) > 0 {
		findings = append(findings, fmt.Sprintf("%s is not subscribed to %s", h.ID, strings.Join(missing, ", ")))
	}
	for _, one := range same {
		if one.Trouble != "" && (one.Enabled || !h.Enabled) {
			findings = append(findings, one.ID+": "+one.Trouble)
		}
	}
	return &h, findings, nil
}

// hooksAt returns the endpoints with the address, the enabled ones first.
func hooksAt(all []Hook, address string) (same []Hook) {
	for _, enabled := range []bool{true, false} {
		for _, h := range all {
			if h.Enabled == enabled && sameAddress(h.URL, address) {
				same = append(same, h)
			}
		}
	}
	return same
}

// SubscriptionsAt returns a function that reports whether an event type comes to the address:
// whether an enabled endpoint that has the address is subscribed to it. If those that have it
// are all disabled, they count as enabled: their webhooks should come. It returns nil if no
// endpoint has the address.
func SubscriptionsAt(all []Hook, address string) func(eventType string) bool {
	same := hooksAt(all, address)
	if len(same) == 0 {
		return nil
	}
	return func(eventType string) bool {
		return slices.ContainsFunc(same, func(h Hook) bool { return h.Enabled == same[0].Enabled && h.SubscribedTo(eventType) })
	}
}

// duplicates returns the ids of two enabled endpoints that get one event type, and whether
// there are two. types are event types that they may have in common.
func duplicates(all []Hook, types []string) (first, second string, ok bool) {
	for n, a := range all {
		for _, b := range all[n+1:] {
			both := func(t string) bool { return a.SubscribedTo(t) && b.SubscribedTo(t) }
			common := a.AllTypes && b.AllTypes || slices.ContainsFunc(slices.Concat(types, a.Types, b.Types), both)
			if a.Enabled && b.Enabled && common {
				return a.ID, b.ID, true
			}
		}
	}
	return "", "", false
}

// strings returns the texts of the array in the field.
func (o object) strings(name string) (all []string) {
	if v := o[name]; len(v) == 0 || decode(v, &all) != nil {
		return nil
	}
	return all
}
