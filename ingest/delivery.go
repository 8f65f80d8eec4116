package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/trace"

	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// delivery is one request with a webhook, from its headers to its response.
type delivery struct {
	s          *Server
	route      *route            // nil if the path has no endpoint
	endpoint   *webhook.Endpoint // of the route
	start      time.Time
	trace      string     // W3C traceparent: of the span, or without tracing of the request
	span       trace.Span // nil without tracing
	from       netip.Addr // the sender: see [Config.Client]
	bytes      int        // of the body
	verdict    webhook.Verdict
	entries    []entry // the records of the webhook, once all of them are in Kafka
	duplicates int     // number of events that were published before
	// corrections is the number of published events that the webhook corrects, and
	// noCorrections says that Kafka takes none of them.
	corrections   int
	noCorrections bool
	err           error
}

// entry is one record of a webhook: an event or the archived webhook.
type entry struct {
	id        string // the event's id, or "webhook"
	record    kafka.Record
	receipt   kafka.Receipt
	published bool // it was published before, and has no record here
}

// newDelivery returns the delivery of a request, whose trace has begun. The route is the
// path's template, or empty if the path has none.
func (s *Server) newDelivery(c echo.Context, route string) *delivery {
	d := &delivery{s: s, start: s.Now()}
	if s.Tracer == nil {
		d.trace = traceparent(c.Request().Header)
	} else {
		d.startTrace(c, route)
	}
	return d
}

// deliver handles a request with a webhook.
func (s *Server) deliver(c echo.Context) error {
	d := s.newDelivery(c, c.Path())
	s.metrics.underWay.Inc()
	defer s.metrics.underWay.Dec()
	d.from = s.Client(c.Request())
	if d.err = s.webhooks.take(addressBlock(d.from), 1); d.err == nil {
		defer s.webhooks.give(addressBlock(d.from), 1)
		d.err = d.process(c)
	}
	d.respond(c)
	return nil
}

// process verifies, normalises and publishes the webhook. It turns a panic into
// an error: the response is a 503, and the processor sends the webhook again.
func (d *delivery) process(c echo.Context) (err error) {
	defer func() {
		if panicked := d.s.recovered(recover(), d.trace); panicked != nil {
			err = panicked
		}
	}()
	s, r := d.s, c.Request()
	name := c.Param("endpoint")
	if name == "" {
		name = "default"
	}
	if d.route = s.currentRoutes()[c.Param("connector")+"/"+name]; d.route == nil {
		return errEndpoint
	}
	d.endpoint = d.route.endpoint
	policy := policies[d.endpoint.Connector]
	get := r.Method == http.MethodGet && (policy.handshake || policy.query)
	if r.Method != http.MethodPost && !get {
		return d.refuse(r, nil, errMethod)
	}
	// A sender that disconnects must not cancel a write to Kafka.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), max(s.Deadline, policy.deadline))
	defer cancel()
	ctx = verify.WithRequester(ctx, addressBlock(d.from))

	_, receiving := d.begin(ctx, stageReceive)
	body, release, err := s.read(ctx, c.Response(), r)
	defer release()
	receiving.end(err)
	if err != nil {
		return d.refuse(r, nil, err)
	}
	if get && policy.query {
		body = []byte(r.URL.RawQuery)
	}
	d.bytes = len(body)
	request := verify.Request{Method: r.Method, URL: d.endpoint.Address(r.URL), Header: r.Header, Body: body}
	d.judge(ctx, request)
	if d.verdict.Err != nil {
		return d.refuse(r, body, d.verdict.Err)
	}
	d.countSecret()
	if d.verdict.Handshake {
		return nil
	}
	for {
		retry, err := d.publish(ctx, r, body)
		if !retry {
			return err
		}
	}
}

// refuse calls [Config.Refused] with the request, and returns err.
func (d *delivery) refuse(r *http.Request, body []byte, err error) error {
	if d.s.Refused == nil {
		return err
	}
	response, reason := policies[d.endpoint.Connector].refusal(err)
	d.s.Refused(webhook.Refused{
		Connector: d.endpoint.Connector, Endpoint: d.endpoint.NameOrDefault(), ReceivedAt: d.start, From: d.from, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery,
		Header: r.Header, Body: body, Status: response.Status, Reason: reason, Error: err.Error(),
	})
	return err
}

// judge verifies and normalises the request, and sets the verdict. It is
// [webhook.Endpoint.Judge] in stages.
func (d *delivery) judge(ctx context.Context, request verify.Request) {
	during, verifying := d.begin(ctx, stageVerify)
	d.verdict = d.endpoint.Verify(during, &d.s.keyring, request, d.start)
	verifying.end(d.verdict.Err)
	if d.verdict.Err != nil || d.verdict.Handshake {
		return
	}
	if d.endpoint.API != nil {
		during, fetching := d.begin(ctx, stageFetch)
		d.verdict = d.endpoint.Fetch(during, request, d.verdict)
		fetching.end(d.verdict.FetchErr())
	}
	during, normalising := d.begin(ctx, stageNormalise)
	d.verdict = d.endpoint.Conclude(during, d.verdict, d.start)
	normalising.malformed()
	normalising.end(d.verdict.Err)
}

