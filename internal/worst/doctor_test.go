package worst

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/doctor"
	"github.com/tollbridge/tollbridge/internal/race"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// diagnosisLimit is the limit on the CPU time of a diagnosis of a body of bodySize
// bytes. A diagnosis verifies the body about 20 times, each time with another change,
// and only the user of the command waits for it.
const diagnosisLimit = 2 * time.Second

// diagnosed are the shapes of the bodies to diagnose: for connectors that sign in a
// header, which hardly differ from each other, and for those that sign in the body.
var diagnosed = map[bool][]string{
	true: {"many names", "deep paths of Wompi"},
	false: {"many names", "one escaped text", "many small objects", "deep", "deep paths of Wompi", "deep arrays", "long values",
		"many names of Robokassa", "long texts", "escaped names", "JSON of LiqPay"},
}

// TestWorstDiagnoses: the diagnosis of a large body takes a bounded time even if no
// change explains it, and says that it stopped before it had tried every change.
func TestWorstDiagnoses(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector slows some code down twentyfold, and nothing here is concurrent")
	}
	byTime := map[string]time.Duration{}
	for _, connector := range verify.Connectors() {
		t.Run(connector, func(t *testing.T) {
			s := newSubject(t, connector)
			for i, secret := range s.endpoint.Keys.Secrets {
				s.endpoint.Keys.Secrets[i].Value = secret.Value[1:] + secret.Value[:1]
			}
			known, _ := verify.Lookup(connector)
			for _, of := range shapes {
				requests := s.requests(of)
				if len(requests) == 0 || !slices.Contains(diagnosed[len(known.Headers) > 0], of.name) {
					continue
				}
				r := requests[0]
				c := doctor.Case{Endpoint: s.endpoint, Request: r, Now: s.now, Others: []webhook.Endpoint{s.endpoint}}
				var d *doctor.Diagnosis
				what := fmt.Sprintf("%s: %s: %s", connector, of.kind, of.name)
				within(t, byTime, diagnosisLimit, what, len(r.Body), func() { d = c.Diagnose() })
				if d != nil && d.Cause == doctor.Unexplained && len(r.Body) >= bodySize && !d.Stopped {
					t.Errorf("%s: the diagnosis does not say that it stopped after %d changes", what, d.Tried)
				}
			}
		})
	}
	slowest(t, byTime)
}
