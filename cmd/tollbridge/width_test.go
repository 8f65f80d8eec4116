package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rivo/uniseg"
	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/internal/fetchtest"
	"github.com/tollbridge/tollbridge/internal/gaps"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

// changing are the parts of an output that differ in each run. They are replaced by texts
// of the same width.
var changing = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`), "2026-01-01T00:00:00.000Z"},
	{regexp.MustCompile(`t=\d{10},v1=[0-9a-f]{64}`), "t=1767225600,v1=" + strings.Repeat("0", 64)},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:1"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z`), "2026-01-01T00:00:00.000Z"},
	{regexp.MustCompile(`\d+ bytes, as fast`), "812 bytes, as fast"},
	{regexp.MustCompile(`read, in \S+`), "read, in 1ms"},
}

// TestWidth: the output of the commands fits a terminal of 80 columns, and uses the width
// of a wider one. The golden files in testdata/width have the outputs; -update writes them
// anew.
func TestWidth(t *testing.T) {
	b := startBridge(t, "public_url: https://pay.example.com,")
	event := b.send(t, paid("order-43", 0))
	b.writeLetter(t, paid("a-longer-order-id-2026-0000000043", 0))
	b.awaitReference(t, "order-43")
	b.run(t, 0, "rewind", "fulfilment", "--to", "earliest", "--topics", "payment.captured", "--apply")
	warned := configFile(t, `{admin: "0.0.0.0:8080", listen: "0.0.0.0:8080", endpoints: [{connector: stripe, secrets: {main: {value: rk_live_Zm9yYmlkZGVu}}}]}`)
	config := []string{"--config", b.config}
	commands := [][]string{
		{"connectors"}, {"connectors", "stripe"}, {"connectors", "adyen"}, {"schemas"}, {"config", "check", "--config", warned},
		append([]string{"topics", "plan"}, config...),
		append([]string{"topics", "plan", "--partitions", "12"}, config...),
		append([]string{"tail", "--exit", "--from", "1h"}, config...),
		append([]string{"timeline", "order-43", "--scan"}, config...),
		append([]string{"show", event, "--scan"}, config...),
		append([]string{"dead", "list"}, config...),
		append([]string{"dead", "retry"}, config...),
		append([]string{"dead", "discard", "--connector", "stripe", "--note", "x"}, config...),
		append([]string{"references", "list"}, config...),
		append([]string{"dedupe", "explain", event, "--scan"}, config...),
		append([]string{"replay"}, config...),
		append([]string{"rewind", "fulfilment", "--to", "latest"}, config...),
		append([]string{"endpoints"}, config...),
		append([]string{"endpoints", "check"}, config...),
		append([]string{"gaps", "--connector", "stripe"}, config...),
	}
	var steps []step
	for _, args := range commands {
		shown := strings.ReplaceAll(strings.Join(args, " "), b.config, "tollbridge.yaml")
		steps = append(steps, step{strings.ReplaceAll(shown, warned, "warned.yaml"), func(out, errOut io.Writer) {
			run(t.Context(), args, strings.NewReader(""), out, errOut)
		}})
	}
	steps = append(steps, findings(t)...)
	wasTerminal, wasWidth := isTerminal, terminalWidth
	defer func() { isTerminal, terminalWidth = wasTerminal, wasWidth }()
	t.Setenv("NO_COLOR", "1")
	for _, width := range []int{80, 120} {
		isTerminal = func(io.Writer) bool { return true }
		terminalWidth = func(io.Writer) int { return width }
		var all bytes.Buffer
		widest := 0
		for _, s := range steps {
			var out, errOut bytes.Buffer
			s.print(&out, &errOut)
			text := out.String() + rewrittenLine.ReplaceAllString(errOut.String(), "")
			body := false // JSON and the body of a webhook are printed as they are
			for line := range strings.Lines(text) {
				line = strings.TrimRight(line, "\n")
				body = body || strings.HasPrefix(line, "{")
				words := strings.Fields(line)
				n := uniseg.StringWidth(line)
				if n > width && !body && uniseg.StringWidth(words[len(words)-1]) < width/2 { // a long word is not broken
					t.Errorf("%s at %d columns: a line of %d: %s", s.shown, width, n, line)
				} else if n <= width && !body {
					widest = max(widest, n)
				}
				if body && (line == "}" || line == "") {
					body = false
				}
			}
			for _, c := range changing {
				text = c.pattern.ReplaceAllString(text, c.with)
			}
			fmt.Fprintf(&all, "$ tollbridge %s\n%s\n", s.shown, text)
		}
		if widest < width-8 {
			t.Errorf("at %d columns the widest line has %d", width, widest)
		}
		file := filepath.Join("testdata", "width", fmt.Sprint(width, ".txt"))
		if *update {
			if err := os.WriteFile(file, all.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(all.Bytes(), want) {
			t.Errorf("%s: the outputs differ; -update writes the file anew. Got:\n%s", file, all.Bytes())
		}
	}
}

// step is one of the outputs of [TestWidth].
type step struct {
	shown string // the command
	print func(out, errOut io.Writer)
}

// findings returns the outputs of commands that ask a processor and find something.
func findings(t *testing.T) []step {
	keys, _, _ := sign.Dev("stripe")
	e := webhook.Endpoint{
		Connector: "stripe", Keys: keys, URL: "https://pay.example.com/webhooks/stripe/default",
		API: &fetch.API{Keys: []fetch.Key{{Name: "main", Value: "rk_test_71demo71"}}},
	}
	processor := fetchtest.New(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"object":"list","has_more":false,"data":[{"id":"we_71","url":%q,"status":"disabled","enabled_events":["payment_intent.succeeded","customer.created"],"api_version":"2026-01-01.demo"}]}`, e.URL)
	})
	check := func(c *cobra.Command) error {
		one, err := checkEndpoint(c, &fetch.Caller{Transport: processor.Transport()}, e)
		if err != nil {
			return err
		}
		return cmp.Or(printChecks(c, []endpointCheck{one}, false), errRefused)
	}
	now := time.Now()
	item := func(name string, days int, payload []byte) fetch.Item {
		var p struct{ Type string }
		if err := json.Unmarshal(payload, &p); err != nil {
			t.Fatal(err)
		}
		return fetch.Item{ID: "evt_" + name, Type: p.Type, Time: now.AddDate(0, 0, -days), Payload: payload}
	}
	list := fetch.Page{Next: fetch.Position{End: true}, Items: []fetch.Item{
		item("known", 5, paid("known", 0)), item("late", 1, paid("order-43", 0)), item("missing", 5, paid("a-longer-order-id-2026-0000000043", 0)),
		item("old", 40, paid("order-44", 0)), item("unsubscribed", 5, disputed("order-45")), item("more", 6, paid("order-46", 0)),
		{ID: "evt_unreadable", Type: "payment_intent.succeeded", Time: now, Payload: []byte("{")},
	}}
	look := func(c *cobra.Command) error {
		return (&gapsFlags{show: 4}).report(c, gaps.Config{
			Endpoint: e, From: now.AddDate(0, 0, -50), To: now, Action: gaps.Plan,
			List:       func(context.Context, fetch.ListQuery, fetch.Position) (fetch.Page, error) { return list, nil },
			Published:  func(e schemas.Event) (bool, error) { return e.Subject == "known", nil },
			Subscribed: func(eventType string) bool { return eventType != "charge.dispute.created" },
		})
	}
	of := func(shown string, print func(*cobra.Command) error) step {
		return step{shown, func(out, errOut io.Writer) {
			var c cobra.Command
			c.SetContext(t.Context())
			c.SetOut(out)
			c.SetErr(errOut)
			if err := print(&c); !errors.Is(err, errRefused) {
				t.Errorf("%s: %v, want %v", shown, err, errRefused)
			}
		}}
	}
	return []step{of("endpoints check, with findings", check), of("gaps --connector stripe --show 4, with findings", look)}
}

// rewrittenLine matches a line of progress that a command rewrites, and its end.
var rewrittenLine = regexp.MustCompile("\r\x1b\\[K[^\r\n]*")
