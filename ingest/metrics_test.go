package ingest_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
)

// TestSeriesFromTheStart: every series of a configured endpoint exists before the first
// webhook, so that an alert can fire for the first one. The test sends every sample of
// every connector, twice, and requests that are refused for many reasons.
func TestSeriesFromTheStart(t *testing.T) {
	registry := prometheus.NewRegistry()
	var failure error
	b := newBridge(t, func(c *ingest.Config) {
		c.Metrics = registry
		publish := c.Publisher
		c.Publisher = publisher(func(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
			if failure != nil {
				return nil, failure
			}
			return publish.Publish(ctx, records)
		})
	})
	before := names(t, registry)
	for _, connector := range verify.Connectors() {
		for _, name := range samples.Names(connector) {
			if status := b.do(signed(t, connector, sample(t, connector, name))).StatusCode; status > 299 && !strings.HasPrefix(name, "malformed") {
				t.Errorf("%s %s: status %d", connector, name, status)
			}
		}
		// As far as the connector has them: no signature, a wrong body, an old webhook.
		good := sample(t, connector, samples.Names(connector)[0])
		unsigned := httptest.NewRequest(http.MethodPost, "/webhooks/"+connector, strings.NewReader(string(good)))
		changed := signed(t, connector, good)
		changed.Body = http.NoBody
		method := signed(t, connector, good)
		method.Method = http.MethodDelete
		for _, r := range []*http.Request{unsigned, changed, method} {
			if status := b.do(r).StatusCode; status < 400 {
				t.Errorf("%s: status %d", connector, status)
			}
		}
		for _, failure = range []error{kafka.ErrUnavailable, kafka.ErrRefused, kafka.ErrClosed, context.DeadlineExceeded, http.ErrAbortHandler} {
			if status := b.do(signed(t, connector, good)).StatusCode; status != http.StatusServiceUnavailable {
				t.Errorf("%s: status %d after %v", connector, status, failure)
			}
		}
		failure = nil
	}
	for name := range names(t, registry) {
		if !before[name] {
			t.Errorf("this series did not exist from the start: %s", name)
		}
	}
	if !before[`tollbridge_dead_letters_total connector="stripe" endpoint="default"`] {
		t.Error("the dead letters of stripe/default have no series")
	}
}

// names returns the series of a registry, each with its labels.
func names(t *testing.T, from prometheus.Gatherer) map[string]bool {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetName() + `="` + l.GetValue() + `"`
			}
			all[name] = true
		}
	}
	return all
}

// TestMetricNames: names and units follow Prometheus' conventions.
func TestMetricNames(t *testing.T) {
	registry := prometheus.NewRegistry()
	newBridge(t, only("stripe"), func(c *ingest.Config) { c.Metrics = registry })
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestStages: each stage of a webhook is timed, and the times of the last webhook and
// of the last success are kept for each endpoint.
func TestStages(t *testing.T) {
	clock := noon
	b := newBridge(t, func(c *ingest.Config) {
		c.Now = func() time.Time { clock = clock.Add(time.Millisecond); return clock }
	})
	b.do(signed(t, "stripe", captured(t)))
	for _, stage := range []string{"receive", "verify", "normalise", "admit", "publish"} {
		series := `tollbridge_webhook_stage_duration_seconds_count{connector="stripe",stage="` + stage + `"}`
		if got := b.metric(series); got != "1" {
			t.Errorf("%s is %q, want 1", series, got)
		}
	}
	const last, success = `tollbridge_last_webhook_timestamp_seconds{connector="stripe",endpoint="default"}`, `tollbridge_last_success_timestamp_seconds{connector="stripe",endpoint="default"}`
	atFirst := b.metric(last)
	if got := b.metric(success); atFirst == "0" || got != atFirst {
		t.Errorf("after a success: last webhook %s, last success %s", atFirst, got)
	}
	clock = clock.Add(time.Minute)
	b.do(httptest.NewRequest(http.MethodPost, "/webhooks/stripe", strings.NewReader("{}")))
	if got := b.metric(success); got != atFirst {
		t.Errorf("a refusal changed the time of the last success from %s to %s", atFirst, got)
	}
	if got := b.metric(last); got == atFirst {
		t.Errorf("a refusal left the time of the last webhook at %s", got)
	}
	if got := b.metric(`tollbridge_last_webhook_timestamp_seconds{connector="adyen",endpoint="default"}`); got != "0" {
		t.Errorf("the time of the last webhook of an endpoint without one is %s, want 0", got)
	}
}

// TestReasonsInMetrics: the metrics know every reason of package verify.
func TestReasonsInMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	newBridge(t, only("stripe"), func(c *ingest.Config) { c.Metrics = registry })
	all := names(t, registry)
	for _, reason := range verify.Reasons() {
		status := "401"
		if slices.Contains([]verify.Reason{verify.ErrNoSecret, verify.ErrSetting, verify.ErrKeyNotThere}, reason) {
			status = "503"
		}
		series := `tollbridge_webhooks_total connector="stripe" endpoint="default" outcome="" reason="` + string(reason) + `" status="` + status + `"`
		if got := all[series]; got != (reason != verify.ErrUnknown) {
			t.Errorf("series %s exists: %t", series, got)
		}
	}
}
