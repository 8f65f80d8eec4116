package ingest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/rs/zerolog"

	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// passage is one webhook on its way through the stages.
type passage struct {
	s          *Server
	endpoint   *Endpoint
	start      time.Time
	trace      string     // W3C traceparent
	from       netip.Addr // whose request it is: see [Server.client]
	bytes      int
	judgement  Judgement
	receipts   []kafka.Receipt
	ids        []string // of the records, as in the receipt header
	duplicates int      // events that were published before
	err        error
}

// webhook takes one request through the stages and answers it.
func (s *Server) webhook(c echo.Context) error {
	p := s.newPassage(c)
	s.metrics.underWay.Inc()
	defer s.metrics.underWay.Dec()
	p.from = s.client(c.Request())
	if p.err = s.webhooks.take(whole(p.from), 1); p.err == nil {
		defer s.webhooks.give(whole(p.from), 1)
		p.err = p.run(c)
	}
	p.finish(c)
	return nil
}

// bodyLeft reports whether a request is refused although more of its body may
// come.
func bodyLeft(err error) bool {
	for _, e := range []error{errTooLarge, errSlow, errBusy, errShare} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// hangUp ends the connection after the answer. Otherwise the server would wait
// for the rest of the body, to drop it, before it answers.
func hangUp(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now())
}

func (s *Server) newPassage(c echo.Context) *passage {
	return &passage{s: s, start: s.Now(), trace: traceparent(c.Request().Header)}
}

// finish answers. What went wrong is told to the log and, as a status and no
// more, to the sender.
func (p *passage) finish(c echo.Context) {
	answer, reason := p.answer()
	p.log(c.Request(), answer.Status, reason)
	p.s.metrics.count(p, answer.Status, reason)
	for name, value := range answer.Headers {
		c.Response().Header().Set(name, value)
	}
	if bodyLeft(p.err) {
		hangUp(c.Response())
	}
	c.Response().WriteHeader(answer.Status)
	if answer.Body == "" || c.Request().Method == http.MethodHead {
		return
	}
	if _, err := c.Response().Write([]byte(answer.Body)); err != nil {
		p.s.Log.Info().Err(err).Msg("the sender did not wait for its answer") // and will send again
	}
}

