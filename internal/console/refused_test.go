package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// refusing is a console that keeps refused requests of two endpoints.
func refusing(t *testing.T, most int) *Handler {
	t.Helper()
	keys, _, _ := sign.Dev("stripe")
	return New(Config{
		Refused: most, Unmask: true, Names: func() (kafka.Names, error) { return kafka.Names{}, errors.New("no broker answers") },
		Endpoints: func() []webhook.Endpoint {
			return []webhook.Endpoint{{Connector: "stripe", Keys: keys}, {Connector: "stripe", Name: "second", Keys: keys}}
		},
	})
}

func refusedRequest(endpoint string, body []byte) webhook.Refused {
	connector, name, _ := strings.Cut(endpoint, "/")
	return webhook.Refused{
		Connector: connector, Endpoint: name, ReceivedAt: time.Now(), Method: "POST", Path: "/webhooks/stripe", Header: http.Header{"Stripe-Signature": {"t=1,v1=00"}}, Body: body,
		Status: 401, Reason: "wrong_signature", Error: "the signature is wrong",
	}
}

// TestRefusedBounds: a flood of refused requests takes bounded memory and next to no time,
// and does not push out the requests of another endpoint.
func TestRefusedBounds(t *testing.T) {
	h := refusing(t, 5)
	h.KeepRefused(refusedRequest("stripe/second", []byte("the only one")))
	body := bytes.Repeat([]byte("x"), 900_000)
	const n = 100_000
	start := time.Now()
	for range n {
		h.KeepRefused(refusedRequest("stripe/default", body))
	}
	took := time.Since(start)
	if one, skipped := h.refused.list(h.Endpoints(), "stripe/second"); len(one) != 1 || skipped != 0 {
		t.Errorf("of one endpoint: %d requests are listed and %d skipped, want 1 and those of the other endpoint left out", len(one), skipped)
	}
	all, skipped := h.refused.list(h.Endpoints(), "")
	of := h.refused.by["stripe/default"]
	if took > 5*time.Second || skipped < n-1000 || skipped+len(of.kept) > n || of.bytes > maxRefusedBytes || len(of.kept) > 2 {
		t.Errorf("%v for %d requests; %d skipped, %d kept with %d bytes", took, n, skipped, len(of.kept), of.bytes)
	}
	if len(all) != len(of.kept)+1 {
		t.Errorf("%d requests are listed, want those of both endpoints", len(all))
	}
	var s refusedRequests
	at := time.Now()
	for i := range 50 {
		s.keep(refusedRequest("stripe/default", fmt.Appendf(nil, "%d", i)), 5, at.Add(time.Duration(i)*time.Second))
	}
	all, _ = s.list(h.Endpoints(), "")
	if len(all) != 5 || s.last != 50 || string(s.by["stripe/default"].kept[4].Body) != "49" {
		t.Errorf("%d requests are kept, want the last 5", len(all))
	}
	s.keep(refusedRequest("stripe/default", make([]byte, maxRefusedBody+1)), 5, at.Add(time.Hour))
	if k := s.by["stripe/default"].kept[4]; !k.Dropped || k.Body != nil || k.Bytes != maxRefusedBody+1 {
		t.Errorf("a long body: %+v", k)
	}
	s.keep(refusedRequest("stripe/gone", nil), 5, at)
	if all, _ := s.list(h.Endpoints(), ""); len(all) != 5 || s.by["stripe/gone"] != nil {
		t.Error("requests of a removed endpoint are kept")
	}
	off := refusing(t, 0)
	off.KeepRefused(refusedRequest("stripe/default", body))
	if all, _ := off.refused.list(h.Endpoints(), ""); len(all) != 0 {
		t.Error("requests are kept although that is off")
	}
	kept := refusedRequest("stripe/default", []byte("before"))
	var copied refusedRequests
	copied.keep(kept, 5, at)
	copy(kept.Body, "after!")
	kept.Header.Set("Stripe-Signature", "changed")
	if k := copied.by["stripe/default"].kept[0]; string(k.Body) != "before" || k.Header.Get("Stripe-Signature") != "t=1,v1=00" {
		t.Error("what is kept is not a copy")
	}
}

// BenchmarkKeepRefused is what a refused request costs in a flood, and when nothing is kept.
func BenchmarkKeepRefused(b *testing.B) {
	for name, most := range map[string]int{"off": 0, "flood": 20} {
		b.Run(name, func(b *testing.B) {
			var s refusedRequests
			x, now := refusedRequest("stripe/default", make([]byte, 2000)), time.Now()
			b.ReportAllocs()
			for b.Loop() {
				s.keep(x, most, now)
			}
		})
	}
}

// personal are fields that the pages must not show, in each format.
var personal = map[byte]string{
	'{': `"name":"Erika Mustermann","bank_account_number":"1122334455","first_name":"Erika Mustermann","email":"erika@example.com",`,
	'<': `<name>Erika Mustermann</name><bank-account-number>1122334455</bank-account-number><email>erika@example.com</email>`,
	'f': "name=Erika+Mustermann&bank_account_number=1122334455&email=erika%40example.com&",
}

