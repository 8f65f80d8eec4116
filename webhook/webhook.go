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
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// ErrNoEvent means that a webhook is verified and readable, and reports nothing
// that tollbridge has an event type for.
var ErrNoEvent = errors.New("no event")

// keyring keeps the public keys that [HandleEvent] fetched.
var keyring verify.Keyring

// HandleEvent verifies a request to an endpoint and returns its events, at least
// one. It publishes nothing. The request's body must be the exact bytes that
// were received. Some connectors also need its URL, or settings in the
// endpoint's keys: see [verify.Lookup] and [Settings]. For a connector whose
// public keys must be fetched, HandleEvent fetches them and keeps them.
//
// The error wraps a [verify.Reason] if the webhook is not verified,
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
	Err error // the reason for a refusal; nil if the webhook is verified
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

// Judge verifies a request to the endpoint and normalises its payload. The
// keyring fetches public keys where a connector needs them. If ctx ends before
// the payload is normalised, [Verdict.Err] is its error.
func (e Endpoint) Judge(ctx context.Context, k *verify.Keyring, r verify.Request, now time.Time) Verdict {
	v, err := k.Verify(ctx, e.Connector, r, e.Keys, now)
	if err != nil {
		return Verdict{Err: err}
	}
	if v.Handshake {
		return Verdict{Verified: v}
	}
	if err := ctx.Err(); err != nil {
		return Verdict{Err: err}
	}
	result, err := e.Normalize(v.Payload, now)
	return Verdict{Verified: v, Result: result, Err: err}
}

// Normalize normalises a verified payload.
func (e Endpoint) Normalize(payload []byte, receivedAt time.Time) (normalize.Result, error) {
	return normalize.Normalize(e.Connector, payload, e.options(receivedAt))
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
