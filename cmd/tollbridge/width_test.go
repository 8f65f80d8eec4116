package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rivo/uniseg"
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
	wasTerminal, wasWidth := isTerminal, terminalWidth
	defer func() { isTerminal, terminalWidth = wasTerminal, wasWidth }()
	t.Setenv("NO_COLOR", "1")
	for _, width := range []int{80, 120} {
		isTerminal = func(io.Writer) bool { return true }
		terminalWidth = func(io.Writer) int { return width }
		var all bytes.Buffer
		widest := 0
		for _, args := range commands {
			var out, errOut bytes.Buffer
			run(t.Context(), args, strings.NewReader(""), &out, &errOut)
			text := out.String() + rewrittenLine.ReplaceAllString(errOut.String(), "")
			body := false // JSON and the body of a webhook are printed as they are
			for line := range strings.Lines(text) {
				line = strings.TrimRight(line, "\n")
				body = body || strings.HasPrefix(line, "{")
				words := strings.Fields(line)
				n := uniseg.StringWidth(line)
				if n > width && !body && uniseg.StringWidth(words[len(words)-1]) < width/2 { // a long word is not broken
					t.Errorf("%s at %d columns: a line of %d: %s", strings.Join(args, " "), width, n, line)
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
			shown := strings.ReplaceAll(strings.Join(args, " "), b.config, "tollbridge.yaml")
			fmt.Fprintf(&all, "$ tollbridge %s\n%s\n", strings.ReplaceAll(shown, warned, "warned.yaml"), text)
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

// rewrittenLine matches a line of progress that a command rewrites, and its end.
var rewrittenLine = regexp.MustCompile("\r\x1b\\[K[^\r\n]*")
