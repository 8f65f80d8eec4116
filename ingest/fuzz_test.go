package ingest_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// FuzzJudge signs any payload as its processor would, verifies and normalises it. It
// looks for panics, refusals without a reason, and verified webhooks that give
// different events at different times.
func FuzzJudge(f *testing.F) {
	for _, connector := range verify.Connectors() {
		f.Add(connector, sample(f, connector, samples.Names(connector)[0])) // FuzzNormalize has the others as seeds
	}
	f.Fuzz(func(t *testing.T, connector string, payload []byte) {
		keys, private, ok := sign.Dev(connector)
		if !ok {
			return
		}
		r, err := sign.Request(connector, payload, private, keys.Settings, publicURL+"/webhooks/"+connector, noon)
		if err != nil {
			return // the processor would not sign it
		}
		e := webhook.Endpoint{Connector: connector, Keys: keys}
		one := e.Judge(t.Context(), nil, r, noon)
		switch {
		case one.Err != nil && verify.ReasonOf(one.Err) == "":
			t.Errorf("%s: refused %q without a reason: %v", connector, r.Body, one.Err)
		case one.Err != nil || one.Handshake:
			return
		case one.Outcome() == "":
			t.Errorf("%s: %q gave no result", connector, one.Payload)
		}
		for _, k := range one.Skipped {
			if strings.Contains(k.Reason, "panicked") {
				t.Errorf("%s: %q: %s", connector, one.Payload, k.Reason)
			}
		}
		if two, err := e.Normalize(one.Payload, noon); err != nil || !reflect.DeepEqual(one.Result, two) {
			t.Errorf("%s: %q gave first %+v, then %+v, %v", connector, one.Payload, one.Result, two, err)
		}
	})
}