// run is the way of one webhook. A panic on it becomes an error: the answer is
// a 503 and the processor sends again.
func (p *passage) run(c echo.Context) (err error) {
	defer func() {
		if panicked := p.s.recovered(recover()); panicked != nil {
			err = panicked
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
	get := r.Method == http.MethodGet && (d.handshake || d.query)
	if r.Method != http.MethodPost && !get {
		return errMethod
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), max(s.Deadline, d.deadline))
	defer cancel() // a sender that hangs up does not stop what Kafka is doing

	ctx = verify.WithRequester(ctx, whole(p.from))

	body, release, err := s.read(ctx, c.Response(), r)
	defer release()
	if err != nil {
		return err
	}
	if get && d.query {
		body = []byte(r.URL.RawQuery)
	}
	p.bytes = len(body)
	request := verify.Request{Method: r.Method, URL: p.endpoint.address(r.URL), Header: r.Header, Body: body}
	p.judgement = p.endpoint.Judge(ctx, &s.keyring, request, p.start)
	if p.judgement.Err != nil || p.judgement.Handshake {
		return p.judgement.Err
	}
	for {
		again, err := p.publish(ctx, r, body)
		if !again {
			return err
		}
	}
}

// publish has Kafka write what the webhook comes to, and the webhook. Events
// that cannot be written for their size become malformed, and again tells that
// the rest is to be published without them: the webhook would be refused
// whenever it comes.
func (p *passage) publish(ctx context.Context, r *http.Request, body []byte) (again bool, err error) {
	a, err := p.s.History.Admit(ctx, p.judgement.Events)
	if err != nil {
		return false, err
	}
	defer a.Forget() // unless it is done
	records, err := p.records(a, r, body)
	var receipts []kafka.Receipt
	if err == nil {
		receipts, err = p.s.Publisher.Publish(ctx, records)
	}
	var large *kafka.TooLarge
	switch {
	case errors.As(err, &large):
		return p.strike(a, large), err
	case err != nil:
		return false, err
	case len(receipts) != len(records):
		return false, fmt.Errorf("%w: %d of %d", errReceipts, len(receipts), len(records))
	}
	a.Done(receipts[:len(a.Events)], receipts[len(receipts)-len(a.References):])
	p.receive(a, receipts)
	return false, nil
}

// strike makes events malformed whose records are too large, all of them where
// the record that is too large is the webhook's: it lists their ids. It returns
// false where there is none to blame.
func (p *passage) strike(a *history.Admission, large *kafka.TooLarge) bool {
	struck := map[string]bool{}
	all := false
	for _, i := range large.Records {
		if all = all || i >= len(a.Events); !all {
			struck[a.Events[i].ID] = true
		}
	}
	var rest []schemas.Event
	for _, e := range p.judgement.Events {
		if !all && !struck[e.ID] {
			rest = append(rest, e)
			continue
		}
		p.judgement.Kept = append(p.judgement.Kept, normalize.Kept{
			Type: e.Data.ConnectorEventType, Outcome: normalize.OutcomeMalformed, Reason: large.Error(),
		})
	}
	changed := len(rest) < len(p.judgement.Events)
	p.judgement.Events = rest
	return changed
}

// recovered is the error of a panic, told to the log; nil if there was none.
func (s *Server) recovered(p any) error {
	if p == nil {
		return nil
	}
	err := fmt.Errorf("%w: %v", errPanic, p)
	s.Log.Error().Err(err).Bytes("stack", debug.Stack()).Msg("panic")
	return err
}

// mostBytes is how many bytes the records of one webhook may have together. The
// events of a batch can each repeat what it says once.
const mostBytes = 16 << 20

// records is all that Kafka must have before the webhook is answered: the
// events that are new, the webhook as it came, and references. The error is a
// [kafka.TooLarge] where some of them, or all together, are.
func (p *passage) records(a *history.Admission, r *http.Request, body []byte) ([]kafka.Record, error) {
	var all []kafka.Record
	var tooLarge *kafka.TooLarge
	bytes := 0
	for i, e := range a.Events {
		rec, err := kafka.EventRecord(p.s.Names, e, p.trace)
		var large *kafka.TooLarge
		switch {
		case errors.As(err, &large):
			if tooLarge == nil {
				tooLarge = &kafka.TooLarge{Err: large.Err}
			}
			tooLarge.Records = append(tooLarge.Records, i)
		case err != nil:
			return nil, err
		}
		bytes += len(rec.Key) + len(rec.Value)
		if bytes > mostBytes {
			return nil, &kafka.TooLarge{Records: []int{len(a.Events)}, Err: fmt.Errorf("the events have more than %d bytes together", mostBytes)}
		}
		all = append(all, rec)
	}
	if tooLarge != nil {
		return nil, tooLarge
	}
	p.ids = nil
	for _, e := range p.judgement.Events {
		p.ids = append(p.ids, e.ID)
	}
	topic := p.s.Names.Received()
	if p.judgement.Has(normalize.OutcomeMalformed) {
		topic = p.s.Names.Dead()
	}
	all, p.ids = append(all, p.whole(topic, a, r, body)), append(p.ids, "webhook")
	return append(all, a.References...), nil
}

// receive notes where the webhook's records are, as in p.ids: an event that was
// published before has the receipt of then.
func (p *passage) receive(a *history.Admission, receipts []kafka.Receipt) {
	fresh := 0
	for _, id := range p.ids {
		if known, ok := a.Known[id]; ok {
			p.receipts = append(p.receipts, known)
			continue
		}
		p.receipts = append(p.receipts, receipts[fresh])
		fresh++
	}
	p.duplicates = len(a.Known)
}

// whole is the record of a request as it came: its exact body, and in the
// headers what is needed to read, and to verify, it again.
func (p *passage) whole(topic string, a *history.Admission, r *http.Request, body []byte) kafka.Record {
	j := p.judgement
	key, outcome := p.endpoint.Connector, j.Outcome()
	if len(j.Events) > 0 {
		key = j.Events[0].Subject
	}
	if len(a.Events) > 0 {
		key = a.Events[0].Subject
	} else if len(j.Events) > 0 {
		outcome = OutcomeDuplicate
	}
	headers := []schemas.Header{
		{Name: "connector", Value: p.endpoint.Connector},
		{Name: "endpoint", Value: p.endpoint.name()},
		{Name: "method", Value: r.Method},
		{Name: "path", Value: r.URL.Path},
		{Name: "query", Value: r.URL.RawQuery},
		{Name: "received-at", Value: p.start.UTC().Format(time.RFC3339Nano)},
		{Name: "secret", Value: j.Secret}, // its name
		{Name: "outcome", Value: string(outcome)},
		{Name: "reason", Value: reasons(j.Kept)},
		{Name: "event-ids", Value: strings.Join(p.ids, ",")},
		{Name: "traceparent", Value: p.trace},
	}
	c, _ := verify.Lookup(p.endpoint.Connector)
	for _, name := range append([]string{"Content-Type"}, c.Headers...) {
		for _, value := range r.Header.Values(name) {
			if slices.Contains(c.Tokens, name) {
				value = verify.Digest(value) // the archive holds no secrets
			}
			headers = append(headers, schemas.Header{Name: "http-" + strings.ToLower(name), Value: value})
		}
	}
	// The same body at the same endpoint is the same webhook: what else a
	// redelivery brings, such as the time it is signed at, differs each time.
	digest := sha256.Sum256(body)
	id := p.endpoint.id() + ":" + hex.EncodeToString(digest[:])
	return kafka.Record{Topic: topic, ID: id, Key: []byte(key), Value: body, Headers: headers}
}

// reasonBytes bounds the reasons of a record: a batch can have an item for every
// few bytes of its body, and a record that Kafka refuses is never acknowledged.
const reasonBytes = 4 << 10

// reasons is why items became no events, as a text.
func reasons(kept []normalize.Kept) string {
	var b strings.Builder
	for i, k := range kept {
		if i > 0 {
			b.WriteString("; ")
		}
		if b.Len() > reasonBytes {
			fmt.Fprintf(&b, "and %d more", len(kept)-i)
			break
		}
		fmt.Fprintf(&b, "item %d: %s: %.*s", k.Item, k.Outcome, reasonBytes, k.Reason)
	}
	return b.String()
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
		if a.Headers == nil {
			a.Headers = map[string]string{}
		}
		a.Headers[ReceiptHeader] = receipts(p.ids, p.receipts)
	}
	return a, ""
}