// publish writes the events, the archived webhook and the references to Kafka.
// Events whose records are too large become malformed: they would be refused at
// each redelivery. Publish returns retry then, to write the rest.
func (d *delivery) publish(ctx context.Context, r *http.Request, body []byte) (retry bool, err error) {
	published, err := d.s.currentHistory()
	if err != nil {
		return false, err
	}
	during, admitting := d.begin(ctx, stageAdmit)
	admission, err := published.Admit(during, d.verdict.Events, d.verdict.References...)
	admitting.end(err)
	if err != nil {
		return false, err
	}
	defer admission.Forget() // has no effect after Done
	if d.noCorrections {
		admission.DropCorrections()
	}
	during, publishing := d.begin(ctx, stagePublish)
	defer func() { publishing.end(err) }()
	entries, err := d.newEntries(admission, r, body, publishing.traceparent(during))
	var receipts []kafka.Receipt
	if err == nil {
		publishing.sends(entries, len(admission.References))
		receipts, err = d.write(during, entries, admission.References)
	}
	if err != nil {
		var large *kafka.TooLarge
		if errors.As(err, &large) {
			return d.dropTooLarge(admission, large), err
		}
		admission.Fail(err)
		return false, err
	}
	admission.Done(receipts[:len(admission.Events)], receipts[len(receipts)-len(admission.References):])
	d.entries, d.duplicates = entries, len(admission.Known)
	d.corrections = len(admission.Events) - d.newEvents(admission)
	return false, nil
}

// newEvents returns the number of new events of the webhook. They come first in the
// admission's events; corrections follow.
func (d *delivery) newEvents(a *history.Admission) int { return len(d.verdict.Events) - len(a.Known) }

// write publishes the records of the entries that are new, and the references. It
// sets the entries' receipts and returns the receipts of all that it wrote.
func (d *delivery) write(ctx context.Context, entries []entry, references []kafka.Record) ([]kafka.Receipt, error) {
	records := make([]kafka.Record, 0, len(entries)+len(references))
	for _, e := range entries {
		if !e.published {
			records = append(records, e.record)
		}
	}
	records = append(records, references...)
	receipts, err := d.s.Publisher.Publish(ctx, records)
	if err != nil {
		return nil, err
	}
	if len(receipts) != len(records) {
		return nil, fmt.Errorf("%w: %d receipts for %d records", errReceipts, len(receipts), len(records))
	}
	next := 0
	for i := range entries {
		if !entries[i].published {
			entries[i].receipt = receipts[next]
			next++
		}
	}
	return receipts, nil
}

// maxRecords is the limit on the bytes of all events of one webhook. In a batch, each
// event can repeat what the webhook says once.
const maxRecords = 16 << 20

// newEntries returns an entry for each event of the webhook and for each correction,
// and one for the archived webhook. The error is a [kafka.TooLarge] if some of them,
// or all together, are too large; its indexes are those of the admission's events,
// and their number for the archived webhook. The records have the W3C trace context.
func (d *delivery) newEntries(a *history.Admission, r *http.Request, body []byte, traceparent string) ([]entry, error) {
	entries := make([]entry, 0, len(d.verdict.Events)+1)
	ids := make([]string, 0, len(d.verdict.Events))
	var tooLarge *kafka.TooLarge
	for i := range d.verdict.Events {
		id := d.verdict.Events[i].ID
		if known, ok := a.Known[id]; ok {
			ids = append(ids, known.ID)
			entries = append(entries, entry{id: known.ID, receipt: known.Receipt, published: true})
			continue
		}
		ids = append(ids, id)
		entries = append(entries, entry{id: id})
	}
	bytes, next := 0, 0
	for n := range a.Events {
		record, err := kafka.EventRecord(d.s.names(), a.Events[n], traceparent)
		if err != nil {
			var large *kafka.TooLarge
			if !errors.As(err, &large) {
				return nil, err
			}
			if tooLarge == nil {
				tooLarge = &kafka.TooLarge{Err: large.Err}
			}
			tooLarge.Records = append(tooLarge.Records, n)
		}
		if bytes += len(record.Key) + len(record.Value); bytes > maxRecords {
			return nil, &kafka.TooLarge{Records: []int{len(a.Events)}, Err: fmt.Errorf("the events have more than %d bytes together", maxRecords)}
		}
		for next < len(entries) && entries[next].published {
			next++
		}
		if next == len(entries) { // a correction
			entries = append(entries, entry{id: a.Events[n].ID})
		}
		record.NotAfter = a.NotAfter
		entries[next].record = record
		next++
	}
	if tooLarge != nil {
		return nil, tooLarge
	}
	return append(entries, entry{id: "webhook", record: d.archiveRecord(a, r, body, ids, traceparent)}), nil
}

