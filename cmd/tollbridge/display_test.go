package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
)

// hostile contains what a terminal would execute: it clears the screen, sets the title,
// writes to the clipboard (OSC 52), overwrites earlier text, rings the bell, has an
// 8-bit CSI, and reverses the direction of text. The text after the newline must not
// look like a line of the program.
const hostile = "x\x1b[2J\x1b[41m\x1b]0;t\x07\x1b]52;c;Zm9v\x07\rback\x08\x08\u009b31m\x7f\u202egpj\u2066\u200f\u061cy\nFORGED line"

// rawHostile is hostile for records whose bytes are not UTF-8.
const rawHostile = hostile + "\x9b1m\xff"

// controlCharacters returns the control characters that are left in an output, with the text
// around them.
func controlCharacters(out string) (found []string) {
	if !utf8.ValidString(out) {
		found = append(found, "not UTF-8")
	}
	for i, r := range out {
		if display.IsControl(r) {
			found = append(found, out[max(0, i-40):min(len(out), i+20)])
		}
	}
	return found
}

// forged returns the lines of an output that come from a sender.
func forged(out string) (found []string) {
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "FORGED") {
			found = append(found, line)
		}
	}
	return found
}

// writeHostile fills the topics of a bridge with records that have hostile in every field that
// an outsider can write.
func (b *bridge) writeHostile(t *testing.T) (event, letter string) {
	t.Helper()
	event = b.send(t, paid("known", 0))
	b.send(t, bytes.Replace(paid("odd", 0), []byte(`"description":"`), []byte("\"description\":\"\u009b31m\u202e\x7f"), 1))
	b.send(t, []byte("{\"id\":\"evt\u202e\u009b\x1b[2J\x07\",\"type\":1}"))
	b.writeLetter(t, paid("buried", 0))
	p := publish.NewProducer(publish.Config{Kafka: b.kafka})
	defer p.Close()
	e := schemas.Event{}
	if err := json.Unmarshal([]byte(b.run(t, 0, "tail", "--exit", "--from", "1h", "--json", "--key", "known")), &e); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"known", hostile} {
		e.ID, e.Subject, e.Data.MerchantTransactionID = "00000000-0000-5000-8000-"+map[bool]string{true: "000000000001", false: "000000000002"}[key == hostile], key, key
		e.Data.Connector, e.Data.Endpoint, e.Data.Account, e.Data.ConnectorEventType, e.Data.ConnectorEventID = hostile, hostile, hostile, hostile, hostile
		e.Data.Corrects, e.Data.NewestEventID, e.Data.Contradicts, e.Data.Late = event+hostile, hostile, hostile, true
		e.Data.Amount = &schemas.Amount{Value: 1, Currency: hostile}
		value, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		value = bytes.ReplaceAll(value, []byte(`\u202e`), []byte("\u202e")) // as other programs may write it
		value = bytes.ReplaceAll(value, []byte(`\u007f`), []byte("\x7f"))
		headers := []schemas.Header{{Name: schemas.HeaderEventID, Value: e.ID}, {Name: schemas.HeaderEventTime, Value: e.Time.Format(time.RFC3339Nano)},
			{Name: schemas.HeaderKeySource, Value: hostile}, {Name: hostile, Value: rawHostile}}
		records := []kafka.Record{
			{Topic: b.names.Event(schemas.PaymentCaptured), Key: []byte(key), Value: value, Headers: headers},
			{Topic: b.names.References(), Key: []byte("stripe::" + hostile), Value: []byte(rawHostile), Headers: []schemas.Header{{Name: schemas.HeaderEventID, Value: rawHostile}}},
			{Topic: b.names.References(), Key: []byte("stripe::pi_" + key), Value: []byte(hostile), Headers: headers},
		}
		for _, topic := range []string{b.names.Received(), b.names.Dead()} {
			for _, connector := range []string{"stripe", rawHostile} {
				r := kafka.Record{Topic: topic, Key: []byte(key), Value: []byte(rawHostile + "\r\n" + hostile)}
				if connector == "stripe" {
					r.Value = []byte("{\"a\":\"\u202e\u2066 text\"}")
				}
				for _, h := range [][2]string{
					{"connector", connector}, {"endpoint", rawHostile}, {"method", rawHostile}, {"path", "/" + rawHostile}, {"query", rawHostile},
					{"received-at", time.Now().UTC().Format(time.RFC3339Nano)}, {"secret", rawHostile}, {"outcome", rawHostile}, {"reason", rawHostile},
					{"event-ids", event + "," + e.ID + "," + rawHostile}, {"traceparent", rawHostile}, {"http-" + hostile, rawHostile}, {"http-stripe-signature", rawHostile},
				} {
					r.Headers = append(r.Headers, schemas.Header{Name: h[0], Value: h[1]})
				}
				records = append(records, r)
			}
		}
		if _, err := p.Publish(t.Context(), records); err != nil {
			t.Fatal(err)
		}
	}
	all := b.letters(t)
	for _, l := range all {
		if l.Webhook.Connector != "stripe" {
			letter = l.ID
		}
	}
	mark := kafka.Record{Topic: b.names.Dead(), Key: []byte(hostile)}
	for _, h := range [][2]string{{"connector", hostile}, {"endpoint", hostile}, {"received-at", time.Now().UTC().Format(time.RFC3339Nano)},
		{"outcome", hostile}, {"reason", hostile}, {"event-ids", event}, {"handles", letter}, {"by", rawHostile}} {
		mark.Headers = append(mark.Headers, schemas.Header{Name: h[0], Value: h[1]})
	}
	if _, err := p.Publish(t.Context(), []kafka.Record{mark}); err != nil {
		t.Fatal(err)
	}
	return event, letter
}

