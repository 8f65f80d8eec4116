package fetch

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// creation describes how a webhook endpoint is made at the processor.
type creation struct {
	docs string // URL of the processor's documentation of it
	keys string // which rights the writing key needs
	// versions says that an API version can be given.
	versions bool
	// secret returns a new signing secret, where the merchant chooses it. Nil means that the
	// processor makes it, or that the endpoint has none.
	secret func() string
	// without says what webhooks are verified with, in one line, if the endpoint has no
	// secret. It is empty if it has one.
	without string
	// setting names the setting of our endpoint that must have the id of the new one. It may
	// be empty.
	setting string
	// idempotent says that the request has a key with which the processor recognises it, so
	// that it can be sent again after a failure.
	idempotent bool
	// prepare returns a request whose answer the others need. Nil means none.
	prepare func(a API) Request
	// offered returns the event types that the answer to prepare offers. Nil means that the
	// answer does not have them.
	offered func(prepared Answer) ([]string, error)
	// requests returns the requests that make the endpoint. More than one is only for
	// processors whose endpoints have one event type each.
	requests func(a API, n NewHook, prepared Answer) ([]Request, error)
	// read reads the answer to one of the requests.
	read func(made object) Made
	// secretOf returns the request for the secret of an endpoint, which its answer has in
	// secretField. Nil means that only the answer of the request that makes the endpoint has
	// it.
	secretOf    func(a API, id string) Request
	secretField string
}

// NewHook is a webhook endpoint that is to be made.
type NewHook struct {
	URL        string   `json:"url"`
	Types      []string `json:"types,omitempty"`       // as the processor names them; none is all
	APIVersion string   `json:"api_version,omitempty"` // empty is the processor's default
	// Secret signs the webhooks, where the merchant chooses it: see [NewSecret].
	Secret string `json:"-"`
	// Settings are those of our endpoint.
	Settings map[string]string `json:"-"`
}

// Made is a webhook endpoint that was made.
type Made struct {
	Hook
	// Secret signs the webhooks. It is empty where the endpoint has no secret of its own.
	Secret string
	// Settings are settings that our endpoint needs.
	Settings map[string]string
}

// Creation says how [Caller.CreateHook] makes a webhook endpoint.
type Creation struct {
	Docs     string // URL of the processor's documentation of it
	Keys     string // which rights the writing key needs, in one line
	Versions bool   // [NewHook.APIVersion] can be given
	Chosen   bool   // the merchant chooses the secret: see [NewSecret]
	// Without says what webhooks are verified with, in one line, if the endpoint has no
	// secret. It is empty if it has one.
	Without string
}

// CreationOf returns how a connector's webhook endpoint is made, and whether it can be.
func CreationOf(connector string) (Creation, bool) {
	c := hooks[connector].create
	if c == nil {
		return Creation{}, false
	}
	return Creation{c.docs, c.keys, c.versions, c.secret != nil, c.without}, true
}

// CreatesEndpoints returns the names of the connectors whose endpoints can be made, sorted.
func CreatesEndpoints() []string {
	var all []string
	for _, connector := range slices.Sorted(maps.Keys(hooks)) {
		if hooks[connector].create != nil {
			all = append(all, connector)
		}
	}
	return all
}

// NewSecret returns a new signing secret from a secure source of random numbers; empty
// where the processor makes it, or where the endpoint has none.
func NewSecret(connector string) string {
	if c := hooks[connector].create; c != nil && c.secret != nil {
		return c.secret()
	}
	return ""
}

// ErrMaybeMade means that the endpoint was made, or may have been, but that something is
// missing: its secret, or the answer.
var ErrMaybeMade = errors.New("the webhook endpoint may exist at the processor")

// HookPlan is what is to be made, after the processor was asked what it has.
type HookPlan struct {
	New      NewHook
	LeftOut  []string // event types that the processor's API does not offer
	Existing *Hook    // with our address; nil if there is none
	// Nothing says that nothing is to be made: Existing is there.
	Nothing bool

	prepared Answer
}

// PlanHook asks the processor what it has, and returns what is to be made. It changes
// nothing. Errors are those of a list; an error wraps [ErrRequest] if the processor's API
// offers none of the event types.
func (c *Caller) PlanHook(ctx context.Context, connector string, a API, n NewHook) (p HookPlan, err error) {
	h := hooks[connector]
	p.New = n
	if p.New.Types, p.LeftOut, err = OfferedTypes(connector, n.Types); err != nil {
		return p, err
	}
	all, err := c.Hooks(ctx, connector, a)
	if err != nil {
		return p, err
	}
	if p.Existing, _, err = CheckHooks(connector, all, n.URL, nil); err != nil {
		return p, err
	}
	if p.Existing != nil && !h.single {
		p.Nothing = true
		return p, nil
	}
	if h.create.prepare != nil {
		if p.prepared, err = c.call(ctx, connector, a, h.create.prepare(a)); err != nil {
			return p, err
		}
	}
	if h.create.offered != nil {
		offered, err := h.create.offered(p.prepared)
		if err != nil {
			return p, fmt.Errorf("%s: its event types: %w", connectors[connector].host(a), err)
		}
		p.keep(func(t string) bool { return slices.Contains(offered, t) })
		if len(p.New.Types) == 0 {
			return p, errNoneOffered(connector)
		}
	}
	if p.Existing != nil {
		p.New.Types = slices.DeleteFunc(p.New.Types, SubscriptionsAt(all, n.URL))
		p.Nothing = len(p.New.Types) == 0
	}
	return p, nil
}

