// Package webhook verifies and normalises one webhook, without a server and
// without Kafka. A program that receives its webhooks itself needs only
// [HandleEvent]:
//
//	endpoint := webhook.Endpoint{
//		Connector: "stripe",
//		Live:      true,
//		Keys:      verify.Keys{Secrets: []verify.Secret{{Name: "main", Value: "whsec_…"}}},
//	}
//	request := verify.Request{Method: r.Method, Header: r.Header, Body: body}
//	events, err := webhook.HandleEvent(ctx, endpoint, request)
//	// events[0].Type == schemas.PaymentCaptured
//	// events[0].Data.MerchantTransactionID == "order-43"
//
// The package also defines the record of an archived webhook, which it writes
// and reads: see [Archived].
package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// ErrNoEvent means that a webhook is verified and readable, and reports nothing
// that tollbridge has an event type for.
var ErrNoEvent = errors.New("no event")

// keyring keeps the public keys that [HandleEvent] fetched.
var keyring verify.Keyring

// fetcher asks the APIs for endpoints without [Endpoint.Fetcher].
var fetcher fetch.Client

// HandleEvent verifies a request to an endpoint and returns its events, at least
// one. It publishes nothing. The request's body must be the exact bytes that
// were received. Some connectors also need its URL, or settings in the
// endpoint's keys: see [verify.Lookup] and [Settings]. For a connector whose
// public keys must be fetched, HandleEvent fetches them and keeps them. If the endpoint
// has an API, HandleEvent asks it for what the webhook only names.
//
// The error wraps a [verify.Reason] if the webhook is not verified, an error of package
// fetch if the API does not answer,
// [normalize.ErrMalformed] if an item of it is not what the processor documents,
// and [ErrNoEvent] if it has no event. With [normalize.ErrMalformed] the events
// of the other items are returned, too.
func HandleEvent(ctx context.Context, e Endpoint, r verify.Request) ([]schemas.Event, error) {
	v := e.Judge(ctx, &keyring, r, time.Now())
	switch {
	case v.Err != nil:
		return nil, v.Err
	case v.Has(normalize.OutcomeMalformed):
		return v.Events, fmt.Errorf("%w: %s", normalize.ErrMalformed, v.Reasons())
	case len(v.Events) == 0:
		return nil, fmt.Errorf("%w: %s: %s", ErrNoEvent, v.Outcome(), v.Reasons())
	}
	return v.Events, nil
}

// Verdict is the result for one webhook: refused, or verified with its events.
type Verdict struct {
	verify.Verified
	normalize.Result
	Fetched []schemas.Fetched // what the processor's API answered for the webhook
	Listed  bool              // the webhook never came: see [Endpoint.JudgeListed]
	Err     error             // the reason for a refusal; nil if the webhook is verified

	fetchErr error // of [Endpoint.Fetch], for [Endpoint.Conclude]
}

// Outcomes of a webhook, beside those of package normalize.
const (
	// OutcomeHandshake is a request that only asks whether the endpoint is the
	// merchant's.
	OutcomeHandshake normalize.Outcome = "handshake"
	// OutcomeDuplicate is a webhook whose events were all published before.
	OutcomeDuplicate normalize.Outcome = "duplicate"
)

// Outcome returns [OutcomeHandshake] or the outcome of the payload. It is empty
// if the webhook is not verified.
func (v Verdict) Outcome() normalize.Outcome {
	switch {
	case v.Err != nil:
		return ""
	case v.Handshake:
		return OutcomeHandshake
	}
	return v.Result.Outcome()
}

// maxReasons bounds [Verdict.Reasons], in bytes: a batch can have an item for
// every few bytes of its body, and the text must fit into a record.
const maxReasons = 4 << 10

// Reasons returns why items of the webhook gave no event, as one text of little
// more than 4 KiB.
func (v Verdict) Reasons() string {
	if len(v.Skipped) == 0 { // nearly every webhook
		return ""
	}
	var b strings.Builder
	for i, k := range v.Skipped {
		if i > 0 {
			b.WriteString("; ")
		}
		if b.Len() > maxReasons {
			fmt.Fprintf(&b, "and %d more", len(v.Skipped)-i)
			break
		}
		fmt.Fprintf(&b, "item %d: %s: %.*s", k.Item, k.Outcome, maxReasons, k.Reason)
	}
	return b.String()
}

// Judge verifies a request to the endpoint, fetches what it only names if the endpoint
// has an API, and normalises the payload. The keyring fetches public keys where a
// connector needs them. If ctx ends before the payload is normalised, [Verdict.Err] is
// its error. A webhook that the processor does not sign is refused unless the API knows
// its object.
func (e Endpoint) Judge(ctx context.Context, k *verify.Keyring, r verify.Request, now time.Time) Verdict {
	return e.Conclude(ctx, e.Fetch(ctx, r, e.Verify(ctx, k, r, now)), now)
}

