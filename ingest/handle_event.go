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
	"github.com/tollbridge/tollbridge/webhook"
)

// Report describes a webhook: whether it is verified, and its events. It is the
// response of POST /v1/handle_event, and the output of `tollbridge inspect`.
// Later versions may add fields.
type Report struct {
	Verified *bool  `json:"verified"`         // null if only a payload was read
	Reason   string `json:"reason"`           // why it is refused, in one word, or why it has no event; else empty
	Detail   string `json:"detail,omitempty"` // why it is refused, as a sentence
	Secret   string `json:"secret,omitempty"` // the name of the secret that matched
	// VouchedBy is "fetch" if the webhook is not signed and the processor's API knows its
	// object.
	VouchedBy webhook.VouchedBy   `json:"vouched_by,omitempty"`
	Fetched   []schemas.Fetched   `json:"fetched,omitempty"` // what the processor's API answered, without bodies
	Outcome   normalize.Outcome   `json:"outcome"`           // empty if it is refused
	Response  *Response           `json:"answer,omitempty"`  // what the processor would get
	Event     *schemas.Event      `json:"event"`             // the first of events, or null
	Events    []schemas.Event     `json:"events"`            //
	Kept      []normalize.Skipped `json:"kept,omitempty"`    // the items that gave no event, and why
}

// Inspect judges a request to the endpoint as the server would, and publishes
// nothing. It asks the processor's API if the endpoint has one.
func Inspect(ctx context.Context, e webhook.Endpoint, k *verify.Keyring, r verify.Request, now time.Time) Report {
	v := e.Judge(ctx, k, r, now)
	verified, response := v.Err == nil, responseTo(&e, v)
	report := newReport(v)
	report.Verified, report.Response, report.Secret = &verified, &response, v.Secret
	if v.Err != nil {
		_, report.Reason = responsePolicy{}.refusal(v.Err)
		report.Detail = v.Err.Error()
	}
	return report
}

// InspectPayload normalises a payload without verifying it.
func InspectPayload(e webhook.Endpoint, payload []byte, now time.Time) (Report, error) {
	r, err := e.NormalizeUnverified(payload, now)
	return newReport(webhook.Verdict{Result: r}), err
}

func newReport(v webhook.Verdict) Report {
	r := Report{Outcome: v.Outcome(), Events: v.Events, Kept: v.Skipped, VouchedBy: v.VouchedBy(), Fetched: v.Fetched}
	if len(r.Events) == 0 {
		r.Events, r.Reason = []schemas.Event{}, v.Reasons()
	} else {
		r.Event = &r.Events[0]
	}
	return r
}

// inspectRequest is the body of POST /v1/handle_event.
type inspectRequest struct {
	Connector      string            `json:"connector"`
	Payload        string            `json:"payload"`        // the exact body, as text
	PayloadBase64  []byte            `json:"payload_base64"` // the exact body, if it is not UTF-8
	Headers        map[string]string `json:"headers"`
	WebhookSecret  string            `json:"webhook_secret"`
	WebhookSecrets []string          `json:"webhook_secrets"` // while one secret replaces another
	Settings       map[string]string `json:"settings"`
	Method         string            `json:"method"` // empty means POST
	URL            string            `json:"url"`    // needed if the processor signs it
}

// handleEvent handles POST /v1/handle_event: status 200 and a [Report] if the
// webhook is verified, 401 and one if it is not, 400 and an error if the request
// is wrong. It has the limits of a webhook, and ends when the client disconnects.
// Allowed, if it is not nil, returns an error for the connectors that must not be
// asked about.
func (s *Server) handleEvent(c echo.Context, allowed func(connector string) error) error {
	q := inspection{s: s, start: s.Now(), from: s.Client(c.Request()), allowed: allowed}
	status, response := q.run(c)
	q.finish(c, status)
	if err := c.JSON(status, response); err != nil {
		s.Log.Info().Err(err).Msg("client disconnected before the response")
	}
	return nil
}

// configured returns an error for connectors that have no endpoint.
func (s *Server) configured(connector string) error {
	for _, r := range s.currentRoutes() {
		if r.endpoint.Connector == connector {
			return nil
		}
	}
	return fmt.Errorf("no endpoint of connector %q is configured; only the admin listener answers for connectors without one", shorten(connector))
}

