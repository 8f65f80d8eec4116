package ingest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

const form = "application/x-www-form-urlencoded"

// receiver replaces a server by a wrong one, to test the conformance test itself.
type receiver func(b *bridge) http.Handler

func right(b *bridge) http.Handler { return b }

// TestConformance: for every connector, only a verified webhook that is in Kafka is
// answered 2xx. A webhook that is refused is neither published nor parsed.
func TestConformance(t *testing.T) {
	for _, connector := range verify.Connectors() {
		for _, found := range conformance(t, connector, right) {
			t.Errorf("%s: %s", connector, found)
		}
	}
}

// trial is a request, derived from a good one, and its expected result.
type trial struct {
	what   string
	query  string // appended to the query
	header http.Header
	body   []byte
	kafka  error
	status int
}

// trials returns a connector's good request, and requests that must not be accepted.
func trials(connector string, good http.Header, body []byte) []trial {
	c, _ := verify.Lookup(connector)
	profile := ingest.ResponseProfileOf(connector)
	bare, inQuery := good.Clone(), url.Values{}
	for _, name := range c.Headers {
		inQuery.Set(name, good.Get(name))
		bare.Del(name)
	}
	bodyInQuery := string(body)
	if good.Get("Content-Type") != form {
		bodyInQuery = url.QueryEscape(bodyInQuery)
	}
	all := []trial{
		{"a good webhook", "", good, body, nil, profile.Done},
		{"a good webhook that Kafka has not", "", good, body, kafka.ErrUnavailable, http.StatusServiceUnavailable},
		{"half a body that is not signed", "", bare, body[:len(body)/2], nil, profile.Rejected},
		{"nothing", "", bare, nil, nil, profile.Rejected},
		{"a body in the query", bodyInQuery, bare, nil, nil, profile.Rejected},
	}
	if len(inQuery) > 0 {
		all = append(all, trial{"a signature in the query", inQuery.Encode(), bare, body, nil, profile.Rejected})
	}
	return all
}

// conformance returns the faults in a receiver's answers to a connector's processor,
// and to senders that pretend to be the processor.
func conformance(t *testing.T, connector string, of receiver) (found []string) {
	t.Helper()
	good := signed(t, connector, sample(t, connector, samples.Names(connector)[0]))
	body, err := io.ReadAll(good.Body)
	if err != nil {
		t.Fatal(err)
	}
	profile := ingest.ResponseProfileOf(connector)
	refusal := ingest.ResponseTo(&webhook.Endpoint{Connector: connector}, webhook.Verdict{Err: verify.ErrMismatch})
	for _, tt := range trials(connector, good.Header, body) {
		b := newBridge(t, only(connector), func(c *ingest.Config) {
			if tt.kafka != nil {
				c.Publisher = publisher(func(context.Context, []kafka.Record) ([]kafka.Receipt, error) { return nil, tt.kafka })
			}
		})
		r := httptest.NewRequest(good.Method, address(good.URL, tt.query), bytes.NewReader(tt.body))
		r.Header = tt.header.Clone()
		w := httptest.NewRecorder()
		of(b).ServeHTTP(w, r)
		if w.Code != tt.status {
			found = append(found, fmt.Sprintf("answered %d to %s, want %d", w.Code, tt.what, tt.status))
		}
		if in := len(b.published()) > 0; in != (tt.status == profile.Done) {
			found = append(found, fmt.Sprintf("published %t of %s", in, tt.what))
		}
		if tt.status == profile.Rejected && w.Body.String() != refusal.Body {
			found = append(found, fmt.Sprintf("said %q to %s, want %q", w.Body, tt.what, refusal.Body))
		}
	}
	return found
}

// address returns a URL's path and query, with more appended to the query.
func address(u *url.URL, more string) string {
	if u.RawQuery == "" {
		return u.Path + "?" + more
	}
	return u.RequestURI() + "&" + more
}

// TestWrongReceivers: conformance finds, for every connector, a receiver that answers
// 2xx to a failure, and one that uses what is not verified.
func TestWrongReceivers(t *testing.T) {
	for name, wrong := range map[string]struct {
		receiver
		says []string // one of them must be found
	}{
		"answers 2xx on failure":          {wrongAnswers, []string{"answered 200 to"}},
		"answers with what is unverified": {wrongEchoes, []string{"said "}},
		"publishes before it verifies":    {wrongPublishes, []string{"published true of half a body"}},
		"trusts the query":                {wrongTrusts, []string{"to a signature in the query", "to a body in the query"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, connector := range verify.Connectors() {
				found := strings.Join(conformance(t, connector, wrong.receiver), "\n")
				if !slices.ContainsFunc(wrong.says, func(s string) bool { return strings.Contains(found, s) }) {
					t.Errorf("%s: the fault is not found, only %q", connector, found)
				}
			}
		})
	}
}

// after lets a server answer, and changes the answer.
func after(b *bridge, change func(w *httptest.ResponseRecorder, body []byte)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // cannot fail: it is the test's own request
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		b.ServeHTTP(answer, r)
		change(answer, body)
		w.WriteHeader(answer.Code)
		_, _ = answer.Body.WriteTo(w)
	})
}

func wrongAnswers(b *bridge) http.Handler {
	return after(b, func(w *httptest.ResponseRecorder, _ []byte) { w.Code = http.StatusOK })
}

func wrongEchoes(b *bridge) http.Handler {
	return after(b, func(w *httptest.ResponseRecorder, body []byte) { w.Body.Write(body) })
}

func wrongPublishes(b *bridge) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = b.publish(r.Context(), []kafka.Record{{Topic: "webhooks.received"}}) // this publisher never fails
		b.ServeHTTP(w, r)
	})
}

// wrongTrusts takes headers and the body from the query if they are missing.
func wrongTrusts(b *bridge) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connector := strings.Split(r.URL.Path, "/")[2]
		c, _ := verify.Lookup(connector)
		query := r.URL.Query()
		for _, name := range c.Headers {
			if value := query.Get(name); value != "" {
				r.Header.Set(name, value)
				query.Del(name)
			}
		}
		body, _ := io.ReadAll(r.Body) // cannot fail: it is the test's own request
		if text := r.URL.RawQuery; len(body) == 0 {
			if r.Header.Get("Content-Type") != form {
				text, _ = url.QueryUnescape(text)
			}
			body, query = []byte(text), nil
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.URL.RawQuery = query.Encode()
		r.ContentLength = -1
		b.ServeHTTP(w, r)
	})
}