// TestHostile runs every command on topics, files and a server with hostile texts, in a
// pipe and at a terminal, as text and as JSON. No control character is printed, and
// JSON stays valid.
func TestHostile(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	b := startBridge(t)
	event, letter := b.writeHostile(t)
	body := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(body, []byte("{\"id\":\"\u202e\u009b\",\"type\":\"charge.\u202e\x7f\"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Addr: freePort(t), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Tollbridge-Receipt", "\u202e\u009b")
		_, _ = io.WriteString(w, rawHostile)
	})}
	go func() { _ = server.ListenAndServe() }()
	defer server.Close()
	const planted = "00000000-0000-5000-8000-000000000001"
	none := [][]string{nil}
	runs := map[string][][]string{ // the runs of each command; --config is added if the command has it
		"dev":                   {{"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--broker", "127.0.0.1:0", "--logs"}},
		"serve":                 none, // exits at once: its address is in use
		"inspect":               {{"--connector", "stripe", "--payload", body}, {"--connector", "stripe", "--header", "Stripe-Signature: " + hostile, "--url", hostile, body}, {"--connector", hostile, body}},
		"send":                  {{"stripe", "payment_intent.succeeded", "--to", "http://" + server.Addr}, {hostile}},
		"topics plan":           {nil, {"--prefix", hostile}},
		"topics apply":          none,
		"connectors":            {nil, {"stripe"}, {hostile}},
		"schemas":               {nil, {hostile}},
		"config check":          none,
		"config init":           {{"stripe"}, {hostile}},
		"soak":                  {{"--count", "1", "--rate", "100"}},
		"version":               none,
		"healthcheck":           {nil, {"--admin", server.Addr}},
		"console":               {{"--listen", "127.0.0.1:0"}, {"--listen", hostile}},
		"tail":                  {{"--exit", "--from", "1h"}, {"--exit", "--from", "1h", "--received"}},
		"timeline":              {{"known", "--scan"}, {hostile, "--scan"}, {hostile}, {event}},
		"show":                  {{event, "--scan"}, {planted, "--scan"}, {event, "--scan", "--raw"}, {hostile}},
		"references get":        {{hostile}, {"stripe::pi_known"}},
		"references list":       none,
		"dedupe explain":        {{event, "--scan", "--all"}, {planted, "--scan", "--all"}, {"--connector", "stripe", "--payload", body}},
		"dead list":             {{"--all"}, {hostile}},
		"dead show":             {{letter}, {letter, "--raw"}},
		"dead retry":            {nil, {letter}},
		"dead discard":          {{letter, "--note", hostile}, {"--connector", "stripe", "--note", hostile, "--apply"}},
		"replay":                none,
		"gaps":                  {{"--connector", "stripe"}, {"--connector", hostile}},
		"endpoints check":       {nil, {"--connector", hostile}},
		"endpoints create":      {nil, {"--connector", hostile}, {"--endpoint", hostile, "--types", hostile}, {"--connector", "stripe", "--types", hostile, "--api-version", hostile}, {"--connector", "stripe", "--write-key-file", hostile, "--secret-file", hostile, "--yes"}},
		"rewind":                {{hostile, "--to", "earliest"}, {"nobody", "--to", "earliest", "--topics", hostile}},
		"topics acls":           {{"serve", "--principal", "User:a"}, {"serve", "--principal", hostile}, {hostile, "--principal", "User:a"}, {"view", "--principal", "User:a", "--group", hostile}, {"view", "--principal", "User:a", "--prefix", hostile}},
		"man":                   {{t.TempDir()}},
		"completion bash":       none,
		"completion zsh":        none,
		"completion fish":       none,
		"completion powershell": none,
	}
	root := rootCommand()
	root.InitDefaultCompletionCmd("tollbridge")
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			visit(sub)
		}
		path := strings.TrimPrefix(strings.TrimPrefix(c.CommandPath(), "tollbridge"), " ")
		if c.HasSubCommands() || c.Name() == "help" {
			return
		}
		if runs[path] == nil {
			t.Errorf("'%s' is a command that this test does not run: add how", c.CommandPath())
		}
		for _, args := range runs[path] {
			asJSON := c.Flags().Lookup("json") != nil
			for _, more := range [][]string{nil, {"--json"}} {
				if more != nil && (!asJSON || slices.Contains(args, "--raw")) {
					continue
				}
				for _, terminal := range []bool{false, true} {
					all := slices.Concat(strings.Fields(path), args, more)
					if c.Flags().Lookup("config") != nil {
						all = append(all, "--config", b.config)
					}
					hostileRun(t, all, terminal, more != nil)
				}
			}
		}
	}
	visit(root)
}

