package ingest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// Archived is a webhook as it was kept in webhooks.received or webhooks.dead.
type Archived struct {
	Connector  string            `json:"connector"`
	Endpoint   string            `json:"endpoint"`
	Method     string            `json:"method"`
	Path       string            `json:"path"`
	Query      string            `json:"query,omitempty"`
	Header     http.Header       `json:"header"` // the content type, and those that verification reads; of tokens the digest
	Body       []byte            `json:"-"`
	ReceivedAt time.Time         `json:"received_at"`
	Secret     string            `json:"secret,omitempty"` // the name of the one that matched
	Outcome    normalize.Outcome `json:"outcome"`
	Reason     string            `json:"reason,omitempty"`
	EventIDs   []string          `json:"event_ids,omitempty"`
	Trace      string            `json:"traceparent,omitempty"` // W3C
	// Handles is the place of a dead letter, PARTITION-OFFSET, that this record
	// says was retried or discarded. Such a record is no webhook: it has no body.
	Handles string `json:"handles,omitempty"`
	By      string `json:"by,omitempty"` // whoever did so
}

// HeaderHandles is the header of a record of webhooks.dead that says what became
// of a dead letter.
const HeaderHandles = "handles"

// ReadArchived reads a record of webhooks.received or webhooks.dead.
func ReadArchived(headers []schemas.Header, value []byte) (Archived, error) {
	a := Archived{Header: http.Header{}, Body: value}
	received := ""
	texts := map[string]*string{
		"connector": &a.Connector, "endpoint": &a.Endpoint, "method": &a.Method, "path": &a.Path, "query": &a.Query,
		"secret": &a.Secret, "outcome": (*string)(&a.Outcome), "reason": &a.Reason, "received-at": &received,
		"traceparent": &a.Trace, HeaderHandles: &a.Handles, "by": &a.By,
	}
	for _, h := range headers {
		if to := texts[h.Name]; to != nil {
			*to = h.Value
		} else if name, ok := strings.CutPrefix(h.Name, "http-"); ok {
			a.Header.Add(name, h.Value)
		} else if h.Name == "event-ids" && len(h.Value) > 0 {
			a.EventIDs = strings.Split(h.Value, ",")
		}
	}
	c, _ := verify.Lookup(a.Connector)
	a.Header = c.Redact(a.Header) // older records have tokens as they came
	var err error
	if a.ReceivedAt, err = time.Parse(time.RFC3339Nano, received); err != nil || a.Connector == "" {
		return a, fmt.Errorf("this is no webhook that tollbridge kept: connector %q, received-at %q", a.Connector, received)
	}
	return a, nil
}

// Is reports whether the webhook came to the endpoint.
func (a Archived) Is(e Endpoint) bool { return a.Connector == e.Connector && a.Endpoint == e.name() }

// Rejudge judges a webhook that was kept as today's code does, at the time it
// was received: it is verified again, since only what is verified is read.
func (e Endpoint) Rejudge(ctx context.Context, k *verify.Keyring, a Archived) Judgement {
	address := &url.URL{Path: a.Path, RawQuery: a.Query}
	r := verify.Request{Method: a.Method, URL: e.address(address), Header: a.Header, Body: a.Body, Archived: true}
	return e.Judge(ctx, k, r, a.ReceivedAt)
}
