package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/labstack/echo/v4"

	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// HandleEvent verifies a webhook of a connector by a secret and returns the
// events it stands for. It publishes nothing and keeps nothing. The payload is
// the exact body, and the headers are the request's. The error wraps a
// [verify.Reason] if the webhook is not from the processor, [normalize.ErrMalformed]
// if it is not what the processor documents, and [ErrNoEvent] if it is nothing
// that tollbridge unifies.
func HandleEvent(connector string, payload []byte, headers http.Header, secret string) ([]schemas.Event, error) {
	e := Endpoint{Connector: connector, Keys: verify.Keys{Secrets: []verify.Secret{{Name: "webhook_secret", Value: secret}}}}
	request := verify.Request{Method: http.MethodPost, Header: headers, Body: payload}
	j := e.Judge(context.Background(), new(verify.Keyring), request, time.Now())
	switch {
	case j.Err != nil:
		return nil, j.Err
	case j.Outcome() == normalize.OutcomeMalformed:
		return nil, fmt.Errorf("%w: %s", normalize.ErrMalformed, reasons(j.Kept))
	case j.Outcome() != normalize.OutcomeEvents:
		return nil, fmt.Errorf("%w: %s: %s", ErrNoEvent, j.Outcome(), reasons(j.Kept))
	}
	return j.Events, nil
}

// ErrNoEvent is wrapped for a webhook that is verified and read, and is about
// nothing that tollbridge has an event for.
var ErrNoEvent = errors.New("no event")

// Verdict says what a request is and would come to: the answer of `tollbridge
// inspect` and of POST /v1/handle_event. Names may be added; none changes.
type Verdict struct {
	Verified *bool             `json:"verified"`         // null if only a payload was judged
	Reason   string            `json:"reason,omitempty"` // why it is not verified
	Detail   string            `json:"detail,omitempty"` // the same as a sentence
	Secret   string            `json:"secret,omitempty"` // the name of the one that matched
	Outcome  normalize.Outcome `json:"outcome,omitempty"`
	Answer   *Answer           `json:"answer,omitempty"` // what the processor would get
	Event    *schemas.Event    `json:"event,omitempty"`  // the first of events
	Events   []schemas.Event   `json:"events"`
	Kept     []normalize.Kept  `json:"kept,omitempty"` // items without an event, and why
}

// Verdict judges a request to the endpoint as the server would, and publishes nothing.
func (e Endpoint) Verdict(ctx context.Context, k *verify.Keyring, r verify.Request, now time.Time) Verdict {
	j := e.Judge(ctx, k, r, now)
	verified, answer := j.Err == nil, e.Answer(j)
	v := e.meaning(j.Result)
	v.Verified, v.Answer, v.Secret, v.Outcome = &verified, &answer, j.Secret, j.Outcome()
	if j.Err != nil {
		_, v.Reason = dialect{}.refusal(j.Err)
		v.Detail = j.Err.Error()
	}
	return v
}

// Meaning judges a payload alone: what it claims, signature aside. Were it
// verified, what no signature covers would stand in for nothing.
func (e Endpoint) Meaning(payload []byte, now time.Time) (Verdict, error) {
	o := e.options(now)
	o.Unsigned = true
	r, err := normalize.Normalize(e.Connector, payload, o)
	return e.meaning(r), err
}

func (e Endpoint) meaning(r normalize.Result) Verdict {
	v := Verdict{Outcome: r.Outcome(), Events: r.Events, Kept: r.Kept}
	if v.Events == nil {
		v.Events = []schemas.Event{}
	} else {
		v.Event = &v.Events[0]
	}
	return v
}

// handleEventRequest is the body of POST /v1/handle_event.
type handleEventRequest struct {
	Connector     string            `json:"connector"`
	Payload       string            `json:"payload"`        // the exact body, as text
	PayloadBase64 []byte            `json:"payload_base64"` // the exact body, where it is not UTF-8
	Headers       map[string]string `json:"headers"`
	WebhookSecret string            `json:"webhook_secret"`
	Settings      map[string]string `json:"settings"`
	Method        string            `json:"method"` // POST if empty
	URL           string            `json:"url"`    // where the processor signs it
}

// handleEvent is [HandleEvent] over HTTP: 200 with a [Verdict] for a webhook
// that is verified, 401 with one for a webhook that is not, 400 with an error
// for a question that cannot be answered. It has the limits of a webhook, and
// ends when its caller has gone. Allowed, if it is not nil, says which
// connectors may be asked about.
func (s *Server) handleEvent(c echo.Context, allowed func(connector string) error) error {
	q := question{s: s, start: s.Now(), from: s.client(c.Request()), allowed: allowed}
	status, answer := q.answer(c)
	q.finish(c, status)
	if err := c.JSON(status, answer); err != nil {
		s.Log.Info().Err(err).Msg("the caller did not wait for its answer")
	}
	return nil
}

// configured allows the connectors that have an endpoint.
func (s *Server) configured(connector string) error {
	for _, e := range s.endpoints {
		if e.Connector == connector {
			return nil
		}
	}
	return fmt.Errorf("no endpoint of connector %q is configured, and here no other can be asked about; the admin listener answers for all", short(connector))
}

