package console

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/schemas"
)

// liveFilter says which records a live view shows. Empty fields match all.
type liveFilter struct {
	Type      string // an event type, or one of the kinds below
	Connector string
	Endpoint  string
	Key       string // the merchant_transaction_id
	Min, Max  string // the amount, in major units, such as 10.99

	min, max *big.Rat
}

// Kinds of records that are no events.
const (
	kindEvents   = "events"
	kindWebhooks = "webhooks"
	kindLetters  = "dead letters"
)

// parseLiveFilter reads the filter of a URL.
func parseLiveFilter(q url.Values) (f liveFilter, err error) {
	field := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	f = liveFilter{Type: field("type"), Connector: field("connector"), Endpoint: field("endpoint"), Key: field("key"), Min: field("min"), Max: field("max")}
	if f.Type != "" && !slices.Contains([]string{kindEvents, kindWebhooks, kindLetters}, f.Type) && !schemas.Type(f.Type).Known() {
		return f, problem{http.StatusBadRequest, fmt.Sprintf("%q is not an event type.", display.Cut(f.Type, 100)), "Choose one from the list."}
	}
	amount := func(name, text string) *big.Rat {
		if text == "" {
			return nil
		}
		n, ok := (*big.Rat)(nil), len(text) <= 30 && strings.Trim(text, "0123456789.+-") == ""
		if ok { // an exponent could make a number of any size
			n, ok = new(big.Rat).SetString(text)
		}
		if !ok {
			err = problem{http.StatusBadRequest, fmt.Sprintf("The %s amount is %q.", name, display.Cut(text, 40)), "Write a number in major units of the currency, such as 10.99."}
			return nil
		}
		return n
	}
	f.min, f.max = amount("least", f.Min), amount("largest", f.Max)
	return f, err
}

// Query returns the filter as the query of a URL.
func (f liveFilter) Query() string {
	q := url.Values{}
	for name, value := range map[string]string{"type": f.Type, "connector": f.Connector, "endpoint": f.Endpoint, "key": f.Key, "min": f.Min, "max": f.Max} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q.Encode()
}

// needsDecoding reports whether the topic and the key of a record do not tell whether it
// matches.
func (f liveFilter) needsDecoding() bool {
	return f.Connector != "" || f.Endpoint != "" || f.min != nil || f.max != nil
}

// partitions returns the partitions that can have records that match.
func (f liveFilter) partitions(names kafka.Names, all []consume.Partition) []consume.Partition {
	matches := func(topic string) bool { return topic == names.Event(schemas.Type(f.Type)) }
	switch f.Type {
	case "":
		matches = func(string) bool { return true }
	case kindEvents:
		matches = func(topic string) bool { return topic != names.Received() && topic != names.Dead() }
	case kindWebhooks:
		matches = func(topic string) bool { return topic == names.Received() }
	case kindLetters:
		matches = func(topic string) bool { return topic == names.Dead() }
	}
	all = slices.DeleteFunc(slices.Clone(all), func(p consume.Partition) bool { return !matches(p.Topic) })
	if f.Key != "" {
		return lookup.PartitionsOf(all, f.Key)
	}
	return all
}

// matches reports whether a record of [liveFilter.partitions] matches.
func (f liveFilter) matches(i *lookup.Item) bool {
	if f.Key != "" && f.Key != i.Key {
		return false
	}
	var amount *schemas.Amount
	connector, endpoint := "", ""
	if i.Event != nil {
		amount, connector, endpoint = i.Event.Data.Amount, i.Event.Data.Connector, i.Event.Data.Endpoint
	} else {
		connector, endpoint = i.Webhook.Connector, i.Webhook.Endpoint
	}
	if f.Connector != "" && f.Connector != connector || f.Endpoint != "" && f.Endpoint != endpoint {
		return false
	}
	if f.min == nil && f.max == nil {
		return true
	}
	if amount == nil {
		return false
	}
	exponent, _ := schemas.Exponent(amount.Currency) // minor units if the currency is unknown
	value := new(big.Rat).SetFrac(big.NewInt(amount.Value), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(exponent)), nil))
	return (f.min == nil || value.Cmp(f.min) >= 0) && (f.max == nil || value.Cmp(f.max) <= 0)
}

