package history

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollbridge/tollbridge/schemas"
)

// dispute is what the store knows about a dispute: its latest event.
type dispute struct {
	Connector string     `json:"connector"`
	Endpoint  string     `json:"endpoint"`
	Time      time.Time  `json:"time"` // of the event
	Open      bool       `json:"open"` // the event is dispute.opened: the merchant has not responded, and nothing was decided
	RespondBy *time.Time `json:"respond_by,omitempty"`
}

// closedByDeadline is how long after its deadline a dispute counts as overdue. After
// that the processor has decided it, whether or not a webhook said so.
const closedByDeadline = 7 * 24 * time.Hour

// disputeKey returns the key of an event's dispute, in the form of a reference key, or
// "" if the event is of no dispute, of none with an id, or of test mode.
func disputeKey(e schemas.Event) string {
	if e.Type.Family() != "dispute" || e.Data.ConnectorDisputeID == "" || !e.Data.Live {
		return ""
	}
	return e.Data.Connector + ":" + e.Data.Account + ":" + e.Data.ConnectorDisputeID
}

// dispute stores the latest event of a dispute, which is not always the last one that
// is read: the topics are read in parallel.
func (b *writeBatch) dispute(e schemas.Event) error {
	key := disputeKey(e)
	if key == "" {
		return nil
	}
	var stored dispute
	value, closer, err := b.batch.Get([]byte(rowDispute + key))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
	case err != nil:
		return b.db.readFailed(err)
	default:
		if err := errors.Join(json.Unmarshal(value, &stored), closer.Close()); err != nil {
			return err
		}
	}
	// Of events with one time, that which ends the dispute is the later one.
	open := e.Type == schemas.DisputeOpened
	if e.Time.Before(stored.Time) || e.Time.Equal(stored.Time) && open && !stored.Open && !stored.Time.IsZero() {
		return nil
	}
	return b.putJSON(rowDispute+key, dispute{e.Data.Connector, e.Data.Endpoint, e.Time, open, e.Data.RespondBy})
}

// over reports whether the row of a dispute can be removed: its last event was before a
// time, and its deadline is long over.
func (d dispute) over(before time.Time, now time.Time) bool {
	return d.Time.Before(before) && (!d.Open || d.RespondBy == nil || now.Sub(*d.RespondBy) > closedByDeadline)
}

// daysLeft returns the label of the time until a deadline: the number of whole days,
// "overdue", "7+" or "unknown".
func daysLeft(respondBy *time.Time, now time.Time) string {
	if respondBy == nil {
		return "unknown"
	}
	switch left := respondBy.Sub(now); {
	case left < 0:
		return "overdue"
	case left >= 7*24*time.Hour:
		return "7+"
	default:
		return strconv.Itoa(int(left / (24 * time.Hour)))
	}
}

// dayLabels are the values of [daysLeft].
var dayLabels = []string{"overdue", "0", "1", "2", "3", "4", "5", "6", "7+", "unknown"}

// disputeSeries are the labels of a number of open disputes.
type disputeSeries struct{ connector, endpoint, daysLeft string }

// disputeInterval is the time between two counts of the open disputes. They are not
// counted at each scrape: a scrape must not wait for the disk.
const disputeInterval = 15 * time.Second

// watchDisputes counts the open disputes in the store until ctx is done.
func (h *History) watchDisputes(ctx context.Context, db *store) {
	for {
		counts, err := countDisputes(ctx, db, time.Now())
		if err == nil {
			h.disputes.Store(&counts)
		} else if ctx.Err() == nil {
			h.Log.Warn().Err(err).Msg("counting the open disputes failed")
		}
		select {
		case <-time.After(disputeInterval):
		case <-ctx.Done():
			return
		}
	}
}

// countDisputes returns the number of open disputes in the store.
func countDisputes(ctx context.Context, db *store, now time.Time) (map[disputeSeries]int, error) {
	counts := map[disputeSeries]int{}
	err := db.each(rowDispute, func(_, value []byte) error {
		var d dispute
		if err := json.Unmarshal(value, &d); err != nil {
			return err
		}
		if d.Open && (d.RespondBy == nil || now.Sub(*d.RespondBy) <= closedByDeadline) {
			counts[disputeSeries{d.Connector, d.Endpoint, daysLeft(d.RespondBy, now)}]++
		}
		return ctx.Err()
	})
	return counts, err
}

// disputeCollector collects the last count of the open disputes.
type disputeCollector struct{ h *History }

var openDisputes = prometheus.NewDesc("tollbridge_open_disputes",
	"Disputes in live mode that the merchant has not responded to, by whole days left until respond_by: overdue (for up to 7 days), 0 to 6, 7+, or unknown without a deadline. Every replica counts all of them: use max, not sum, over replicas.",
	[]string{"connector", "endpoint", "days_left"}, nil)

// Describe implements [prometheus.Collector].
func (c disputeCollector) Describe(to chan<- *prometheus.Desc) { to <- openDisputes }

// Collect implements [prometheus.Collector].
func (c disputeCollector) Collect(to chan<- prometheus.Metric) {
	counts := map[disputeSeries]int{}
	if last := c.h.disputes.Load(); last != nil {
		maps.Copy(counts, *last)
	}
	c.h.mu.Lock()
	for e := range c.h.endpoints {
		for _, days := range dayLabels {
			counts[disputeSeries{e[0], e[1], days}] += 0
		}
	}
	c.h.mu.Unlock()
	for s, n := range counts {
		to <- prometheus.MustNewConstMetric(openDisputes, prometheus.GaugeValue, float64(n), s.connector, s.endpoint, s.daysLeft)
	}
}

// CountEndpoint creates the metric series of an endpoint at 0. It has no effect on a nil
// History.
func (h *History) CountEndpoint(connector, endpoint string) {
	if h == nil {
		return
	}
	h.metrics.hits.WithLabelValues(connector)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endpoints[[2]string{connector, endpoint}] = true
}
