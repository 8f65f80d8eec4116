package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/gaps"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

func gapsCommand() *cobra.Command {
	var q gapsFlags
	c := &cobra.Command{
		Use:   "gaps --connector NAME",
		Short: "Find the events that the processor lists and that never came",
		Long: `Page through what the processor's API lists, and compare it with the events in
Kafka: webhooks can get lost before they reach tollbridge, at a firewall, or
while the endpoint was disabled. The endpoint needs api in the configuration
file.

Without --publish and --resend, the command only prints the plan:

  known           listed, and its events were published
  missing         no event of it was published
  late            the same, but young enough that the processor may still
                  deliver it
  not subscribed  the webhook is not subscribed to its event type
  old             missing for more than 30 days: it is never published, because
                  ids are remembered for 31 days

--publish publishes what is missing or late in the same way as a webhook: the
item is archived, vouched for by "gaps", and events that are known are not
published again. --resend asks the processor to deliver the webhooks again,
which is better where it is possible: they come back signed. It needs a key that
may do that, which the server never has: --write-key-file.

` + "`tollbridge connectors`" + ` says what each processor lists. A list of payments and
refunds shows their present state, not what happened before.

The command makes at most a quarter of the requests that the processor allows.
With --journal it can be interrupted, and goes on where it was when you run it
again with the same file. The file has payments' data; at the end, the command
removes it.

` + lockHelp + `

Exit codes: 0 nothing is missing, or everything was published or resent;
1 failed, or something is missing; 2 the command line or the configuration is
wrong.`,
		Example: `  tollbridge gaps --config tollbridge.yaml --connector stripe --from 7d
  tollbridge gaps --config tollbridge.yaml --connector stripe --from 7d \
    --publish --journal /var/tmp/stripe.journal
  tollbridge gaps --config tollbridge.yaml --connector paypal --from 2d \
    --resend --write-key-file paypal-write-key
  tollbridge gaps --config tollbridge.yaml --connector stripe --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return q.run(c) },
	}
	f := c.Flags()
	sessionFlags(c)
	f.StringVar(&q.connector, "connector", "", "the connector: "+strings.Join(fetch.Lists(), ", ")+" (required)")
	f.StringVar(&q.endpoint, "endpoint", "", "the endpoint, if the connector has several")
	f.StringVar(&q.from, "from", "7d", "only what happened since this time: RFC 3339, unix seconds, or an age: 90m, 7d")
	f.StringVar(&q.to, "to", "15m", "only what happened before this time; webhooks of the last minutes may still be under way")
	f.BoolVar(&q.publish, "publish", false, "publish the events of what is missing")
	f.BoolVar(&q.resend, "resend", false, "ask the processor to deliver again what is missing")
	f.StringVar(&q.writeKey, "write-key-file", "", "file with the API key for --resend; - reads standard input")
	f.StringVar(&q.journal, "journal", "", "file with the progress, so that an interrupted run can go on")
	f.IntVar(&q.show, "show", 20, "how many missing items to print; --json prints all")
	f.StringVar(&q.state, "state", "", stateHelp)
	f.BoolVar(&q.json, "json", false, "print one line of JSON for each missing item, and one with the counts")
	return c
}

// gapsConfig says how often a server looks for webhooks that never came.
type gapsConfig struct {
	Every duration `yaml:"every"` // from the start of a run to the start of the next
	From  duration `yaml:"from"`  // the age of the oldest event that is compared; 0 is [gaps.DefaultFrom]
}

// job returns the schedule of an endpoint.
func (g gapsConfig) job(e webhook.Endpoint) gaps.Job {
	return gaps.Job{Endpoint: e, Every: time.Duration(g.Every), From: cmp.Or(time.Duration(g.From), gaps.DefaultFrom)}
}

// gapsJobs returns the endpoints with a schedule. The endpoints are those of the
// configuration, in its order.
func (c config) gapsJobs(endpoints []webhook.Endpoint) (all []gaps.Job) {
	for i, e := range c.Endpoints {
		if e.Gaps != nil {
			all = append(all, e.Gaps.job(endpoints[i]))
		}
	}
	return all
}

// gapsFlags are the flags of `tollbridge gaps`.
type gapsFlags struct {
	connector, endpoint, from, to, writeKey, journal, state string
	publish, resend, json                                   bool
	show                                                    int
}

// config checks the flags, and returns the part of the configuration of the run that
// needs no Kafka.
func (q *gapsFlags) config(now time.Time) (run gaps.Config, err error) {
	run.Action = gaps.Plan
	switch {
	case q.connector == "":
		return run, usage("--connector: expected one of %s", strings.Join(fetch.Lists(), ", "))
	case q.publish && q.resend:
		return run, usage("--publish and --resend: expected one of them")
	case q.resend != (q.writeKey != ""):
		return run, usage("--resend and --write-key-file: expected both or none")
	case q.publish:
		run.Action = gaps.Publish
	case q.resend:
		run.Action = gaps.Resend
	}
	if err := gaps.Check(q.connector, run.Action); err != nil {
		return run, usageError{err}
	}
	if run.From, err = parseTimeOrAge("--from", cmp.Or(q.from, "7d"), now); err != nil {
		return run, err
	}
	if run.To, err = parseTimeOrAge("--to", cmp.Or(q.to, "0s"), now); err != nil {
		return run, err
	}
	if !run.From.Before(run.To) {
		return run, usage("--from and --to: expected --from before --to, got %s and %s", timestamp(run.From), timestamp(run.To))
	}
	return run, nil
}

func (q *gapsFlags) run(c *cobra.Command) error {
	run, err := q.config(time.Now())
	if err != nil {
		return err
	}
	w, err := openKafkaSession(c)
	if err != nil {
		return err
	}
	defer w.reader.Close()
	if run.Endpoint, err = w.selectEndpoint(q.connector, q.endpoint, readEndpoint); err != nil {
		return err
	}
	if run.Endpoint.API == nil {
		return usage("endpoint %s has no api in the configuration file: add api: {keys: {main: {env: …}}}", run.Endpoint.ID())
	}
	var key fetch.Key // of --resend
	if q.resend {
		if key, err = q.readWriteKey(c.InOrStdin(), run.Endpoint); err != nil {
			return err
		}
	}
	if q.publish {
		return w.withLockToPublish(c, w.names, func(w kafkaSession, names kafka.Names) error {
			w.names = names
			return q.runIn(c, w, run, key)
		})
	}
	return q.runIn(c, w, run, key)
}

// readWriteKey reads the key of --resend, and checks it.
func (q *gapsFlags) readWriteKey(in io.Reader, e webhook.Endpoint) (key fetch.Key, err error) {
	key.Name = "--write-key-file"
	if key.Value, err = readKey(in, q.writeKey); err != nil {
		return key, err
	}
	api := *e.API
	api.Keys = []fetch.Key{key}
	if err := fetch.Check(e.Connector, api); err != nil {
		return key, usageError{err}
	}
	return key, nil
}

// runIn runs with an open session. The key is that of --resend.
func (q *gapsFlags) runIn(c *cobra.Command, w kafkaSession, run gaps.Config, key fetch.Key) error {
	var to history.Publisher = planPublisher{}
	if q.publish {
		producer := publish.NewProducer(w.producer)
		defer producer.Close()
		to = producer
	}
	published, end, err := openHistory(c, w, q.state, to)
	if err != nil {
		return err
	}
	defer end()
	caller := &fetch.Caller{}
	run.Connect(caller, published, w.names)
	if err := run.AskSubscriptions(c.Context(), caller); err != nil {
		fmt.Fprintln(c.ErrOrStderr(), "the processor does not say which event types the endpoint is subscribed to:", err)
	}
	if q.publish {
		server, err := ingest.New(ingest.Config{Endpoints: []webhook.Endpoint{run.Endpoint}, Publisher: to, History: published, Names: w.names})
		if err != nil {
			return usageError{err}
		}
		run.Publish = func(ctx context.Context, payload []byte, documents []schemas.Fetched) (int, webhook.Verdict, error) {
			return server.PublishListed(ctx, run.Endpoint.ID(), payload, documents)
		}
	}
	if q.resend {
		run.Resend = func(ctx context.Context, l fetch.ListQuery, i fetch.Item) error {
			l.API.Keys = []fetch.Key{key}
			return caller.Resend(ctx, run.Endpoint.Connector, l, i)
		}
	}
	if q.journal != "" {
		if run.Journal, err = gaps.OpenJournal(q.journal); err != nil {
			return fmt.Errorf("--journal: %w", err)
		}
		defer func() { _ = run.Journal.Close() }()
	}
	err = q.report(c, run)
	if err == nil && q.publish {
		err = published.Drain(c.Context())
	}
	return err
}

// readKey reads a key from a file, or from standard input if its name is "-".
func readKey(in io.Reader, name string) (string, error) {
	var b []byte
	var err error
	if name == "-" {
		b, err = io.ReadAll(io.LimitReader(in, 64<<10))
	} else {
		b, err = os.ReadFile(name)
	}
	if err != nil {
		return "", usage("--write-key-file: %w", err)
	}
	key := strings.TrimRight(string(b), "\r\n")
	if key == "" {
		return "", usage("--write-key-file: %s is empty", name)
	}
	return key, nil
}

// report runs and prints the findings and the counts.
func (q *gapsFlags) report(c *cobra.Command, run gaps.Config) error {
	out := c.OutOrStdout()
	shown := 0
	run.Each = func(f gaps.Finding) error {
		if q.json {
			return writeJSONLine(out, f)
		}
		if shown++; shown > q.show {
			return nil
		}
		_, err := fmt.Fprintf(folded(out), "%s  %-14s  %s  %s  %s  %s\n", timestamp(f.Time), strings.ReplaceAll(string(f.Status), "_", " "), oneLine(f.ID), oneLine(f.Type), joined(f.Events), oneLine(strings.Join(f.Keys, " ")))
		return err
	}
	var clear func()
	run.Progress, clear = gapsProgress(c)
	n, err := gaps.Run(c.Context(), run)
	clear()
	switch {
	case errors.Is(err, gaps.ErrJournal), errors.Is(err, gaps.ErrAction):
		return usageError{err}
	case err == nil && run.Journal != nil:
		err = run.Journal.Remove()
	}
	if err == nil && (n.Failed > 0 || n.Old > 0 || run.Action == gaps.Plan && n.Missing > 0) {
		err = errRefused
	}
	if q.json {
		return errors.Join(writeJSONLine(out, n), err)
	}
	if shown > q.show {
		fmt.Fprintf(out, "… and %d more; --json prints all\n", shown-q.show)
	}
	return errors.Join(q.summary(c, run, n), err)
}

// summary prints the counts.
func (q *gapsFlags) summary(c *cobra.Command, run gaps.Config, n gaps.Counts) error {
	list, _ := fetch.ListOf(n.Connector)
	w := columns(c)
	fmt.Fprintf(w, "%d\tlisted by %s, from %s to %s\n", n.Listed, n.Connector, timestamp(n.From), timestamp(n.To))
	for _, line := range []struct {
		n    int
		what string
	}{
		{n.Known, "known"}, {n.Missing, "missing"},
		{n.Late, fmt.Sprintf("late: younger than %s, the processor may still deliver them", display.Age(list.Redelivers))},
		{n.Unsubscribed, "not subscribed"}, {n.Old, "old: missing for more than 30 days, not published"},
		{n.Ignored, "give no event"}, {n.Unreadable, "cannot be read"},
		{n.Published, "events published"}, {n.Resent, "resent: they come as webhooks"}, {n.Failed, "failed"},
	} {
		if line.n > 0 {
			fmt.Fprintf(w, "%d\t%s\n", line.n, line.what)
		}
	}
	if n.FirstFailure != "" {
		fmt.Fprintf(w, "\tthe first that failed: %s\n", oneLine(n.FirstFailure))
	}
	for _, t := range slices.Sorted(maps.Keys(n.MissingTypes)) {
		fmt.Fprintf(w, "%d\tmissing, late or old of the type %s\n", n.MissingTypes[t], oneLine(t))
	}
	if types := n.NeverCame(); len(types) > 0 {
		fmt.Fprintf(w, "\tno webhook of these types came: %s; is the endpoint subscribed to them?\n", oneLine(strings.Join(types, ", ")))
	}
	if list.Note != "" {
		fmt.Fprintf(w, "\tnote: %s\n", list.Note)
	}
	if list.Retention > 0 && time.Since(n.From) > list.Retention {
		fmt.Fprintf(w, "\tnote: %s lists only the last %s\n", n.Connector, display.Age(list.Retention))
	}
	if run.Action == gaps.Plan && n.Missing+n.Late > 0 {
		var ways []string
		if list.Resends() {
			ways = append(ways, "--resend asks the processor to deliver them again")
		}
		if list.Publish {
			ways = append(ways, "--publish publishes their events")
		}
		if len(ways) > 0 {
			fmt.Fprintf(w, "\tthis is a plan; %s\n", strings.Join(ways, ", "))
		}
	}
	return w.Flush()
}

// gapsProgress returns a function that rewrites a line of the terminal with the progress,
// the rate and the expected end, and one that clears the line.
func gapsProgress(c *cobra.Command) (report func(stage string, done int, part float64), clear func()) {
	f, ok := terminalOf(c.ErrOrStderr())
	if !ok {
		return nil, func() {}
	}
	var now string
	var start time.Time
	var first int
	var firstPart float64
	return func(stage string, done int, part float64) {
		if stage != now {
			now, start, first, firstPart = stage, time.Now(), done, part
			if done == 1 {
				first, firstPart = 0, 0
			}
		}
		took := max(time.Since(start).Seconds(), 0.1)
		const width = 20
		full := int(width * part)
		end := "unknown"
		if part > firstPart {
			left := time.Duration((1 - part) / (part - firstPart) * took * float64(time.Second))
			end = time.Now().Add(left).Format("15:04:05")
		}
		fmt.Fprintf(f, "\r\x1b[K%-8s [%s%s] %d, %.0f/s, ends %s", stage, strings.Repeat("#", full), strings.Repeat(".", width-full), done, float64(done-first)/took, end)
	}, func() { fmt.Fprint(f, "\r\x1b[K") }
}
