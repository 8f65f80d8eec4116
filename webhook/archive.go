package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// Archived is a webhook in webhooks.received or, if it is malformed, in
// webhooks.dead: the exact body, and what is needed to verify and to read it
// again. [Archived.Record] writes its record and [ReadArchived] reads it.
type Archived struct {
	Connector string `json:"connector"`
	Endpoint  string `json:"endpoint"`
	Method    string `json:"method"`
	Path      string `json:"path"`
	Query     string `json:"query,omitempty"`
	// Header has the content type and the headers that verification reads. A
	// token that is the secret itself is replaced by its digest.
	Header     http.Header       `json:"header"`
	Body       []byte            `json:"-"`
	ReceivedAt time.Time         `json:"received_at"`
	Secret     string            `json:"secret,omitempty"` // the name of the secret that matched
	Outcome    normalize.Outcome `json:"outcome"`
	Reason     string            `json:"reason,omitempty"` // see [Verdict.Reasons]
	EventIDs   []string          `json:"event_ids,omitempty"`
	Trace      string            `json:"traceparent,omitempty"` // W3C trace context
	// Handles is PARTITION-OFFSET, the id, of a dead letter that was retried or
	// discarded. A record with it reports only that: it is not a webhook and
	// has no body.
	Handles string `json:"handles,omitempty"`
	By      string `json:"by,omitempty"` // the user who retried or discarded it
	// VouchedBy says why a webhook without a signature is believed; empty if it is signed.
	VouchedBy VouchedBy `json:"vouched_by,omitempty"`
	// Fetched are the answers of the processor's API for the webhook.
	Fetched []schemas.Fetched `json:"fetched,omitempty"`
}

// VouchedBy says who vouches for a webhook that is not signed.
type VouchedBy string

// VouchedByFetch says that the processor's API knows the object that an unsigned webhook
// names. The answer is in [Archived.Fetched].
const VouchedByFetch VouchedBy = "fetch"

// VouchedBy returns who vouches for the webhook; empty if it is signed.
func (v Verdict) VouchedBy() VouchedBy {
	switch {
	case v.Listed:
		return VouchedByGaps
	case v.Unsigned:
		return VouchedByFetch
	}
	return ""
}

// HeaderHandles is the header of a record in webhooks.dead that says what was
// done about a dead letter: see [Archived.Handles].
const HeaderHandles = "handles"

// textHeader is a header of the record and the field that it has.
type textHeader struct {
	name string
	text *string
}

// texts returns the fields that are headers of the record, by header name, in the
// order in which they are written.
func (a *Archived) texts() [12]textHeader {
	return [...]textHeader{
		{"connector", &a.Connector}, {"endpoint", &a.Endpoint}, {"method", &a.Method}, {"path", &a.Path}, {"query", &a.Query},
		{"secret", &a.Secret}, {"outcome", (*string)(&a.Outcome)}, {"reason", &a.Reason}, {"traceparent", &a.Trace},
		{HeaderHandles, &a.Handles}, {"by", &a.By}, {"vouched-by", (*string)(&a.VouchedBy)},
	}
}

const (
	headerReceivedAt = "received-at" // RFC 3339
	headerEventIDs   = "event-ids"   // separated by commas
	headerHTTP       = "http-"       // before the name of a header of the request
	// A header with each answer of the processor's API in JSON, without its body, and
	// after it a header with the exact body.
	headerFetched     = "fetched"
	headerFetchedBody = "fetched-body"
)

// ID returns an id of the webhook, which is the same for each delivery: the
// endpoint and the SHA-256 of the body. Anything else that a redelivery
// changes, such as the time of its signature, is not part of it.
func (a *Archived) ID() string {
	digest := sha256.Sum256(a.Body)
	id := make([]byte, 0, 128) // on the stack
	id = append(append(append(append(id, a.Connector...), '/'), a.Endpoint...), ':')
	return string(hex.AppendEncode(id, digest[:]))
}

// Record returns the record of the archived webhook. It has the request headers
// that [Archived.Header] describes, with tokens as digests.
func (a *Archived) Record(key string) schemas.Record { return a.record(key, verify.Digest) }

// RecordAgain is [Archived.Record] of a webhook that [ReadArchived] returned: its tokens are
// digests already.
func (a *Archived) RecordAgain(key string) schemas.Record {
	return a.record(key, func(digest string) string { return digest })
}

// record is [Archived.Record]; redact returns what stands for a token.
func (a *Archived) record(key string, redact func(token string) string) schemas.Record {
	headers := make([]schemas.Header, 0, 16) // enough for most
	headers = append(headers,
		schemas.Header{Name: headerReceivedAt, Value: a.ReceivedAt.UTC().Format(time.RFC3339Nano)},
		schemas.Header{Name: headerEventIDs, Value: strings.Join(a.EventIDs, ",")})
	for _, t := range a.texts() {
		if *t.text != "" {
			headers = append(headers, schemas.Header{Name: t.name, Value: *t.text})
		}
	}
	for _, kept := range keptHeaders[a.Connector] {
		for _, value := range a.Header.Values(kept.name) {
			if kept.token {
				value = redact(value) // the archive holds no secrets
			}
			headers = append(headers, schemas.Header{Name: kept.header, Value: value})
		}
	}
	for _, d := range a.Fetched {
		about, _ := json.Marshal(d) // never fails: it has texts, a number and a time
		headers = append(headers, schemas.Header{Name: headerFetched, Value: string(about)}, schemas.Header{Name: headerFetchedBody, Value: string(d.Body)})
	}
	return schemas.Record{Key: []byte(key), Value: a.Body, Headers: headers}
}