// keep moves the event types that are not to be kept to LeftOut.
func (p *HookPlan) keep(keep func(string) bool) {
	var kept []string
	for _, t := range p.New.Types {
		if keep(t) {
			kept = append(kept, t)
		} else {
			p.LeftOut = append(p.LeftOut, t)
		}
	}
	p.New.Types = kept
}

// CreateHook makes a webhook endpoint with the key of the API, which may write. A request
// that was refused has made nothing. After one whose answer is lost, CreateHook reads the
// processor's list of endpoints. An error wraps [ErrMaybeMade] if the list has the endpoint,
// or cannot be read; Made then has what is known of the endpoint. If the list does not have
// it, the error wraps [ErrUnavailable], and the endpoint may still appear later. The other
// errors are those of [Caller.call].
//
// Once a request is sent, ctx no longer ends the work: a secret is not lost by an
// interruption.
func (c *Caller) CreateHook(ctx context.Context, connector string, a API, p HookPlan) (made Made, err error) {
	create := hooks[connector].create
	requests, err := create.requests(a, p.New, p.prepared)
	if err != nil {
		return made, fmt.Errorf("%s: %w", connectors[connector].host(a), err)
	}
	for n, r := range requests {
		answer, err := c.write(ctx, connector, a, r, create.idempotent)
		var o object
		if err == nil {
			err = decode(answer.Body, &o)
		}
		if err == nil {
			if made = create.read(o); made.ID == "" {
				err = fmt.Errorf("%w: the answer has no id", ErrUnavailable)
			}
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrLimited):
			if made, err = c.lookAgain(ctx, connector, a, p, err); err != nil {
				return made, err
			}
			return c.complete(ctx, connector, a, p, made)
		case n > 0:
			return made, fmt.Errorf("%w: %d of %d event types are subscribed, and the next is not (run the command again for the rest): %w", ErrMaybeMade, n, len(requests), explain(err, a, p.New.Secret))
		}
		return made, explain(err, a, p.New.Secret)
	}
	return c.complete(ctx, connector, a, p, made)
}

// lookAgain looks whether the endpoint is there after a request whose answer is lost.
func (c *Caller) lookAgain(ctx context.Context, connector string, a API, p HookPlan, lost error) (made Made, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), followUpTimeout)
	defer cancel()
	all, err := c.Hooks(ctx, connector, a)
	if err != nil {
		return made, fmt.Errorf("%w: the answer is lost (%w), and the list of endpoints cannot be read (%w): look at the processor before you run the command again", ErrMaybeMade, lost, err)
	}
	ours, _, err := CheckHooks(connector, all, p.New.URL, nil)
	switch {
	case err != nil:
		return made, err
	case ours == nil:
		return made, fmt.Errorf("%w; the processor lists no endpoint that was made: run the command again", lost)
	}
	if hooks[connector].single {
		subscribed := SubscriptionsAt(all, p.New.URL)
		if slices.ContainsFunc(p.New.Types, func(t string) bool { return !subscribed(t) }) {
			return made, fmt.Errorf("%w: an answer is lost, and not all event types are subscribed: run the command again for the rest: %w", ErrMaybeMade, lost)
		}
	}
	return Made{Hook: *ours}, nil
}

// complete returns an endpoint that was made, with its secret.
func (c *Caller) complete(ctx context.Context, connector string, a API, p HookPlan, made Made) (Made, error) {
	create := hooks[connector].create
	if hooks[connector].single {
		made.Hook = Hook{ID: fmt.Sprintf("%d subscriptions", len(p.New.Types)), URL: p.New.URL, Enabled: true, Types: p.New.Types}
	}
	var err error
	switch {
	case create.without != "":
		if create.setting != "" {
			made.Settings = map[string]string{create.setting: made.ID}
		}
		return made, nil
	case create.secret != nil:
		made.Secret = p.New.Secret
	case made.Secret == "" && create.secretOf != nil:
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), followUpTimeout)
		defer cancel()
		var answer Answer
		if answer, err = c.call(ctx, connector, a, create.secretOf(a, made.ID)); err == nil {
			made.Secret = textAt(answer, create.secretField)
		}
	}
	if made.Secret == "" {
		return made, fmt.Errorf("%w: it has the id %s, but its signing secret did not come (%w): take the secret from the processor's dashboard, or delete the endpoint there and run the command again", ErrMaybeMade, made.ID, cmp.Or(err, errors.New("the answer does not have it")))
	}
	return made, nil
}

