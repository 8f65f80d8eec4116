package ingest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

// The results of an item of a webhook, as the metric of event types has them.
const (
	resultEvent     = "event"     // it made an event
	resultDuplicate = "duplicate" // its event was published before, by this or another event type
	resultElsewhere = "elsewhere" // ignored: another event type reports the fact
	resultIgnored   = "ignored"
	resultMalformed = "malformed"
)

// otherType is the label of event types that [normalize.Connector.Tellers] does not
// have: a label's value must not come from a webhook.
const otherType = "other"

// tally counts the processor's event types that an endpoint received within the last
// day, by result.
type tally struct {
	tellers []normalize.Teller
	labels  map[string]bool // the event types of tellers
	start   time.Time

	mu       sync.Mutex
	endpoint *webhook.Endpoint
	hours    [tallyHours]struct {
		hour   int64 // since 1970
		counts map[tallyKey]int
	}
	reasons map[string]string   // the last reason why an item gave no event, by event type
	toldBy  map[string][]string // the event types that report the fact instead, by event type
}

// tallyHours is how long counts are kept.
const tallyHours = 24

type tallyKey struct {
	event  string       // the event type, or [otherType]
	result string       // one of the results
	fact   schemas.Type // of an event or a duplicate
}

func newTally(e *webhook.Endpoint, now time.Time) *tally {
	c, _ := normalize.Lookup(e.Connector)
	t := &tally{endpoint: e, tellers: c.Tellers, labels: map[string]bool{}, start: now, reasons: map[string]string{}, toldBy: map[string][]string{}}
	for _, teller := range c.Tellers {
		t.labels[teller.Event] = true
	}
	return t
}

// setEndpoint replaces the endpoint by one with the same connector and name.
func (t *tally) setEndpoint(e *webhook.Endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endpoint = e
}

// label returns an event type if the connector names it, else [otherType].
func (t *tally) label(event string) string {
	if event != "" && t.labels[event] {
		return event
	}
	return otherType
}

// add counts an item and returns its label.
func (t *tally) add(now time.Time, event, result string, fact schemas.Type) (label string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	label = t.label(event)
	hour := now.Unix() / 3600
	h := &t.hours[hour%tallyHours]
	if h.hour != hour || h.counts == nil {
		h.hour, h.counts = hour, map[tallyKey]int{}
	}
	h.counts[tallyKey{label, result, fact}]++
	return label
}

// addSkipped counts an item without an event and returns its label and its result.
func (t *tally) addSkipped(now time.Time, k normalize.Skipped) (label, result string) {
	result = resultIgnored
	switch {
	case k.Outcome == normalize.OutcomeMalformed:
		result = resultMalformed
	case len(k.ToldBy) > 0:
		result = resultElsewhere
	}
	label = t.add(now, k.Type, result, "")
	if result != resultMalformed { // the reasons of malformed items quote them
		t.mu.Lock()
		defer t.mu.Unlock()
		t.reasons[label] = shorten(k.Reason)
		if len(k.ToldBy) > 0 {
			t.toldBy[label] = k.ToldBy
		}
	}
	return label, result
}

// EventTypes says which of the processor's event types an endpoint received within the
// last 24 hours at this replica, and with what results.
type EventTypes struct {
	Connector string      `json:"connector"`
	Endpoint  string      `json:"endpoint"` // its name
	Since     time.Time   `json:"since"`
	Types     []EventType `json:"types"` // by name
	// Advice says what to change at the processor or in the configuration, so that each
	// fact is reported exactly once.
	Advice []string `json:"advice"`
}

// ID returns connector/name of the endpoint, as [webhook.Endpoint.ID] does.
func (e EventTypes) ID() string { return e.Connector + "/" + e.Endpoint }

// EventType counts the items of webhooks with one of the processor's event types.
type EventType struct {
	Type       string               `json:"type"`   // "other" stands for all types that the connector does not read
	Events     int                  `json:"events"` // events that the items gave
	Facts      map[schemas.Type]int `json:"facts"`  // the events by type
	Duplicates int                  `json:"duplicates"`
	Elsewhere  int                  `json:"elsewhere"` // ignored because another event type reports the fact
	Ignored    int                  `json:"ignored"`   // ignored for another reason
	Malformed  int                  `json:"malformed"`
	Reason     string               `json:"reason,omitempty"` // the last reason why an item was ignored
}

// report returns the counts of the last day.
func (t *tally) report(now time.Time) EventTypes {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := EventTypes{Connector: t.endpoint.Connector, Endpoint: t.endpoint.NameOrDefault(), Since: t.start.UTC(), Types: []EventType{}, Advice: []string{}}
	if day := now.Add(-tallyHours * time.Hour); t.start.Before(day) {
		r.Since = day.UTC()
	}
	types := map[string]*EventType{}
	for _, h := range t.hours {
		if h.hour <= now.Unix()/3600-tallyHours {
			continue
		}
		for key, n := range h.counts {
			one := types[key.event]
			if one == nil {
				one = &EventType{Type: key.event, Facts: map[schemas.Type]int{}, Reason: t.reasons[key.event]}
				types[key.event] = one
			}
			switch key.result {
			case resultEvent:
				one.Events += n
				one.Facts[key.fact] += n
			case resultDuplicate:
				one.Duplicates += n
			case resultElsewhere:
				one.Elsewhere += n
			case resultIgnored:
				one.Ignored += n
			default:
				one.Malformed += n
			}
		}
	}
	for _, one := range types {
		r.Types = append(r.Types, *one)
	}
	slices.SortFunc(r.Types, func(a, b EventType) int { return strings.Compare(a.Type, b.Type) })
	r.Advice = append(r.Advice, t.silent(r, types, now)...)
	r.Advice = append(r.Advice, t.twice(r, types, now)...)
	if len(r.Advice) == 0 {
		r.Advice = append(r.Advice, t.nothing(r, now)...)
	}
	return r
}

