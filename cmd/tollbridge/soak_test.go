package main

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestSoak runs `tollbridge soak` against `tollbridge dev`, to its end and until an
// interrupt.
func TestSoak(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	var out, errOut screen
	ended := make(chan int, 1)
	go func() {
		args := []string{"dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--broker", "127.0.0.1:0"}
		ended <- run(ctx, args, strings.NewReader(""), &out, &errOut)
	}()
	defer func() { interrupt(); <-ended }()
	at := regexp.MustCompile(`webhooks at (http://\S+)/webhooks/\{connector\}, Kafka at (\S+)`)
	until(t, "dev to listen", func() bool { return at.MatchString(out.String()) })
	m := at.FindStringSubmatch(out.String())
	args := []string{"soak", "--to", m[1] + "/webhooks/stripe", "--brokers", m[2], "--rate", "200"}

	got := tollbridge(t, "", append(args, "--count", "100", "--json")...)
	var r struct{ Sent, Acked, Lost, Dup, Phantom, Order int }
	if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.code != 0 || r.Sent != 100 || r.Acked != 100 || r.Lost+r.Dup+r.Phantom+r.Order != 0 {
		t.Errorf("soak --json: exit %d, %s%s", got.code, got.out, got.err)
	}
	var again struct{ Redelivered, Unconfirmed, Dup, Twice int }
	got = tollbridge(t, "", append(args, "--url", m[1]+"/webhooks/stripe/default", "--count", "100", "--redeliver", "1", "--within", "1s", "--twice", "1", "--json")...)
	if err := json.Unmarshal([]byte(got.out), &again); err != nil || got.code != 0 || again.Redelivered != 100 || again.Twice != 100 || again.Unconfirmed+again.Dup != 0 {
		t.Errorf("soak of two URLs, with redeliveries: exit %d, %s%s", got.code, got.out, got.err)
	}
	got = tollbridge(t, "", append(args, "--redeliver", "2")...)
	if got.code != 2 || !strings.Contains(got.err, "share") {
		t.Errorf("soak --redeliver 2: exit %d, %s, want 2 and the reason", got.code, got.err)
	}
	got = tollbridge(t, "", append(args, "--count", "10", "--secret", "whsec_other")...)
	if got.code != 1 || got.out != "" || !strings.Contains(got.err, "secret") {
		t.Errorf("soak with another secret: exit %d, %s%s, want 1 and the reason", got.code, got.out, got.err)
	}

	short, end := context.WithTimeout(t.Context(), time.Second)
	defer end()
	var table screen
	if code := run(short, append(args, "--for", "1h"), strings.NewReader(""), &table, &errOut); code != 0 || !regexp.MustCompile(`LOST +0 `).MatchString(table.String()) {
		t.Errorf("soak that is interrupted: exit %d, %s%s, want 0 and the report", code, table.String(), errOut.String())
	}
}