// Verify is the first step of [Endpoint.Judge]: it verifies a request. The verdict has
// no events, and a webhook that the processor does not sign is not verified yet:
// [Endpoint.Fetch] and [Endpoint.Conclude] must follow.
func (e Endpoint) Verify(ctx context.Context, k *verify.Keyring, r verify.Request, now time.Time) Verdict {
	keys := e.Keys
	keys.API = e.API != nil
	v, err := k.Verify(ctx, e.Connector, r, keys, now)
	if err != nil {
		return Verdict{Err: err}
	}
	return Verdict{Verified: v}
}

// Fetch is the second step of [Endpoint.Judge]: it asks the processor's API for what a
// webhook only names. It does nothing without an API, and returns a refusal and a
// handshake unchanged.
func (e Endpoint) Fetch(ctx context.Context, r verify.Request, v Verdict) Verdict {
	if v.Err != nil || v.Handshake || e.API == nil {
		return v
	}
	if err := ctx.Err(); err != nil {
		return Verdict{Err: err}
	}
	client := e.Fetcher
	if client == nil {
		client = &fetcher
	}
	v.Fetched, v.fetchErr = client.Fetch(ctx, e.Connector, *e.API, e.fetchable(v.Verified, r))
	return v
}

// FetchErr returns why [Endpoint.Fetch] failed, or nil. [Endpoint.Conclude] makes a
// refusal of it.
func (v Verdict) FetchErr() error { return v.fetchErr }

// Conclude is the last step of [Endpoint.Judge]: it normalises the payload and what was
// fetched. It returns a refusal and a handshake unchanged. What was fetched is used even
// if ctx has ended meanwhile.
func (e Endpoint) Conclude(ctx context.Context, v Verdict, now time.Time) Verdict {
	if v.Err != nil || v.Handshake {
		return v
	}
	if err := ctx.Err(); err != nil && e.API == nil {
		return Verdict{Err: err}
	}
	return e.conclude(v.Verified, v.Fetched, v.fetchErr, now)
}

// fetchable returns what package fetch reads of a verified webhook.
func (e Endpoint) fetchable(v verify.Verified, r verify.Request) fetch.Webhook {
	w := fetch.Webhook{Payload: v.Payload, Unsigned: v.Unsigned, Live: e.Live, Settings: e.Keys.Settings}
	if address, err := url.Parse(r.URL); err == nil {
		w.Query = address.Query()
	}
	return w
}

// conclude normalises a verified webhook with the fetched documents. The error is that of
// [fetch.Client.Fetch].
func (e Endpoint) conclude(v verify.Verified, documents []schemas.Fetched, err error, now time.Time) Verdict {
	verdict := Verdict{Verified: v, Fetched: documents}
	known := func(d schemas.Fetched) bool { return d.Status == http.StatusOK }
	switch {
	case v.Unsigned && (errors.Is(err, fetch.ErrUnknownObject) || errors.Is(err, fetch.ErrAccount) || errors.Is(err, fetch.ErrNothingToAsk)):
		return Verdict{Err: fmt.Errorf("%s: %w: %v", e.Connector, verify.ErrObject, err)}
	case errors.Is(err, fetch.ErrAccount):
		verdict.Skipped = []normalize.Skipped{{Outcome: normalize.OutcomeIgnored, Reason: err.Error()}}
		return verdict
	case err != nil:
		return Verdict{Err: err}
	case v.Unsigned && !slices.ContainsFunc(documents, known):
		return Verdict{Err: fmt.Errorf("%s: %w", e.Connector, verify.ErrObject)}
	}
	verdict.Result, verdict.Err = e.normalize(v.Payload, documents, now)
	for _, d := range documents {
		if d.Status == schemas.StatusUnknown {
			verdict.Skipped = append(verdict.Skipped, normalize.Skipped{
				Item: len(verdict.Events) + len(verdict.Skipped), Outcome: normalize.OutcomeMalformed,
				Reason: fmt.Sprintf("%s: the processor's API does not know %s: the key is of another account or mode, or the object was deleted", d.Host, d.Name),
			})
		}
	}
	return verdict
}

// Normalize normalises a verified payload.
func (e Endpoint) Normalize(payload []byte, receivedAt time.Time) (normalize.Result, error) {
	return e.normalize(payload, nil, receivedAt)
}

func (e Endpoint) normalize(payload []byte, documents []schemas.Fetched, receivedAt time.Time) (normalize.Result, error) {
	o := e.options(receivedAt)
	o.Fetched = documents
	return normalize.Normalize(e.Connector, payload, o)
}

// NormalizeUnverified normalises a payload without verifying it. Uncovered
// fields are used as if a signature covered them.
func (e Endpoint) NormalizeUnverified(payload []byte, now time.Time) (normalize.Result, error) {
	o := e.options(now)
	o.Unsigned = true
	return normalize.Normalize(e.Connector, payload, o)
}

func (e Endpoint) options(receivedAt time.Time) normalize.Options {
	return normalize.Options{
		Endpoint:       e.NameOrDefault(),
		Live:           e.Live,
		MerchantIDKeys: e.MerchantIDKeys,
		Settings:       e.Keys.Settings,
		ReceivedAt:     receivedAt,
	}
}