// keptHeader is a header of the request that the record has.
type keptHeader struct {
	name   string
	header string // the name of the record's header
	token  bool   // see [verify.Connector.Tokens]
}

// keptHeaders are the request headers that a record has, by connector.
var keptHeaders = func() map[string][]keptHeader {
	all := map[string][]keptHeader{}
	for _, connector := range verify.Connectors() {
		c, _ := verify.Lookup(connector)
		for _, name := range append([]string{"Content-Type"}, c.Headers...) {
			all[connector] = append(all[connector], keptHeader{name, headerHTTP + strings.ToLower(name), slices.Contains(c.Tokens, name)})
		}
	}
	return all
}()

// ReadArchived reads the record of an archived webhook. It returns an error if
// the record is not that of an archived webhook.
func ReadArchived(headers []schemas.Header, body []byte) (Archived, error) {
	a := Archived{Header: http.Header{}, Body: body}
	received := ""
	texts := map[string]*string{headerReceivedAt: &received}
	for _, t := range a.texts() {
		texts[t.name] = t.text
	}
	for _, h := range headers {
		if to := texts[h.Name]; to != nil {
			*to = h.Value
		} else if name, ok := strings.CutPrefix(h.Name, headerHTTP); ok {
			a.Header.Add(name, h.Value)
		} else if h.Name == headerEventIDs && h.Value != "" {
			a.EventIDs = strings.Split(h.Value, ",")
		} else if h.Name == headerFetched {
			var d schemas.Fetched
			if err := json.Unmarshal([]byte(h.Value), &d); err != nil {
				return a, fmt.Errorf("not an archived webhook: the header %s: %w", headerFetched, err)
			}
			a.Fetched = append(a.Fetched, d)
		} else if h.Name == headerFetchedBody && len(a.Fetched) > 0 && h.Value != "" {
			a.Fetched[len(a.Fetched)-1].Body = []byte(h.Value)
		}
	}
	c, _ := verify.Lookup(a.Connector)
	a.Header = c.Redact(a.Header) // records of earlier versions have the tokens themselves
	var err error
	if a.ReceivedAt, err = time.Parse(time.RFC3339Nano, received); err != nil || a.Connector == "" {
		return a, fmt.Errorf("not an archived webhook: want the headers connector and received-at, got connector %q, received-at %q", a.Connector, received)
	}
	return a, nil
}

// Is reports whether the endpoint received the webhook.
func (a Archived) Is(e Endpoint) bool {
	return a.Connector == e.Connector && a.Endpoint == e.NameOrDefault()
}

// JudgeArchived verifies and normalises an archived webhook with today's code, as
// of the time when it was received. It reads what the processor's API answered then from
// the archive, and asks nobody.
func (e Endpoint) JudgeArchived(ctx context.Context, k *verify.Keyring, a Archived) Verdict {
	if a.VouchedBy == VouchedByGaps {
		return e.JudgeListed(ctx, a.Body, a.Fetched, false, a.ReceivedAt)
	}
	v, r := e.verifyArchived(ctx, k, a)
	if v.Err != nil || v.Handshake {
		return v
	}
	if err := ctx.Err(); err != nil {
		return Verdict{Err: err}
	}
	var api fetch.API
	if e.API != nil {
		api = *e.API
	}
	err := fetch.Belongs(e.Connector, e.fetchable(v.Verified, r), api, a.Fetched)
	return e.conclude(v.Verified, a.Fetched, err, a.ReceivedAt)
}

// FetchArchived is [Endpoint.JudgeArchived] with what the processor's API answers now. ok is
// false, and there is no verdict, if the endpoint has no API or the webhook has everything.
func (e Endpoint) FetchArchived(ctx context.Context, k *verify.Keyring, a Archived) (v Verdict, ok bool) {
	if e.API == nil || a.VouchedBy == VouchedByGaps {
		return Verdict{}, false
	}
	v, r := e.verifyArchived(ctx, k, a)
	if v.Err != nil || v.Handshake || !fetch.Needs(e.Connector, e.fetchable(v.Verified, r), *e.API) {
		return Verdict{}, false
	}
	v = e.Fetch(ctx, r, v)
	if v.Err == nil {
		v = e.conclude(v.Verified, v.Fetched, v.fetchErr, a.ReceivedAt)
	}
	return v, true
}

// verifyArchived verifies an archived webhook, and returns its request. The verdict has no
// events.
func (e Endpoint) verifyArchived(ctx context.Context, k *verify.Keyring, a Archived) (Verdict, verify.Request) {
	address := &url.URL{Path: a.Path, RawQuery: a.Query}
	r := verify.Request{Method: a.Method, URL: e.Address(address), Header: a.Header, Body: a.Body, Archived: true}
	keys := e.Keys
	keys.API = a.VouchedBy == VouchedByFetch
	v, err := k.Verify(ctx, e.Connector, r, keys, a.ReceivedAt)
	if err != nil {
		return Verdict{Err: err}, r
	}
	return Verdict{Verified: v}, r
}
