package history

import (
	"maps"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollbridge/tollbridge/schemas"
)

// TestOpenDisputes: a dispute counts by the days left until its deadline, until an event
// ends it, in whatever order the events are published, and after a rebuild.
func TestOpenDisputes(t *testing.T) {
	r := newRig(t)
	s := r.open(t, "")
	now := began.Add(time.Hour)
	dispute := func(id string, typ schemas.Type, minutes int, hoursLeft int) schemas.Event {
		e := event(id+string(typ), "pi_1", "order-1", typ, minutes)
		e.Data.ConnectorDisputeID, e.Data.Stage, e.Data.Live = id, schemas.StageDispute, true
		if hoursLeft != 0 {
			by := now.Add(time.Duration(hoursLeft) * time.Hour)
			e.Data.RespondBy = &by
		}
		return e
	}
	testMode := dispute("dp_test", schemas.DisputeOpened, 1, 30)
	testMode.Data.Live = false
	for _, e := range []schemas.Event{
		dispute("dp_1", schemas.DisputeOpened, 1, 30), // one day and six hours left
		dispute("dp_2", schemas.DisputeOpened, 1, 400),
		dispute("dp_3", schemas.DisputeOpened, 1, -1),
		dispute("dp_4", schemas.DisputeOpened, 1, 0),
		dispute("dp_5", schemas.DisputeOpened, 1, -24*8), // the processor has decided
		dispute("dp_6", schemas.DisputeOpened, 1, 30), dispute("dp_6", schemas.DisputeChallenged, 2, 0),
		dispute("dp_7", schemas.DisputeLost, 2, 0), dispute("dp_7", schemas.DisputeOpened, 1, 30), // the older event comes last
		testMode,
	} {
		if _, err := r.put(t.Context(), s, e); err != nil {
			t.Fatal(err)
		}
	}
	want := map[disputeSeries]int{}
	for _, days := range []string{"1", "7+", "overdue", "unknown"} {
		want[disputeSeries{"stripe", "default", days}] = 1
	}
	check := func(s *History, what string) {
		t.Helper()
		if err := s.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := countDisputes(t.Context(), s.currentStore(), now)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", what, got, err, want)
		}
	}
	check(s, "from local writes")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	s = r.openWith(t, Config{Kafka: r.kafka, Names: r.names, Metrics: registry})
	defer s.Close()
	check(s, "from the topics")

	s.CountEndpoint("adyen", "shop")
	series := 0
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "tollbridge_open_disputes" {
			continue
		}
		for _, m := range f.Metric {
			if m.Label[0].GetValue() == "adyen" && m.Gauge.GetValue() == 0 {
				series++
			}
		}
	}
	if series != len(dayLabels) {
		t.Errorf("an endpoint without disputes has %d series, want %d", series, len(dayLabels))
	}

	if err := s.currentStore().forget(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, err := countDisputes(t.Context(), s.currentStore(), now); err != nil || len(got) != 0 {
		t.Errorf("after all is forgotten: %v, %v, want no disputes", got, err)
	}
}

// TestDisputeIsKept: the row of an open dispute is kept until its deadline has passed,
// however old its event is.
func TestDisputeIsKept(t *testing.T) {
	later, passed := began.Add(24*time.Hour), began.Add(-8*24*time.Hour)
	for _, tt := range []struct {
		d    dispute
		over bool
	}{
		{dispute{Time: began.Add(-time.Hour), Open: true, RespondBy: &later}, false},
		{dispute{Time: began.Add(-time.Hour), Open: true, RespondBy: &passed}, true},
		{dispute{Time: began.Add(-time.Hour), Open: true}, true},
		{dispute{Time: began.Add(-time.Hour)}, true},
		{dispute{Time: began.Add(time.Hour)}, false},
	} {
		if got := tt.d.over(began, began); got != tt.over {
			t.Errorf("%+v: over is %t, want %t", tt.d, got, tt.over)
		}
	}
}
