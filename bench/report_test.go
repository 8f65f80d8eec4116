//go:build linux

package bench_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/normalize"
)

// base is the contestant that the others are compared with.
const base = "franz-go"

// figure selects one of the measured figures.
type figure func(measured) float64

var (
	rate      figure = func(m measured) float64 { return m.Rate }
	p50       figure = func(m measured) float64 { return m.P50 }
	p99       figure = func(m measured) float64 { return m.P99 }
	cpuOf     figure = func(m measured) float64 { return m.CPU }
	brokerCPU figure = func(m measured) float64 { return m.BrokerCPU }
	objects   figure = func(m measured) float64 { return m.Mallocs }
)

// target is a goal for tollbridge: a figure must be at least, or at most, so many times
// another contestant's; or so much, if against is empty.
type target struct {
	says     string
	settings []string
	cell     cell
	of       figure
	against  string
	least    float64 // 0: the target is an upper limit
	most     float64
}

var targets = []target{
	{"CPU per webhook, at most 1.8x franz-go's", []string{"fake-0ms"}, middle, cpuOf, base, 0, 1.8},
	{"CPU per webhook, at most 1.2x franz-go-equal's", []string{"fake-0ms"}, middle, cpuOf, "franz-go-equal", 0, 1.2},
	{"objects per webhook, at most 90", []string{"fake-0ms"}, middle, objects, "", 0, 90},
	{"webhooks a second, at least 1.2x bento's", []string{"fake-0ms"}, middle, rate, "bento", 1.2, 0},
	{"webhooks a second, at least 2x bento-event's", []string{"fake-0ms"}, middle, rate, "bento-event", 2, 0},
	{"webhooks a second, at least 0.8x franz-go's", []string{"kafka-3"}, middle, rate, base, 0.8, 0},
	{"webhooks a second, at least 2.5x franz-go-equal's", []string{"kafka-3"}, middle, rate, "franz-go-equal", 2.5, 0},
	{"the brokers' CPU per webhook, at most 1.1x franz-go's", []string{"kafka-3"}, middle, brokerCPU, base, 0, 1.1},
	{"the brokers' CPU per webhook, at most 0.25x franz-go-equal's", []string{"kafka-3"}, middle, brokerCPU, "franz-go-equal", 0, 0.25},
	{"p50 at one connection, at most 2.2x franz-go's", []string{"kafka-3"}, single, p50, base, 0, 2.2},
	// The archive may cost 35 % of the CPU: without it, 65 % remain.
	{"CPU per webhook, at most 1.54x that without keeping webhooks (35 % for it)", []string{"fake-0ms"}, middle, cpuOf, "no-archive", 0, 1.0 / 0.65},
}

// spread is the median, minimum and maximum of a figure over the repeats.
type spread struct{ median, least, most float64 }

func spreadOf(values []float64) (s spread, ok bool) {
	if len(values) == 0 {
		return s, false
	}
	slices.Sort(values)
	n := len(values)
	return spread{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}, true
}

// results is all samples of a run.
type results []sample

// of returns a contestant's figures in a cell, in no particular order.
func (r results) of(setting string, c cell, contestant string, f figure) (values []float64) {
	for _, s := range r {
		if s.Setting == setting && s.Cell == c && s.Contestant == contestant {
			values = append(values, f(s.measured))
		}
	}
	return values
}

// ratios returns the quotients of two contestants' figures, one for each repeat that
// has both.
func (r results) ratios(setting string, c cell, contestant, against string, f figure) (values []float64) {
	for _, a := range r {
		for _, b := range r {
			if a.Setting == setting && b.Setting == setting && a.Cell == c && b.Cell == c && a.Repeat == b.Repeat &&
				a.Contestant == contestant && b.Contestant == against && f(b.measured) > 0 {
				values = append(values, f(a.measured)/f(b.measured))
			}
		}
	}
	return values
}

// pageWriter writes docs/benchmarks.md.
type pageWriter struct {
	strings.Builder
	results
}

func (w *pageWriter) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