// archiveRecord returns the record of the request, for webhooks.received or, if
// an item of the webhook is malformed, for webhooks.dead. Its key is that of the
// first event, or the connector's name if there is none.
func (d *delivery) archiveRecord(a *history.Admission, r *http.Request, body []byte, ids []string, traceparent string) kafka.Record {
	v := d.verdict
	key, outcome := d.endpoint.Connector, v.Outcome()
	if len(v.Events) > 0 {
		key = v.Events[0].Subject
	}
	if len(a.Events) > 0 {
		key = a.Events[0].Subject
	}
	if len(v.Events) > 0 && d.newEvents(a) == 0 {
		outcome = webhook.OutcomeDuplicate
	}
	archived := webhook.Archived{
		Connector: d.endpoint.Connector, Endpoint: d.endpoint.NameOrDefault(),
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header, Body: body,
		ReceivedAt: d.start, Secret: v.Secret, Outcome: outcome, Reason: v.Reasons(), EventIDs: ids, Trace: traceparent,
		VouchedBy: v.VouchedBy(), Fetched: v.Fetched,
	}
	topic := d.s.names().Received()
	if v.Has(normalize.OutcomeMalformed) {
		topic = d.s.names().Dead()
	}
	record := archived.Record(key)
	return kafka.Record{Topic: topic, ID: archived.ID(), Key: record.Key, Value: record.Value, Headers: record.Headers}
}

// dropTooLarge turns the events whose records are too large into malformed items. It
// drops all corrections if one of them is too large, and all events if the archived
// webhook is too large, because it lists their ids; if it is then still too large, it
// drops what the processor's API answered. It reports whether it changed anything.
func (d *delivery) dropTooLarge(a *history.Admission, large *kafka.TooLarge) bool {
	dropped := map[string]bool{}
	all, corrections := false, false
	for _, i := range large.Records {
		switch {
		case i >= len(a.Events):
			all = true
		case i >= d.newEvents(a):
			d.noCorrections, corrections = true, true
		default:
			dropped[a.Events[i].ID] = true
		}
	}
	var rest []schemas.Event
	for _, e := range d.verdict.Events {
		if !all && !dropped[e.ID] {
			rest = append(rest, e)
			continue
		}
		d.verdict.Skipped = append(d.verdict.Skipped, normalize.Skipped{
			Type: e.Data.ConnectorEventType, Outcome: normalize.OutcomeMalformed, Reason: large.Error(),
		})
	}
	changed := len(rest) < len(d.verdict.Events) || corrections
	if all && !changed && len(d.verdict.Fetched) > 0 { // what the API answered is too large
		d.verdict.Fetched, changed = nil, true
	}
	d.verdict.Events = rest
	return changed
}

// recovered logs a panic and returns it as an error; nil if there was none. The W3C
// trace context of the request may be empty.
func (s *Server) recovered(p any, traceparent string) error {
	if p == nil {
		return nil
	}
	err := fmt.Errorf("%w: %v", errPanic, p)
	s.Log.Error().Err(err).Str("trace", traceparent).Bytes("stack", debug.Stack()).Msg("panic")
	return err
}

// respond sends the response, and logs and counts the delivery. The sender only
// gets the status of an error, the log gets its reason.
func (d *delivery) respond(c echo.Context) {
	response, reason := d.response()
	defer d.endTrace(response.Status, reason)
	d.log(c.Request(), response.Status, reason)
	d.s.metrics.count(d, response.Status, reason)
	for name, value := range response.Headers {
		c.Response().Header().Set(name, value)
	}
	if d.err == nil && len(d.entries) > 0 {
		c.Response().Header().Set(ReceiptHeader, receiptHeader(d.entries))
	}
	if bodyUnread(d.err) {
		closeConnection(c.Response())
	}
	c.Response().WriteHeader(response.Status)
	if response.Body == "" || c.Request().Method == http.MethodHead {
		return
	}
	if _, err := c.Response().Write([]byte(response.Body)); err != nil {
		d.s.Log.Info().Err(err).Msg("client disconnected before the response") // it will send the webhook again
	}
}

// response returns the response without its receipts, and the reason for a refusal as one word.
func (d *delivery) response() (Response, string) {
	if d.err != nil {
		var p responsePolicy
		if d.endpoint != nil {
			p = policies[d.endpoint.Connector]
		}
		return p.refusal(d.err)
	}
	return responseTo(d.endpoint, d.verdict), ""
}

// bodyUnread reports whether a request was refused before its body was read.
func bodyUnread(err error) bool {
	for _, e := range []error{errTooLarge, errSlow, errBusy, errShare} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// closeConnection closes the connection after the response. Otherwise the server
// would read and drop the rest of the body before it responds.
func closeConnection(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now())
}