// followUpTimeout limits the requests that follow the one that makes an endpoint.
const followUpTimeout = 2 * time.Minute

// writeAttempts is how often a request that makes an endpoint is sent, where the processor
// recognises it.
const writeAttempts = 3

// write sends a request that makes an endpoint. It sends it again only after an answer that
// says that nothing was done, or if it is idempotent. An attempt whose answer is lost may have
// made the endpoint: its error is returned, whatever the attempts after it give, unless one of
// them succeeds.
func (c *Caller) write(ctx context.Context, connector string, a API, r Request, idempotent bool) (Answer, error) {
	spec := connectors[connector]
	h, limiter := c.setup(connector, spec.host(a), cmp.Or(spec.Rate, DefaultRate))
	var lost error // of an attempt that may have made the endpoint
	for attempt := 1; ; attempt++ {
		if err := c.sleep(ctx, limiter.Reserve().Delay()); err != nil {
			return Answer{}, cmp.Or(lost, err)
		}
		answer, err := c.send(context.WithoutCancel(ctx), h, spec, connector, a, a.Keys[0], r)
		var limited *LimitedError
		wait := time.Second
		switch {
		case err == nil:
			return answer, nil
		case errors.As(err, &limited):
			if attempt == callAttempts {
				return Answer{}, cmp.Or(lost, err)
			}
			wait = limited.RetryAfter
		case errors.Is(err, ErrUnavailable):
			lost = err
			if !idempotent || attempt >= writeAttempts {
				return Answer{}, lost
			}
		default:
			return Answer{}, cmp.Or(lost, err)
		}
		if c.sleep(ctx, wait) != nil {
			return Answer{}, cmp.Or(lost, err)
		}
	}
}

// explain adds what the processor says to the error of a refused request, without our keys
// and without the secret that we chose.
func explain(err error, a API, secret string) error {
	var r *refusal
	if !errors.As(err, &r) {
		return err
	}
	var value any
	if json.Unmarshal(r.body, &value) != nil {
		return err
	}
	said := messages(value, 0)
	if len(said) == 0 {
		return err
	}
	text := strings.Join(slices.Compact(said[:min(len(said), 5)]), "; ")
	for _, k := range append(slices.Clone(a.Keys), Key{Value: secret}) {
		if k.Value != "" {
			text = strings.ReplaceAll(text, k.Value, "…")
		}
	}
	shown := []rune(strings.Join(strings.Fields(text), " ")) // in one line
	return fmt.Errorf("%w; the processor says: %s", err, string(shown[:min(len(shown), 500)]))
}

// messageFields are the fields in which processors say why they refuse a request.
var messageFields = []string{"message", "detail", "description", "title", "issue", "msg", "error_codes", "errors", "error", "details", "invalidFields", "fields"}

// messages returns the texts in the fields that say why a request is refused.
func messages(value any, depth int) (all []string) {
	if depth > 4 {
		return nil
	}
	switch v := value.(type) {
	case string:
		return []string{v}
	case []any:
		for _, one := range v {
			all = append(all, messages(one, depth+1)...)
		}
	case map[string]any:
		for _, name := range messageFields {
			if field, ok := v[name]; ok {
				all = append(all, messages(field, depth+1)...)
			}
		}
		if len(all) == 0 && depth > 0 { // Shopify names the field that is wrong
			for _, name := range slices.Sorted(maps.Keys(v)) {
				for _, text := range messages(v[name], depth+1) {
					all = append(all, name+" "+text)
				}
			}
		}
	}
	return all
}

// jsonRequest returns a request with a JSON body.
func jsonRequest(path string, body any) Request {
	b, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		panic(err) // the bodies are maps, lists and texts
	}
	return Request{Method: http.MethodPost, Path: path, Header: jsonBody, Body: b}
}

// formRequest returns a request with a form as its body.
func formRequest(path string, form url.Values) Request {
	return Request{Method: http.MethodPost, Path: path, Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, Body: []byte(form.Encode())}
}

// textAt returns a text field of an answer; empty if there is none.
func textAt(a Answer, path string) string {
	var o object
	if decode(a.Body, &o) != nil {
		return ""
	}
	return o.text(path)
}

// newIdempotencyKey returns a random text by which a processor recognises a request that
// comes again.
func newIdempotencyKey() string { return rand.Text() }

// hookName is the name or description of the endpoints that are made.
const hookName = "tollbridge"

// randomText returns a secret with 260 random bits in letters and digits.
func randomText() string { return rand.Text() + rand.Text() }

// standardSecret returns a secret in the form of Standard Webhooks, with 256 random bits.
func standardSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails
	return "whsec_" + base64.StdEncoding.EncodeToString(b)
}
