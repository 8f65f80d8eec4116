package ingest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
)

// TestReadyzWarns: a state disk with little free space is a warning in the body of
// /readyz, with status 200, and its free bytes are a metric.
func TestReadyzWarns(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c := kafka.Config{Brokers: cluster.ListenAddrs()}
	if _, err := (kafka.Layout{Partitions: 1, Replication: 1}).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	producer := publish.NewProducer(publish.Config{Kafka: c})
	t.Cleanup(producer.Close)
	registry := prometheus.NewRegistry()
	h, err := history.Open(t.Context(), history.Config{Dir: t.TempDir(), MinFree: 1 << 62, Kafka: c, Publisher: producer, Log: zerolog.Nop(), Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	b := newBridge(t, func(c *ingest.Config) { c.Publisher, c.History = producer, h })
	var status int
	var body string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		a := b.ask(httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if status, body = a.StatusCode, bodyOf(t, a); strings.Contains(body, "warning") {
			break
		}
	}
	if status != http.StatusOK || !strings.HasPrefix(body, "ready\nwarning: the state directory's disk is nearly full: ") {
		t.Errorf("/readyz: %d %q, want 200 and a warning", status, body)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	free := 0.0
	for _, f := range families {
		if f.GetName() == "tollbridge_state_disk_free_bytes" {
			free = f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	if free <= 0 {
		t.Error("tollbridge_state_disk_free_bytes does not have the free bytes of the state directory's disk")
	}
}