// hostileRun runs a command and reports control characters in its output.
func hostileRun(t *testing.T, args []string, terminal, asJSON bool) {
	t.Helper()
	var out, errOut bytes.Buffer
	was := isTerminal
	isTerminal = func(io.Writer) bool { return terminal }
	defer func() { isTerminal = was }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if args[0] == "dev" || args[0] == "console" {
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
	}
	run(ctx, args, strings.NewReader(""), &out, &errOut)
	if raw := slices.Contains(args, "--raw"); raw && !terminal {
		return // the output is byte for byte
	}
	// The program itself rewrites the line of progress and errors.
	told := strings.ReplaceAll(strings.ReplaceAll(errOut.String(), "\r\x1b[K", ""), "\r", "\\r")
	all := append(controlCharacters(out.String()), controlCharacters(told)...)
	if args[0] != "send" && !slices.Contains(args, "--raw") { // those print a body, which may have lines
		all = append(append(all, forged(out.String())...), forged(told)...)
	}
	for _, found := range all {
		t.Errorf("%.200q (terminal: %t) prints %q", args, terminal, found)
		break
	}
	if !asJSON {
		return
	}
	for d := json.NewDecoder(&out); ; {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Errorf("%.200q (terminal: %t) prints invalid JSON: %v", args, terminal, err)
			break
		}
	}
}

// TestDevHostile: what dev prints of a webhook has no control characters.
func TestDevHostile(t *testing.T) {
	var out bytes.Buffer
	d := newSafeWriter(&out)
	p := &printer{out: d}
	p.records([]kafka.Record{{Topic: "payment.captured", Key: []byte(hostile), Value: []byte("{\"a\":\"" + "\u202e\u009b\x7f\x9b" + "\"}")}}, []kafka.Receipt{{Topic: "payment.captured"}})
	if found := append(controlCharacters(out.String()), forged(out.String())...); len(found) > 0 {
		t.Errorf("%q", found)
	}
}

// TestDisplay: a character that is written in two pieces is printed as one.
func TestDisplay(t *testing.T) {
	const text = "ok \x1b[31m é \u202e \u009b \x7f \xff\xc3 \n\tJapan 日本 🎉\xf0\x9f"
	const want = `ok \u001b[31m é \u202e \u009b \u007f \u00ff\u00c3 ` + "\n\tJapan 日本 🎉" + `\u00f0\u009f`
	for size := 1; size < 9; size++ {
		var out bytes.Buffer
		d := newSafeWriter(&out)
		for piece := range slices.Chunk([]byte(text), size) {
			if n, err := d.Write(piece); err != nil || n != len(piece) {
				t.Fatalf("%d %v", n, err)
			}
		}
		if d.end(); out.String() != want {
			t.Errorf("in pieces of %d bytes: %q, want %q", size, out.String(), want)
		}
	}
}