// liveRecord is a record of the feed. It is decoded and rendered once, for all views.
type liveRecord struct {
	consume.Record
	names   kafka.Names
	decoded bool // guarded by the feed's lock, as it
	it      *lookup.Item
	html    rendering
	json    rendering
}

// rendering is a text that is made once.
type rendering struct {
	once sync.Once
	text []byte
	err  error
}

// item returns the decoded record without a body; nil if another program wrote it.
func (r *liveRecord) item() *lookup.Item {
	if !r.decoded {
		r.decoded, r.it = true, lookup.Read(r.names, r.Record)
		if r.it != nil {
			r.Key, r.Value, r.Headers = []byte(r.it.Key), nil, nil // a row does not show them; without this the queue would keep them in memory
			if r.it.Webhook != nil {
				r.it.Webhook.Body = nil
			}
		}
	}
	return r.it
}

// text returns the record as a row of the page or as JSON, masked.
func (r *liveRecord) text(asJSON bool, m masker) ([]byte, error) {
	to, render := &r.html, func() ([]byte, error) {
		var row bytes.Buffer
		err := templates.ExecuteTemplate(&row, "live-row", liveStep(m.item(r.it)))
		return bytes.ReplaceAll(row.Bytes(), []byte("\n"), nil), err
	}
	if asJSON {
		to, render = &r.json, func() ([]byte, error) { return json.Marshal(m.item(r.it)) }
	}
	to.once.Do(func() {
		text, err := render()
		to.text, to.err = text, err
	})
	return to.text, to.err
}

// livePage is the data of the page of live events.
type livePage struct {
	Filter     liveFilter
	Filtered   bool
	Types      []string
	Connectors []string
	Rows       []step
	After      string // the position after the rows
	Most       int
	Send       []string
}

// liveRows is how many records the page shows before the first new one comes.
const liveRows = 100

// live shows the latest records. With JavaScript it goes on as new ones come.
func (h *Handler) live(r *http.Request) (view, error) {
	v := view{template: "live", Here: "live", Title: "Live"}
	names, err := h.Names()
	if err != nil {
		return v, notReady(err)
	}
	f, err := parseLiveFilter(r.URL.Query())
	if err != nil {
		return v, err
	}
	items, after, err := h.latest(r.Context(), names, f)
	if err != nil {
		return v, err
	}
	m := newMasker(h.Endpoints())
	data := livePage{Filter: f, Filtered: f.Query() != "", After: after, Most: liveRows, Send: h.Send}
	for n, i := range items {
		items[n] = m.item(i)
		data.Rows = append(data.Rows, liveStep(items[n]))
	}
	for _, t := range names.EventTypes() {
		data.Types = append(data.Types, string(t))
	}
	for _, e := range sorted(h.Endpoints()) {
		if !slices.Contains(data.Connectors, e.Connector) {
			data.Connectors = append(data.Connectors, e.Connector)
		}
	}
	v.Data = data
	v.JSON = map[string]any{"records": append([]*lookup.Item{}, items...), "after": after}
	return v, nil
}

// liveStep returns a record as a row.
func liveStep(i *lookup.Item) step {
	if i.Event != nil {
		return eventStep(i, nil, nil, false)
	}
	return webhookStep(i, nil)
}