// inspection is one request to handle_event.
type inspection struct {
	s         *Server
	start     time.Time
	from      netip.Addr
	allowed   func(connector string) error
	connector string // empty until the connector is known to exist
	bytes     int
	reason    string // why the webhook is not verified, or the request failed
	err       error  // of reading the request
}

// run returns the status and the body of the response. A panic gives a 503.
func (q *inspection) run(c echo.Context) (status int, response any) {
	defer func() {
		if err := q.s.recovered(recover(), ""); err != nil {
			status, response = q.fail(err)
		}
	}()
	s, of := q.s, addressBlock(q.from)
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
	select { // leave half of the CPUs for webhooks
	case s.judging <- struct{}{}:
		defer func() { <-s.judging }()
	case <-ctx.Done():
		return q.fail(ctx.Err())
	}
	asked, err := readInspectRequest(body)
	if err == nil && q.allowed != nil {
		err = q.allowed(asked.Connector)
	}
	if err != nil {
		return q.badRequest(err)
	}
	e, r, err := asked.webhook()
	if err != nil {
		return q.badRequest(err)
	}
	q.connector = e.Connector
	report := Inspect(verify.WithRequester(ctx, of), e, &s.asked, r, s.Now())
	if err := ctx.Err(); err != nil {
		return q.fail(err)
	}
	report.Response = nil // the client of handle_event is not the processor
	if *report.Verified {
		return http.StatusOK, report
	}
	q.reason = report.Reason
	switch verify.Reason(report.Reason) {
	case verify.ErrSetting:
		return http.StatusBadRequest, report
	case verify.ErrKeyNotThere:
		return http.StatusServiceUnavailable, report
	}
	return http.StatusUnauthorized, report
}

// fail returns the response to an error that the client's request did not cause.
func (q *inspection) fail(err error) (status int, response any) {
	var r Response
	r, q.reason = responsePolicy{}.refusal(err)
	if errors.Is(err, context.Canceled) {
		q.reason = "caller_gone"
	}
	q.err = err
	return r.Status, errorBody(q.reason)
}

// badRequest returns the response to a wrong request. The error may quote it.
func (q *inspection) badRequest(err error) (status int, response any) {
	q.reason = "bad_request"
	return http.StatusBadRequest, errorBody(err.Error())
}

// finish logs and counts the request, and sets the headers of the response.
func (q *inspection) finish(c echo.Context, status int) {
	s, r, took := q.s, c.Request(), q.s.Now().Sub(q.start)
	line := s.Log.Info()
	if status >= http.StatusInternalServerError {
		line = s.Log.Error()
	}
	line.Str("method", shorten(r.Method)).Str("path", c.Path()).Int("status", status).Dur("took_ms", took).
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
	if bodyUnread(q.err) {
		closeConnection(c.Response())
	}
}

func errorBody(text string) any { return echo.Map{"error": text} }

// readInspectRequest reads the body of POST /v1/handle_event.
func readInspectRequest(body []byte) (q inspectRequest, err error) {
	if err := json.Unmarshal(body, &q, json.RejectUnknownMembers(true)); err != nil {
		return q, fmt.Errorf("want {connector, payload, headers, webhook_secret}, the payload as a string: %w", err)
	}
	if q.Payload != "" && len(q.PayloadBase64) > 0 {
		return q, errors.New("want one of payload and payload_base64")
	}
	return q, nil
}

// webhook returns the webhook in the question, and an endpoint to verify it with.
func (q inspectRequest) webhook() (webhook.Endpoint, verify.Request, error) {
	e := webhook.Endpoint{Connector: q.Connector, Keys: verify.Keys{Settings: q.Settings}}
	if q.WebhookSecret != "" {
		e.Keys.Secrets = []verify.Secret{{Name: "webhook_secret", Value: q.WebhookSecret}}
	}
	for i, value := range q.WebhookSecrets {
		e.Keys.Secrets = append(e.Keys.Secrets, verify.Secret{Name: fmt.Sprintf("webhook_secrets[%d]", i), Value: value})
	}
	if err := e.Check(); err != nil {
		return webhook.Endpoint{}, verify.Request{}, err
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
