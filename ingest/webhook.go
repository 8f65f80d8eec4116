package ingest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/verify"
)

// passage is one webhook on its way through the stages.
type passage struct {
	s         *Server
	endpoint  *Endpoint
	start     time.Time
	trace     string // W3C traceparent
	bytes     int
	judgement Judgement
	receipts  []publish.Receipt
	ids       []string // of the records, as in the receipt header
	err       error
}

// webhook takes one request through the stages and answers it. What went
// wrong is told to the log and, as a status and no more, to the sender.
func (s *Server) webhook(c echo.Context) error {
	p := &passage{s: s, start: s.Now(), trace: traceparent(c.Request().Header)}
	defer s.metrics.requests(p)()
	p.err = p.run(c)
	answer, reason := p.answer()
	for name, value := range answer.Headers {
		c.Response().Header().Set(name, value)
	}
	if answer.Status == http.StatusRequestEntityTooLarge {
		c.Response().Header().Set("Connection", "close") // the rest of the body is not read
	}
	p.log(c, answer.Status, reason)
	s.metrics.count(p, answer.Status, reason)
	c.Response().WriteHeader(answer.Status)
	_, err := c.Response().Write([]byte(answer.Body))
	if err != nil {
		s.Log.Info().Err(err).Msg("the sender did not wait for its answer") // and will send again
	}
	return nil
}

// run is the way of one webhook. A panic on it becomes an error: the answer is
// a 503 and the processor sends again.
func (p *passage) run(c echo.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errPanic, r)
			p.s.Log.Error().Err(err).Bytes("stack", debug.Stack()).Msg("panic")
		}
	}()
	s, r := p.s, c.Request()
	name := c.Param("endpoint")
	if name == "" {
		name = "default"
	}
	if p.endpoint = s.endpoints[c.Param("connector")+"/"+name]; p.endpoint == nil {
		return errEndpoint
	}
	d := dialects[p.endpoint.Connector]
	if r.Method == http.MethodGet && !d.handshake {
		return errMethod
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), max(s.Deadline, d.deadline))
	defer cancel() // a sender that hangs up does not stop what Kafka is doing

	body, release, err := s.read(c.Response(), r)
	defer release()
	if err != nil {
		return err
	}
	p.bytes = len(body)
	request := verify.Request{Method: r.Method, URL: p.endpoint.address(r.URL), Header: r.Header, Body: body}
	p.judgement = p.endpoint.Judge(ctx, &s.keyring, request, p.start)
	if p.judgement.Err != nil || p.judgement.Handshake {
		return p.judgement.Err
	}
	records, err := p.records(r, body)
	if err != nil {
		return err
	}
	p.receipts, err = s.Publisher.Publish(ctx, records)
	return err
}

// records is all that Kafka must have before the webhook is answered.
func (p *passage) records(r *http.Request, body []byte) ([]publish.Record, error) {
	var all []publish.Record
	for _, e := range p.judgement.Events {
		rec, err := publish.EventRecord(p.s.Names, e, p.trace)
		if err != nil {
			return nil, err
		}
		all, p.ids = append(all, rec), append(p.ids, e.ID)
	}
	topic := ""
	switch {
	case p.judgement.Has(normalize.OutcomeMalformed):
		topic = p.s.Names.Dead()
	case len(p.judgement.Kept) > 0 || len(p.judgement.Events) == 0:
		topic = p.s.Names.Received()
	}
	if topic != "" {
		all, p.ids = append(all, p.whole(topic, r, body)), append(p.ids, "webhook")
	}
	return all, nil
}

