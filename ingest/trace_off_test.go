package ingest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/webhook"
)

// TestTracingOffCostsNothing: without a tracer, what tracing adds to a webhook allocates
// nothing.
func TestTracingOffCostsNothing(t *testing.T) {
	keys, _, _ := sign.Dev("stripe")
	s, err := New(Config{Endpoints: []webhook.Endpoint{{Connector: "stripe", Keys: keys, API: &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "rk_test_1234567890"}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	c := echo.New().NewContext(httptest.NewRequest(http.MethodPost, "/webhooks/stripe", nil), httptest.NewRecorder())
	d := s.newDelivery(c, "/webhooks/:connector")
	d.route = s.currentRoutes()["stripe/default"]
	var records string
	allocations := testing.AllocsPerRun(1000, func() {
		for of := stageReceive; of <= stagePublish; of++ {
			during, r := d.begin(ctx, of)
			if during != ctx {
				t.Fatal("a stage has another context")
			}
			records = r.traceparent(during)
			r.malformed()
			r.sends(nil, 1)
			r.end(errSlow)
		}
		d.endTrace(http.StatusOK, "")
	})
	if allocations != 0 {
		t.Errorf("%v allocations a webhook", allocations)
	}
	if records != d.trace || records == "" {
		t.Errorf("the records get the traceparent %q, want that of the request, %q", records, d.trace)
	}
}