// log writes the request's one line. It has no secret and nothing of a body:
// of a request that was not verified no more than where it was sent, and of
// one that was its type's name, its events' ids and where Kafka has them.
func (p *passage) log(r *http.Request, status int, reason string) {
	line := p.s.Log.Info()
	if status >= http.StatusInternalServerError {
		line = p.s.Log.Error()
	} else if p.err != nil || p.judgement.Has(normalize.OutcomeMalformed) {
		line = p.s.Log.Warn()
	}
	line.Str("method", short(r.Method)).Str("path", short(r.URL.Path)).Int("status", status).
		Dur("took_ms", p.s.Now().Sub(p.start)).Int("bytes", p.bytes).Str("remote", r.RemoteAddr).
		Str("trace", p.trace)
	if p.from.IsValid() && p.from != peer(r.RemoteAddr) {
		line.Stringer("client", p.from) // as a trusted proxy says
	}
	if p.endpoint != nil {
		line.Str("connector", p.endpoint.Connector).Str("endpoint", p.endpoint.name())
	}
	if p.err != nil {
		line.Str("reason", reason)
		if loggable(p.err) {
			line.Str("error", p.err.Error())
		}
	} else {
		line.Str("outcome", string(p.judgement.Outcome())).Str("secret", p.judgement.Secret)
		logKept(line, p.judgement.Kept)
	}
	if p.duplicates > 0 {
		line.Int("duplicates", p.duplicates)
	}
	if len(p.receipts) > 0 {
		line.Strs("ids", p.ids).Array("receipts", logged(p.receipts))
	}
	line.Msg("webhook")
}

// logged is receipts as they are in JSON.
type logged []kafka.Receipt

func (all logged) MarshalZerologArray(a *zerolog.Array) {
	for i := range all {
		a.Object(loggedReceipt(all[i]))
	}
}

type loggedReceipt kafka.Receipt

func (r loggedReceipt) MarshalZerologObject(e *zerolog.Event) {
	e.Str("topic", r.Topic).Int("partition", r.Partition).Int64("offset", r.Offset)
}

// loggable reports whether an error's text is ours. That of a signature or
// body that cannot be read quotes what could not be read, which may be a card
// number: `tollbridge inspect` tells those who have the request.
func loggable(err error) bool { return !errors.Is(err, verify.ErrMalformed) }

// logKept writes how many items became no events, and of the first that was
// ignored what it was. Why an item is malformed quotes it: that is for the
// record in webhooks.dead.
func logKept(line *zerolog.Event, kept []normalize.Kept) {
	count := map[normalize.Outcome]int{}
	for _, k := range kept {
		if count[k.Outcome]++; count[k.Outcome] == 1 && k.Outcome == normalize.OutcomeIgnored {
			line.Str("why", short(k.Reason))
		}
	}
	for _, o := range []normalize.Outcome{normalize.OutcomeIgnored, normalize.OutcomeMalformed} {
		if n := count[o]; n > 0 {
			line.Int("items_"+string(o), n)
		}
	}
}

// short is text of a sender's, cut to what a log line can bear.
func short(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
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