// silent returns the advice for event types that were ignored because others report
// their facts, if none of those others was received.
func (t *tally) silent(r EventTypes, types map[string]*EventType, now time.Time) (advice []string) {
	for _, one := range r.Types {
		tellers := t.toldBy[one.Type]
		told := slices.ContainsFunc(tellers, func(other string) bool {
			o := types[other]
			return o != nil && o.Events+o.Duplicates > 0
		})
		if one.Elsewhere == 0 || told {
			continue
		}
		text := fmt.Sprintf("%s: %s of %s in %s and none of %s: subscribe to it", r.ID(), thousands(one.Elsewhere), one.Type, hours(now.Sub(r.Since)), strings.Join(tellers, " or "))
		if value := t.teller(one.Type).Tells; value != "" {
			text += " or set tells: " + value
		}
		advice = append(advice, text)
	}
	return advice
}

// twice returns the advice for two event types that both give events of one fact: they
// have no id in common, and the setting tells does not say which one to use.
func (t *tally) twice(r EventTypes, types map[string]*EventType, now time.Time) (advice []string) {
	if t.endpoint.Keys.Settings["tells"] != "" {
		return nil
	}
	seen := map[string]bool{}
	for _, a := range r.Types {
		first := t.teller(a.Type)
		if first.Tells == "" {
			continue
		}
		for _, b := range r.Types {
			second := t.teller(b.Type)
			pair := strings.Join(slices.Sorted(slices.Values([]string{a.Type, b.Type})), "\n")
			if first.Tells == second.Tells || !strings.Contains(first.Instead, b.Type) || seen[pair] {
				continue
			}
			n, m := 0, 0
			for fact := range a.Facts {
				if b.Facts[fact] > 0 {
					n, m = n+a.Facts[fact], m+b.Facts[fact]
				}
			}
			// If an id joins them, the second event is a duplicate of the first.
			if n == 0 || min(n, m) <= a.Duplicates+b.Duplicates {
				continue
			}
			seen[pair] = true
			advice = append(advice, fmt.Sprintf("%s: %s of %s and %s of %s made events in %s: each payment is told twice, set tells: %s", r.ID(), thousands(n), a.Type, thousands(m), b.Type, hours(now.Sub(r.Since)), strings.Join(t.tells(), " or ")))
		}
	}
	return advice
}

// tells returns the values of the setting tells.
func (t *tally) tells() []string {
	c, _ := normalize.Lookup(t.endpoint.Connector)
	for _, s := range c.Settings {
		if s.Name == "tells" && len(s.Values) > 0 {
			return s.Values
		}
	}
	var values []string
	for _, teller := range t.tellers {
		if teller.Tells != "" && !slices.Contains(values, teller.Tells) {
			values = append(values, teller.Tells)
		}
	}
	return values
}

// nothing returns the advice for an endpoint whose webhooks all gave no event.
func (t *tally) nothing(r EventTypes, now time.Time) []string {
	items := 0
	for _, one := range r.Types {
		if one.Events+one.Duplicates > 0 {
			return nil
		}
		items += one.Elsewhere + one.Ignored
	}
	if items == 0 || len(t.tellers) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s: %s webhooks in %s and no event: subscribe to the event types that tollbridge connectors %s lists", r.ID(), thousands(items), hours(now.Sub(r.Since)), t.endpoint.Connector)}
}

// teller returns the description of an event type, or the zero value if the type is
// unknown.
func (t *tally) teller(event string) normalize.Teller {
	for _, teller := range t.tellers {
		if teller.Event == event {
			return teller
		}
	}
	return normalize.Teller{}
}

// thousands returns a number with commas: 1,234.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// hours returns a duration in whole hours, at least one: 24 h.
func hours(d time.Duration) string {
	return fmt.Sprintf("%d h", max(1, int((d+time.Hour-1)/time.Hour)))
}

// countEventTypes counts the items of a webhook that was acknowledged.
func (d *delivery) countEventTypes() {
	t := d.route.tally
	count := func(label, result string) { d.s.metrics.countType(d, label, result) }
	for i := range d.verdict.Events {
		e, result := &d.verdict.Events[i], resultEvent
		if i < len(d.entries) && d.entries[i].published {
			result = resultDuplicate
		}
		count(t.add(d.start, e.Data.ConnectorEventType, result, e.Type), result)
	}
	for _, k := range d.verdict.Skipped {
		count(t.addSkipped(d.start, k))
	}
}

// EventTypes returns the counts of each endpoint, sorted by endpoint.
func (s *Server) EventTypes() []EventTypes {
	var all []EventTypes
	for _, r := range s.currentRoutes() {
		all = append(all, r.tally.report(s.Now()))
	}
	slices.SortFunc(all, func(a, b EventTypes) int { return strings.Compare(a.ID(), b.ID()) })
	return all
}

// WarnOfSilence logs the advice of [Server.EventTypes] once an hour, until ctx is done.
func (s *Server) WarnOfSilence(ctx context.Context) {
	for {
		select {
		case <-time.After(time.Hour):
			s.logAdvice()
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) logAdvice() {
	for _, types := range s.EventTypes() {
		for _, advice := range types.Advice {
			s.Log.Warn().Msg(advice)
		}
	}
}

// eventTypes responds with [Server.EventTypes].
func (s *Server) eventTypes(c echo.Context) error { return c.JSON(http.StatusOK, s.EventTypes()) }