// write writes the page, and the file with the single figures.
func (b *bench) write(began time.Time) error {
	w := pageWriter{results: b.samples}
	w.head(began)
	w.targets()
	for _, s := range settings {
		w.setting(s)
	}
	w.tail(b.faults)
	figures, err := json.MarshalIndent(b.samples, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(*raw), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(*raw, figures, 0o644); err != nil {
		return err
	}
	return os.WriteFile(*page, []byte(w.String()), 0o644)
}

func (w *pageWriter) head(began time.Time) {
	command := "make bench"
	if args := runArguments(); args != "" {
		command += " BENCH='" + args + "'"
	}
	w.line(`# Benchmarks

<!-- Written by make bench, which overwrites changes to this page. -->

The benchmarks run whole programs over HTTP on loopback. Each program receives a Stripe webhook, checks its signature, writes it to all in-sync
replicas and responds 200. tollbridge also normalises the webhook, checks whether its event was published before, claims the event, and archives
the webhook. franz-go-equal copies the bytes to the same two topics, that of the event's type and an archive, and bento-event makes the event; the others
copy the bytes to one topic.

- %s, %.0f minutes, by `+"`%s`"+`
- %s
- %s; %s

## Targets

A ratio is tollbridge's figure divided by the other's in the same repeat: the median, and in brackets the minimum and maximum.
%d connections, %d bytes unless the target says otherwise.
`, began.UTC().Format("2006-01-02"), time.Since(began).Minutes(), command, machine(), runtime.Version(), versions(), middle.Connections, middle.Size)
}

func (w *pageWriter) targets() {
	w.line("| target | Kafka | measured | |\n|---|---|---|---|")
	for _, t := range targets {
		for _, s := range t.settings {
			values := w.ratios(s, t.cell, "tollbridge", t.against, t.of)
			if t.against == "" {
				values = w.of(s, t.cell, "tollbridge", t.of)
			}
			ratio, ok := spreadOf(values)
			if !ok {
				continue
			}
			verdict := "met"
			if t.least > 0 && ratio.median < t.least || t.most > 0 && ratio.median > t.most {
				verdict = "**missed**"
			}
			w.line("| %s | %s | %s | %s |", t.says, s, ratio.text("%.2f"), verdict)
		}
	}
}

func (s spread) text(form string) string {
	return fmt.Sprintf(form+" ["+form+"..."+form+"]", s.median, s.least, s.most)
}

// setting writes the tables of one setting.
func (w *pageWriter) setting(s setting) {
	if !slices.ContainsFunc(w.results, func(x sample) bool { return x.Setting == s.name }) {
		return
	}
	w.line("\n## %s: %s", s.name, s.says)
	for _, c := range cells {
		w.line("\n%d connections, %d bytes\n", c.Connections, c.Size)
		w.line("| | webhooks/s | ratio to %s | p50 ms | p99 ms | CPU µs | ratio to %[1]s | brokers' CPU µs | ratio to %[1]s | objects |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|", base)
		for _, one := range contestants {
			if len(w.of(s.name, c, one.name, rate)) > 0 {
				w.row(s.name, c, one.name)
			}
		}
	}
}

// row writes a contestant's figures in a cell.
func (w *pageWriter) row(setting string, c cell, contestant string) {
	median := func(f figure) float64 {
		s, _ := spreadOf(w.of(setting, c, contestant, f))
		return s.median
	}
	ratio := func(f figure) string {
		s, ok := spreadOf(w.ratios(setting, c, contestant, base, f))
		if !ok {
			return "-"
		}
		return s.text("%.2f")
	}
	w.line("| %s | %.0f | %s | %.2f | %.2f | %.1f | %s | %.1f | %s | %.0f |", contestant,
		median(rate), ratio(rate), median(p50), median(p99), median(cpuOf), ratio(cpuOf), median(brokerCPU), ratio(brokerCPU), median(objects))
}

func (w *pageWriter) tail(faults []string) {
	stripe, _ := normalize.Lookup("stripe")
	w.line("\n## The programs\n")
	for _, c := range contestants {
		w.line("- `%s`: %s", c.name, c.says)
	}
	w.line(`
## How to read this

- The load generator, the measured program and the brokers share the machine's cores: CPU that one does not use, the others get. On a larger
  machine, where each has its own cores, the ratios of the rates differ. CPU per webhook depends less on the machine than rates do.
- The load is closed: each connection sends its next webhook when the last one is answered. Latencies are therefore those under full load;
  only with one connection are they close to those under a light load.
- CPU and objects (allocations on the heap) are those of the measured program's process, per webhook. The load generator, which signs each
  webhook, is a separate process and not counted. The kernel counts CPU in ticks of 10 ms.
- Every webhook is new; each payment has three, one after the other. For each webhook tollbridge publishes a claim, the event and the archived webhook,
  and up to a quarter of a second after the first response of a payment two references: 3.7 records per webhook. It also reads its own topics, which
  counts in its CPU and the brokers'.
- tollbridge's records have the merchant's id as their key. This keeps the records of a payment in order, and spreads them over as many
  batches as there are partitions. The others, except franz-go-keyed, franz-go-equal and bento-event, write records without a key, so that a client can
  fill one partition's batch at a time: less work for client and brokers, but no order within a payment. None of them recognises a redelivery, and those
  that are not idempotent may write a record twice after a retry.
- tollbridge, franz-go-equal and bento-event have %[2]d topics of %[1]d partitions, the others have one topic of %[1]d: the brokers' work for partitions
  without writes counts, too.
- The fake broker is kfake, a separate process that handles requests in one thread, without disk and replication. Like Apache Kafka, it
  acknowledges a request before it handles the next one of the same connection.
- Each repeat creates new topics for every program. The brokers run with Kafka's defaults, except for shorter time-outs and a heap of 512 MB;
  they do not wait for the disk, which is also the default. Two programs warm them up before the measurement, by turns, until two visits of one agree
  within a fifth. After new topics are created the measurement waits until the brokers are idle. A visit with an error, such as a webhook answered 503,
  is repeated once; if it fails again it is shown below and not in the tables.
- A program is not in the tables if its topics have fewer records than it answered 2xx, or if it accepts a wrong signature.
- Each repeat runs the programs in another order. Ratios compare figures of the same repeat, because the machine's speed varies.`, partitions, len(kafka.Names{Types: stripe.Types()}.All()))
	if len(faults) > 0 {
		w.line("\n## What went wrong\n")
	}
	for _, f := range faults {
		w.line("- %s", strings.ReplaceAll(f, "\n", " "))
	}
}

// runArguments returns the arguments of the run that follow -full.
func runArguments() string {
	args := os.Args[slices.Index(os.Args, "-full")+1:]
	return strings.Join(args, " ")
}

// machine describes the processor, the memory and the kernel.
func machine() string {
	read := func(name, form string) string {
		text, _ := os.ReadFile(name)
		if m := regexp.MustCompile(form).FindSubmatch(text); m != nil {
			return string(m[1])
		}
		return "unknown"
	}
	memory, _ := strconv.Atoi(read("/proc/meminfo", `MemTotal:\s*(\d+)`)) // kB
	return fmt.Sprintf("%s, %d cores, %d GiB, Linux %s", read("/proc/cpuinfo", `model name\s*: (.*)`), runtime.NumCPU(),
		memory>>20, read("/proc/sys/kernel/osrelease", `(.*)`))
}

// versions returns the modules of the other contestants, with their versions.
func versions() string {
	var all []string
	for _, in := range []struct {
		dir     string
		modules []string
	}{
		{".", []string{"github.com/labstack/echo/v4", "github.com/twmb/franz-go", "github.com/segmentio/kafka-go", "github.com/ThreeDotsLabs/watermill",
			"github.com/ThreeDotsLabs/watermill-kafka/v3", "github.com/IBM/sarama"}},
		{"bento", []string{"github.com/warpstreamlabs/bento"}},
	} {
		c := exec.Command("go", append([]string{"list", "-m", "-f", "{{.Path}} {{.Version}}"}, in.modules...)...)
		c.Dir = in.dir
		out, err := c.Output()
		if err != nil {
			all = append(all, strings.Join(in.modules, ", ")+" of unknown versions")
			continue
		}
		for line := range strings.Lines(string(out)) {
			all = append(all, strings.TrimPrefix(strings.TrimSpace(line), "github.com/"))
		}
	}
	return strings.Join(all, ", ")
}

// TestRatios checks that ratios compare figures of the same repeat, and that spread is
// the median, minimum and maximum.
func TestRatios(t *testing.T) {
	at := func(contestant string, repeat int, rate float64) sample {
		return sample{"kafka-3", contestant, middle, repeat, measured{Rate: rate}}
	}
	r := results{at("tollbridge", 0, 200), at(base, 0, 100), at("tollbridge", 1, 90), at(base, 1, 30), at("tollbridge", 2, 70)}
	got, ok := spreadOf(r.ratios("kafka-3", middle, "tollbridge", base, rate))
	if want := (spread{2.5, 2, 3}); !ok || got != want {
		t.Errorf("ratios are %v, want %v", got, want)
	}
	if _, ok := spreadOf(r.ratios("kafka-1", middle, "tollbridge", base, rate)); ok {
		t.Error("ratios were returned for a Kafka that was not measured")
	}
}

// TestWebhooks checks that the generated webhooks have the requested size, are JSON,
// and are all different.
func TestWebhooks(t *testing.T) {
	for _, c := range cells {
		w := newWriter("1000000", c.Size)
		seen := map[string]bool{}
		for range 2 * len(webhookTypes) {
			body := w.next()
			var e struct{ ID string }
			if err := json.Unmarshal(body, &e); err != nil || len(body) != c.Size || seen[e.ID] {
				t.Errorf("want a new webhook of %d bytes, got %d bytes, id %s, %v", c.Size, len(body), e.ID, err)
			}
			seen[e.ID] = true
		}
	}
}