// whole is the record of a request as it came: its exact body, and in the
// headers what is needed to read, and to verify, it again.
func (p *passage) whole(topic string, r *http.Request, body []byte) publish.Record {
	j := p.judgement
	key := p.endpoint.Connector
	if len(j.Events) > 0 {
		key = j.Events[0].Subject
	}
	var reasons []string
	for _, k := range j.Kept {
		reasons = append(reasons, fmt.Sprintf("item %d: %s: %s", k.Item, k.Outcome, k.Reason))
	}
	headers := []publish.Header{
		{Name: "connector", Value: []byte(p.endpoint.Connector)},
		{Name: "endpoint", Value: []byte(p.endpoint.name())},
		{Name: "method", Value: []byte(r.Method)},
		{Name: "path", Value: []byte(r.URL.Path)},
		{Name: "query", Value: []byte(r.URL.RawQuery)},
		{Name: "received-at", Value: []byte(p.start.UTC().Format(time.RFC3339Nano))},
		{Name: "secret", Value: []byte(j.Secret)}, // its name
		{Name: "outcome", Value: []byte(j.Outcome())},
		{Name: "reason", Value: []byte(strings.Join(reasons, "; "))},
		{Name: "event-ids", Value: []byte(strings.Join(p.ids, ","))},
		{Name: "traceparent", Value: []byte(p.trace)},
	}
	c, _ := verify.Lookup(p.endpoint.Connector)
	for _, name := range append([]string{"Content-Type"}, c.Headers...) {
		for _, value := range r.Header.Values(name) {
			headers = append(headers, publish.Header{Name: "http-" + strings.ToLower(name), Value: []byte(value)})
		}
	}
	return publish.Record{Topic: topic, Key: []byte(key), Value: body, Headers: headers}
}

// answer is what the sender gets, and the word for why.
func (p *passage) answer() (Answer, string) {
	if p.err != nil {
		var d dialect
		if p.endpoint != nil {
			d = dialects[p.endpoint.Connector]
		}
		return d.refusal(p.err)
	}
	a := p.endpoint.Answer(p.judgement)
	if len(p.receipts) > 0 {
		a.Headers = withHeader(a.Headers, ReceiptHeader, receipts(p.ids, p.receipts))
	}
	return a, ""
}

func withHeader(h map[string]string, name, value string) map[string]string {
	if h == nil {
		h = map[string]string{}
	}
	h[name] = value
	return h
}

// log writes the request's one line. It has no secret, no body, and of a
// request that was not verified nothing but where it was sent.
func (p *passage) log(c echo.Context, status int, reason string) {
	line := p.s.Log.Info()
	if status >= http.StatusInternalServerError {
		line = p.s.Log.Error()
	} else if p.err != nil || p.judgement.Has(normalize.OutcomeMalformed) {
		line = p.s.Log.Warn()
	}
	line.Str("method", c.Request().Method).Str("path", c.Request().URL.Path).Int("status", status).
		Dur("took_ms", p.s.Now().Sub(p.start)).Int("bytes", p.bytes).Str("remote", c.Request().RemoteAddr).
		Str("trace", p.trace)
	if p.endpoint != nil {
		line.Str("connector", p.endpoint.Connector).Str("endpoint", p.endpoint.name())
	}
	if reason != "" {
		line.Str("reason", reason)
	}
	if p.err != nil {
		line.Str("error", p.err.Error())
	} else {
		line.Str("outcome", string(p.judgement.Outcome())).Str("secret", p.judgement.Secret)
		for _, k := range p.judgement.Kept {
			line.Str(fmt.Sprintf("item_%d", k.Item), string(k.Outcome)+": "+k.Reason)
		}
	}
	if len(p.receipts) > 0 {
		line.Strs("ids", p.ids).Any("receipts", p.receipts)
	}
	line.Msg("webhook")
}

// traceparent is the W3C trace context that the request came with, or a new
// one. https://www.w3.org/TR/trace-context/#traceparent-header
func traceparent(h http.Header) string {
	if came := h.Get("Traceparent"); validTraceparent(came) {
		return came
	}
	var id [24]byte
	_, _ = rand.Read(id[:]) // never fails
	return "00-" + hex.EncodeToString(id[:16]) + "-" + hex.EncodeToString(id[16:]) + "-01"
}

func validTraceparent(s string) bool {
	parts := strings.Split(s, "-")
	if len(parts) != 4 || parts[0] != "00" || len(parts[1]) != 32 || len(parts[2]) != 16 || len(parts[3]) != 2 {
		return false
	}
	zero := strings.Trim(parts[1], "0") == "" || strings.Trim(parts[2], "0") == ""
	return !zero && !slices.ContainsFunc(parts, func(p string) bool { return strings.Trim(p, "0123456789abcdef") != "" })
}