// withPersonal returns a payload with further, personal fields.
func withPersonal(payload []byte) []byte {
	text := strings.TrimSpace(string(payload))
	switch {
	case strings.HasPrefix(text, "{"):
		return []byte("{" + personal['{'] + text[1:])
	case strings.HasPrefix(text, "["):
		return []byte("[{" + personal['{'] + `"x":1},` + text[1:])
	case strings.HasPrefix(text, "<"):
		end := strings.LastIndex(text, "</")
		return []byte(text[:end] + personal['<'] + text[end:])
	}
	return []byte(personal['f'] + text)
}

// TestDiagnosisMasked: of no connector does the diagnosis of a request show personal
// fields, on the pages of a refused request, of a webhook and of a dead letter.
func TestDiagnosisMasked(t *testing.T) {
	now := time.Now()
	diagnoses, named := 0, 0
	for _, connector := range verify.Connectors() {
		keys, private, _ := sign.Dev(connector)
		secret := keys
		if len(keys.Secrets) > 0 {
			secret.Secrets = []verify.Secret{{Name: "other", Value: strings.Repeat("Ab1+", 12)}}
		}
		endpoints := []webhook.Endpoint{{Connector: connector, Keys: secret}}
		h := New(Config{Refused: 100, Unmask: true, Names: func() (kafka.Names, error) { return kafka.Names{}, nil }, Endpoints: func() []webhook.Endpoint { return endpoints }})
		for n, sample := range samples.Names(connector)[:1] { // diagnoses take long
			payload, err := samples.Payload(connector, sample)
			if err != nil {
				t.Fatal(err)
			}
			address := "https://example.com/webhooks/" + connector
			r, err := sign.Request(connector, withPersonal(payload), private, keys.Settings, address, now)
			if err != nil {
				continue // the signer reads the payload, and does not know these fields
			}
			x := webhook.Refused{Connector: connector, Endpoint: "default", ReceivedAt: now, Method: "POST", Path: "/webhooks/" + connector, Header: r.Header, Body: r.Body, Status: 401, Reason: "wrong_signature", Error: "the signature is wrong"}
			if at, err := url.Parse(r.URL); err == nil {
				x.Query = at.RawQuery
			}
			shown := map[string]string{}
			h.refused.keep(x, 100, now.Add(time.Duration(n)*time.Minute))
			v, err := h.refusals(httptest.NewRequest("GET", fmt.Sprint("/console/refused?number=", h.refused.last), nil))
			if err != nil {
				t.Fatalf("%s %s: %v", connector, sample, err)
			}
			var refused bytes.Buffer
			if err := v.write(&refused); err != nil {
				t.Fatal(err)
			}
			shown["refused request, HTML"], shown["refused request, JSON"] = refused.String(), string(mustJSON(v.JSON))
			archived := webhook.Archived{Connector: connector, Endpoint: "default", Method: "POST", Path: x.Path, Query: x.Query, Header: x.Header, Body: x.Body, ReceivedAt: now}
			judged := h.judge(httptest.NewRequest("GET", "/console/webhook", nil), endpoints, archived)
			if judged.Diagnosis != nil {
				diagnoses++
				if len(judged.Diagnosis.Read) > 2 {
					named++
				}
			}
			shown["webhook, JSON"] = string(mustJSON(judged))
			item := testMasker.item(&lookup.Item{Webhook: &archived})
			var page bytes.Buffer
			if err := (view{template: "webhook", Data: webhookPage{Item: item, Today: judged}}).write(&page); err != nil {
				t.Fatal(err)
			}
			shown["webhook, HTML"] = page.String()
			for where, text := range shown {
				for _, hidden := range []string{"Erika", "Mustermann", "1122334455", "erika@", "erika%40"} {
					if strings.Contains(text, hidden) {
						at := strings.Index(text, hidden)
						t.Errorf("%s %s: %s shows %s: %s", connector, sample, where, hidden, text[max(0, at-200):min(len(text), at+100)])
					}
				}
				encoded := base64Line.FindAllString(text, -1)
				for _, found := range encoded {
					if b, ok := decodedText(found); ok && strings.Contains(string(b), "Mustermann") {
						t.Errorf("%s %s: %s shows personal fields as base64: %.100s", connector, sample, where, found)
					}
				}
			}
		}
	}
	if diagnoses < 40 || named < 5 {
		t.Errorf("%d diagnoses, %d of them with fields of the body: the test tests too little", diagnoses, named)
	}
}