// latest returns the latest records that match, the newest first, and the position after
// all records. It reads the end of each partition, and leaves out what is older than
// the oldest record that it read of a partition with more: nothing is missing between
// the records that it returns, except what does not match.
func (h *Handler) latest(ctx context.Context, names kafka.Names, f liveFilter) ([]*lookup.Item, string, error) {
	all, err := h.Reader.Partitions(ctx, append(names.Events(), names.Received(), names.Dead())...)
	if err != nil {
		return nil, "", err
	}
	partitions := f.partitions(names, all)
	if len(partitions) == 0 { // the topic of the type does not exist
		return nil, "", nil
	}
	slices.SortFunc(partitions, comparePartitions)
	bounds, err := h.Reader.Bounds(ctx, partitions)
	if err != nil {
		return nil, "", err
	}
	most := int64(min(liveRows, max(5, 4000/len(partitions))))
	if f.Query() != "" {
		most = int64(max(100, 4000/len(partitions)))
	}
	var next []int64
	ranges, partly := map[consume.Partition]consume.Range{}, map[consume.Partition]bool{}
	for _, p := range partitions {
		b := bounds[p]
		next = append(next, b.To)
		if b.To-b.From > most {
			b.From, partly[p] = b.To-most, true
		}
		ranges[p] = b
	}
	var items []*lookup.Item
	var since time.Time // from when on every partition is read
	err = h.Reader.Read(ctx, ranges, func(chunks []consume.Chunk) error {
		for _, c := range chunks {
			for _, record := range c.Records {
				if partly[c.Partition] && record.Offset == ranges[c.Partition].From && record.Time.After(since) {
					since = record.Time
				}
				r := liveRecord{Record: record, names: names}
				if i := r.item(); i != nil && f.matches(i) {
					items = append(items, i)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	items = slices.DeleteFunc(items, func(i *lookup.Item) bool { return i.Time.Before(since) })
	slices.SortFunc(items, func(a, b *lookup.Item) int { // the newest first; an event above its webhook
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(eventsFirst(a), eventsFirst(b)), cmp.Compare(b.Topic, a.Topic), cmp.Compare(b.Offset, a.Offset))
	})
	return items[:min(len(items), liveRows)], position(names.Prefix, partitions, next), nil
}

// eventsFirst is a number by which events are sorted before webhooks.
func eventsFirst(i *lookup.Item) int {
	if i.Event != nil {
		return 0
	}
	return 1
}

// stream sends records as they come, as server-sent events. The `id:` of each is the
// position after it; a request with it in Last-Event-ID, or in the parameter after,
// continues there. Data is a row of the page's table or, with Accept: application/json,
// the record.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request) {
	f, err := parseLiveFilter(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s := &liveStream{h: h, w: w, control: http.NewResponseController(w), json: wantsJSON(r), filter: f}
	_ = s.control.SetReadDeadline(time.Time{}) // the server's read deadline would end the request
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // for proxies that collect a response
	ctx, cancel := context.WithCancel(r.Context())
	if h.access.login.Load().Required() { // then the browser comes back, if its session or the proxy still lets it in
		ctx, cancel = context.WithTimeout(r.Context(), h.access.plain.IdleTimeout)
	}
	defer cancel()
	go func() {
		select {
		case <-h.feed.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	err = s.run(ctx, cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("after")))
	switch {
	case r.Context().Err() != nil: // the browser went away, or the session ended
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
	case ctx.Err() != nil:
		s.problem(errFeedClosed)
	case err != nil:
		s.problem(err)
	}
}

// liveStream writes a live view to a browser.
type liveStream struct {
	h       *Handler
	w       io.Writer
	control *http.ResponseController
	json    bool
	filter  liveFilter

	source *source
	at     []int64 // the position after what was written
	out    bytes.Buffer
}

// run writes until the browser goes away, or the view has to end.
func (s *liveStream) run(ctx context.Context, after string) error {
	v, start, err := s.h.feed.join(ctx, s.filter)
	if err != nil {
		return err
	}
	defer s.h.feed.leave(v)
	s.source, s.at = v.source, start
	s.out.WriteString("retry: 2000\n")
	if after != "" {
		if err := s.catchUp(ctx, v, after); err != nil {
			return err
		}
	}
	heartbeat := time.NewTicker(heartbeatTime)
	defer heartbeat.Stop()
	for {
		records, leftOut, next, err := s.h.feed.drain(v)
		m := newMasker(s.h.Endpoints())
		for _, r := range records {
			s.record(m, r)
		}
		if err != nil { // what was left of the queue is read again
			return err
		}
		s.at = next
		if leftOut > 0 {
			s.notice(fmt.Sprintf("%d more came than a view shows (%d a second). A filter shows fewer; 'tollbridge tail' prints all.", leftOut, rowsPerSecond))
		}
		s.event("position", "")
		if err := s.flush(); err != nil {
			return err
		}
		select { // several records in one write
		case <-time.After(leastBatchTime):
		case <-ctx.Done():
			return nil
		}
		select {
		case <-v.wake:
		case <-heartbeat.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// catchUp writes what came between a position and the beginning of the view.
func (s *liveStream) catchUp(ctx context.Context, v *liveView, after string) error {
	seen, ok := parsePosition(s.source.names.Prefix, after)
	if !ok {
		s.notice("The position to continue at is not known: what came before now is not shown.")
		return nil
	}
	select {
	case s.h.feed.resumes <- struct{}{}:
		defer func() { <-s.h.feed.resumes }()
	case <-ctx.Done():
		return nil
	}
	wanted := s.filter.partitions(s.source.names, s.source.partitions)
	bounds, err := s.h.Reader.Bounds(ctx, wanted)
	if err != nil {
		return err
	}
	start := slices.Clone(s.at)
	ranges := map[consume.Partition]consume.Range{}
	behind, ahead := int64(0), false
	for _, p := range wanted {
		i := s.source.index[p]
		from := max(seen[p], bounds[p].From)
		switch {
		case seen[p] > bounds[p].To: // the topic was deleted and created again
		case from > start[i]: // another server was ahead of this one
			s.at[i], ahead = from, true
		case from < start[i]:
			ranges[p] = consume.Range{From: from, To: start[i]}
			behind += start[i] - from
			s.at[i] = from
		}
	}
	if ahead {
		s.h.feed.skip(v, slices.Clone(s.at))
	}
	if behind > maxCatchUp {
		for p, g := range ranges {
			s.at[s.source.index[p]] = g.To
		}
		s.notice(fmt.Sprintf("About %d records came meanwhile, which is too many to show. 'tollbridge tail --from' prints them.", behind))
		return nil
	}
	m := newMasker(s.h.Endpoints())
	return s.h.Reader.Read(ctx, ranges, func(chunks []consume.Chunk) error {
		for _, c := range chunks {
			for _, record := range c.Records {
				r := &liveRecord{Record: record, names: s.source.names}
				if i := r.item(); i != nil && s.filter.matches(i) {
					s.record(m, r)
				}
			}
			s.at[s.source.index[c.Partition]] = min(c.Next, ranges[c.Partition].To) // Next may be one past the range
		}
		return s.flush()
	})
}

// record writes a record, and moves the position after it.
func (s *liveStream) record(m masker, r *liveRecord) {
	s.at[s.source.index[r.Partition]] = r.Offset + 1
	text, err := r.text(s.json, m)
	if err != nil {
		s.h.Log.Error().Err(err).Msg("a record could not be written to a live view of the console")
		return
	}
	s.event("record", string(text))
}

// notice writes a sentence for the viewer.
func (s *liveStream) notice(text string) { s.event("notice", text) }

// event writes an event with the position as its id.
func (s *liveStream) event(name, text string) {
	if s.source != nil {
		if at := position(s.source.names.Prefix, s.source.partitions, s.at); at != "" {
			s.out.WriteString("id: " + at + "\n")
		}
	}
	escaped, _ := display.Escape([]byte(strings.ReplaceAll(text, "\n", " ")))
	fmt.Fprintf(&s.out, "event: %s\ndata: %s\n\n", name, escaped)
}

// problem says why the view ends. The browser comes back after the time in retry.
func (s *liveStream) problem(err error) {
	s.out.WriteString("retry: 5000\n")
	s.event("problem", strings.ToUpper(err.Error()[:1])+err.Error()[1:]+".")
	_ = s.flush() // the browser may be gone
	if !errors.Is(err, errTooSlow) && !errors.Is(err, errFeedClosed) && !errors.Is(err, errTooManyViews) {
		s.h.Log.Warn().Err(err).Msg("a live view of the console ended")
	}
}

// flush sends what was written.
func (s *liveStream) flush() error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTime)) // without it, a stopped browser would hold the handler
	_, err := s.out.WriteTo(s.w)
	if err == nil {
		err = s.control.Flush()
	}
	s.out.Reset()
	return err
}