// question is one request to handle_event.
type question struct {
	s         *Server
	start     time.Time
	from      netip.Addr
	allowed   func(connector string) error
	connector string // once it is known to be one
	bytes     int
	reason    string // why it is not verified, or not answered
	err       error  // of reading the request
}

// answer returns the status and the body of the answer. A panic becomes a 503.
func (q *question) answer(c echo.Context) (status int, answer any) {
	defer func() {
		if err := q.s.recovered(recover()); err != nil {
			status, answer = q.fail(err)
		}
	}()
	s, of := q.s, whole(q.from)
	if err := s.webhooks.take(of, 1); err != nil {
		return q.fail(err)
	}
	defer s.webhooks.give(of, 1)
	ctx, cancel := context.WithTimeout(c.Request().Context(), s.Deadline)
	defer cancel()
	body, release, err := s.read(ctx, c.Response(), c.Request())
	defer release()
	if err != nil {
		return q.fail(err)
	}
	q.bytes = len(body)
	select { // some of the processors stay for webhooks
	case s.judging <- struct{}{}:
		defer func() { <-s.judging }()
	case <-ctx.Done():
		return q.fail(ctx.Err())
	}
	asked, err := readQuestion(body)
	if err == nil && q.allowed != nil {
		err = q.allowed(asked.Connector)
	}
	if err != nil {
		return q.refuse(err)
	}
	e, r, err := asked.request()
	if err != nil {
		return q.refuse(err)
	}
	q.connector = e.Connector
	v := e.Verdict(verify.WithRequester(ctx, of), &s.asked, r, s.Now())
	if err := ctx.Err(); err != nil {
		return q.fail(err)
	}
	v.Answer = nil // this caller is not the processor
	q.reason = v.Reason
	switch verify.Reason(v.Reason) {
	case "":
		return http.StatusOK, v
	case verify.ErrSetting:
		return http.StatusBadRequest, v
	case verify.ErrKeyNotThere:
		return http.StatusServiceUnavailable, v
	}
	return http.StatusUnauthorized, v
}

// fail is the answer to an error that is none of the question.
func (q *question) fail(err error) (status int, answer any) {
	var a Answer
	a, q.reason = dialect{}.refusal(err)
	if errors.Is(err, context.Canceled) {
		q.reason = "caller_gone"
	}
	q.err = err
	return a.Status, failed(q.reason)
}

// refuse is the answer to a question that cannot be answered, in the caller's
// own words.
func (q *question) refuse(err error) (status int, answer any) {
	q.reason = "bad_request"
	return http.StatusBadRequest, failed(err.Error())
}

// finish logs and counts the question, and sets the headers of its answer.
func (q *question) finish(c echo.Context, status int) {
	s, r, took := q.s, c.Request(), q.s.Now().Sub(q.start)
	line := s.Log.Info()
	if status >= http.StatusInternalServerError {
		line = s.Log.Error()
	}
	line.Str("method", short(r.Method)).Str("path", c.Path()).Int("status", status).Dur("took_ms", took).
		Int("bytes", q.bytes).Str("remote", r.RemoteAddr).Str("connector", q.connector)
	if q.from.IsValid() && q.from != peer(r.RemoteAddr) {
		line.Stringer("client", q.from) // as a trusted proxy says
	}
	if q.reason != "" {
		line.Str("reason", q.reason)
	}
	line.Msg("handle_event")
	s.metrics.questions.WithLabelValues(q.connector, q.reason, strconv.Itoa(status)).Inc()
	s.metrics.questionSeconds.Observe(took.Seconds())
	if status == http.StatusServiceUnavailable {
		c.Response().Header().Set("Retry-After", retryAfter)
	}
	if bodyLeft(q.err) {
		hangUp(c.Response())
	}
}

func failed(why string) any { return echo.Map{"error": why} }

// readQuestion reads the body of POST /v1/handle_event.
func readQuestion(body []byte) (q handleEventRequest, err error) {
	if err := json.Unmarshal(body, &q, json.RejectUnknownMembers(true)); err != nil {
		return q, fmt.Errorf("want {connector, payload, headers, webhook_secret}, the payload as a string: %w", err)
	}
	if q.Payload != "" && len(q.PayloadBase64) > 0 {
		return q, errors.New("want one of payload and payload_base64")
	}
	return q, nil
}

// request is the webhook that is asked about, and the endpoint it would come to.
func (q handleEventRequest) request() (Endpoint, verify.Request, error) {
	e := Endpoint{Connector: q.Connector, Keys: verify.Keys{Settings: q.Settings}}
	if q.WebhookSecret != "" {
		e.Keys.Secrets = []verify.Secret{{Name: "webhook_secret", Value: q.WebhookSecret}}
	}
	if err := e.Check(); err != nil {
		return Endpoint{}, verify.Request{}, err
	}
	r := verify.Request{Method: cmp.Or(q.Method, http.MethodPost), URL: q.URL, Header: http.Header{}, Body: []byte(q.Payload)}
	if len(q.PayloadBase64) > 0 {
		r.Body = q.PayloadBase64
	}
	for name, value := range q.Headers {
		r.Header.Set(name, value)
	}
	return e, r, nil
}