// TestTokenHeaders: a refused header that is the secret itself is not shown, of any
// connector and at the endpoint of any: it may be valid at another endpoint.
func TestTokenHeaders(t *testing.T) {
	h := refusing(t, 5)
	var log bytes.Buffer
	h.Log = zerolog.New(&log)
	x := refusedRequest("stripe/default", []byte("{}"))
	const token = "a-token-of-another-endpoint"
	n := 0
	for _, connector := range verify.Connectors() {
		c, _ := verify.Lookup(connector)
		for _, name := range c.Tokens {
			x.Header.Set(name, token)
			x.Query += "&" + name + "=" + token
			n++
		}
	}
	h.KeepRefused(x)
	form := func(path, accept string) string {
		r := httptest.NewRequest("POST", path, nil)
		r.RemoteAddr = "127.0.0.1:5"
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9090})))
		r.Header.Set("Accept", accept)
		r.Header.Set(tokenHeader, h.access.token(user{session: byLoopback}))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			t.Errorf("unmasked: status %d: %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	if form("/console/refused?number=1", "text/html"); !strings.Contains(log.String(), `"connector":"stripe","endpoint":"default"`) || !strings.Contains(log.String(), `"received_at":`) {
		t.Errorf("the log does not say which request was shown: %s", &log)
	}
	for _, accept := range []string{"text/html", "application/json"} {
		for _, body := range []string{
			ask(h, "GET", "/console/refused", "127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Accept": accept}).Body.String(),
			ask(h, "GET", "/console/refused?number=1", "127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Accept": accept}).Body.String(),
			form("/console/refused?number=1", accept),
		} {
			if n == 0 || strings.Contains(body, token) {
				t.Errorf("%d headers with tokens; the page shows one: %s", n, body)
			}
		}
	}
}

// TestRefusedPages: the pages say why a request was refused, mask it, and show hostile text
// as text.
func TestRefusedPages(t *testing.T) {
	h := refusing(t, 5)
	const hostile = "<script>alert(1)</script>\x1b[31m\u202e"
	payload := []byte(`{"id":"evt_1","type":"charge.succeeded","email":"erika@example.com","x":"` + hostile + `"}`)
	signed, err := sign.Request("stripe", payload, "whsec_"+strings.Repeat("Ab1+", 8), nil, "https://example.com/webhooks/stripe", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	x := refusedRequest("stripe/default", signed.Body)
	x.Header = signed.Header.Clone()
	x.Header.Set("Authorization", "Bearer a-secret-of-somebody")
	x.Header.Set("Cookie", "session=a-secret-of-somebody")
	x.Header.Set("X-Hostile", hostile)
	x.Query, x.Error = "token=a-secret-of-somebody&y="+hostile, hostile
	h.KeepRefused(x)
	long := refusedRequest("stripe/second", bytes.Repeat([]byte(hostile), 30_000))
	h.KeepRefused(long)
	for path, want := range map[string]string{
		"/console/refused": "wrong_signature", "/console/refused?endpoint=stripe/second": "second", "/console/refused?number=1": "secret", "/console/refused?number=2": "signature", "/console/refused?page=9": "stripe",
	} {
		for _, accept := range []string{"text/html", "application/json"} {
			w := ask(h, "GET", path, "127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Accept": accept})
			body := w.Body.String()
			if w.Code != 200 || !strings.Contains(body, want) {
				t.Errorf("%s: status %d, want 200 and %q: %.3000s", path, w.Code, want, body)
			}
			if strings.Contains(body, "a-secret-of-somebody") || strings.Contains(body, "erika@example.com") || strings.ContainsAny(body, "\x1b\u202e") || accept == "text/html" && strings.Contains(body, "<script>alert") {
				t.Errorf("%s as %s shows what it must not: %.3000s", path, accept, body)
			}
			if accept == "application/json" && !json.Valid([]byte(body)) || accept == "text/html" && len(body) > 900_000 {
				t.Errorf("%s as %s: %d bytes", path, accept, len(body))
			}
		}
	}
	var one struct {
		Connector, Endpoint string
		Diagnosis           struct{ Cause, Mistake string }
	}
	w := ask(h, "GET", "/console/refused?number=1", "127.0.0.1:5", "127.0.0.1:9090", map[string]string{"Accept": "application/json"})
	if err := json.Unmarshal(w.Body.Bytes(), &one); err != nil || one.Connector != "stripe" || one.Endpoint != "default" || one.Diagnosis.Cause == "" {
		t.Errorf("%v: %s", err, w.Body)
	}
	for _, number := range []string{"3", "x", "-1", "99999999999999999999"} {
		if w := ask(h, "GET", "/console/refused?number="+number, "127.0.0.1:5", "127.0.0.1:9090", nil); w.Code != 404 {
			t.Errorf("number %s: status %d, want 404", number, w.Code)
		}
	}
	if w := ask(refusing(t, 0), "GET", "/console/refused", "127.0.0.1:5", "127.0.0.1:9090", nil); w.Code != 200 || !strings.Contains(w.Body.String(), "are not kept") {
		t.Errorf("while it is off: %d %s", w.Code, w.Body)
	}
}
