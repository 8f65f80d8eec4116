package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/dead"
	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/replay"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

func replayCommand() *cobra.Command {
	var q replayFlags
	c := &cobra.Command{
		Use:   "replay",
		Short: "Normalise archived webhooks again; publish what is new or changed",
		Long: `Normalise archived webhooks again, with this version's code and the server's
configuration: after an upgrade, after a mapping was fixed or an event type was
added, or after a topic was lost.

Without --publish, the command only prints the plan: how many events are
unchanged, which are new, and which would change, field by field. With
--publish, it writes to the live topics, or to those of --to-prefix:

  same      nothing
  changed   a correction: an event with its own id; "corrects" has the id of
            the event that was published first
  new       the event, marked if it is late
  gone      nothing: this version makes no such event, and the published event
            stays
  too large the webhook, in webhooks.dead: the event is larger than its topic
            accepts

A published event is compared with the event that this version makes of its own
webhook or, if that is not in the archive, of its first redelivery. Other
webhooks about the same fact can add fields that the event lacks.

Published events are recognised by their ids, also by those of earlier versions.
You can run an interrupted replay again, and a second run publishes nothing.
First the command reads all event topics, like a server that starts without its
state; with --state only in the first run.

After an upgrade, use --missing --publish: it publishes the facts that the
earlier version missed, and records the ids that published events have now, so
that the server recognises them when another webhook reports the same fact.

` + lockHelp + `

Exit codes: 0 done, 1 failed or some events are too large, 2 the command line is
wrong.`,
		Example: `  tollbridge replay --config tollbridge.yaml --from 7d
  tollbridge replay --config tollbridge.yaml --from 7d --connector adyen \
    --type refund.succeeded --publish
  tollbridge replay --config tollbridge.yaml --missing --publish
  tollbridge replay --config tollbridge.yaml --outcome ignored \
    --publish --rate 500
  tollbridge replay --config tollbridge.yaml --missing \
    --from 'webhooks.received[3]@120000' --to 'webhooks.received[3]@130000' \
    --publish
  tollbridge topics apply --config tollbridge.yaml --prefix again.
  tollbridge replay --config tollbridge.yaml --to-prefix again. --publish`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return q.run(c) },
	}
	f := c.Flags()
	sessionFlags(c)
	f.StringVar(&q.from, "from", "", "only webhooks received since this time: RFC 3339, unix seconds, or an age: 90m, 7d; or a receipt, webhooks.received[3]@17: only that partition, from that offset on")
	f.StringVar(&q.to, "to", "", "only webhooks received before this time; or a receipt: only that partition, up to but without that offset")
	f.StringVar(&q.Connector, "connector", "", "only of this connector")
	f.StringVar(&q.Endpoint, "endpoint", "", "only of this endpoint")
	f.StringVar(&q.outcome, "outcome", "", "only webhooks with this outcome: "+strings.Trim(fmt.Sprint(outcomes), "[]"))
	f.StringVar(&q.Reason, "reason", "", "only ignored or malformed webhooks whose reason contains this text")
	f.StringSliceVar(&q.types, "type", nil, "only events of this type")
	f.StringSliceVar(&q.Keys, "key", nil, "only events of this merchant_transaction_id, as it is in the webhook")
	f.BoolVar(&q.Missing, "missing", false, "only events that were not published, and references; no corrections of published events")
	f.StringVar(&q.toPrefix, "to-prefix", "", "publish to the topics with this prefix instead of the live topics")
	f.BoolVar(&q.publish, "publish", false, "publish new events and corrections")
	f.Float64Var(&q.rate, "rate", 0, "publish at most this many events a second; 0 is no limit")
	f.IntVar(&q.show, "show", 20, "how many changes to print; --json prints all")
	f.StringVar(&q.state, "state", "", stateHelp)
	f.BoolVar(&q.json, "json", false, "print one line of JSON for each change, and one with the counts")
	_ = c.RegisterFlagCompletionFunc("type", completeTypes)
	return c
}

// outcomes are the outcomes with which webhooks are archived.
var outcomes = []normalize.Outcome{normalize.OutcomeEvents, webhook.OutcomeDuplicate, normalize.OutcomeIgnored, normalize.OutcomeMalformed}

// replayFlags are the flags of `tollbridge replay`.
type replayFlags struct {
	replay.Filter
	from, to, outcome, toPrefix, state string
	types                              []string
	publish, json                      bool
	rate                               float64
	show                               int
	topic                              string // of the receipts in from and to; empty if they name none
}

// filter checks the flags and sets the [replay.Filter].
func (q *replayFlags) filter() (err error) {
	if err := q.setRange(time.Now()); err != nil {
		return err
	}
	for _, t := range q.types {
		if !schemas.Type(t).Known() {
			return unknownType("--type", t)
		}
		q.Types = append(q.Types, schemas.Type(t))
	}
	for _, o := range outcomes {
		if string(o) == q.outcome {
			q.Outcome = o
		}
	}
	if q.outcome != "" && q.Outcome == "" {
		return usage("--outcome: expected one of %v, got %q", outcomes, q.outcome)
	}
	if q.rate < 0 {
		return usage("--rate: expected events a second, or 0 for no limit, got %v", q.rate)
	}
	return nil
}

// setRange parses --from and --to, which are times or offsets of one partition.
func (q *replayFlags) setRange(now time.Time) error {
	l, err := replay.ParseLimits(q.from, q.to)
	if err != nil {
		return usage("--from and --to: %w", err)
	}
	q.Offsets, q.topic = l.Offsets, l.Topic
	if q.From, err = parseTimeOrAge("--from", l.FromTime, now); err != nil {
		return err
	}
	q.To, err = parseTimeOrAge("--to", l.ToTime, now)
	return err
}

func (q *replayFlags) run(c *cobra.Command) error {
	if err := q.filter(); err != nil {
		return err
	}
	w, err := openKafkaSession(c)
	if err != nil {
		return err
	}
	defer w.reader.Close()
	if received := w.names.Received(); q.topic != "" && q.topic != received {
		return usage("--from and --to: expected a receipt of %s, got one of %s", received, q.topic)
	}
	to := w.names
	if q.toPrefix != "" {
		warn := func(topic, drift string) {
			fmt.Fprintf(folded(c.ErrOrStderr()), "warning: topic %s %s\n", topic, drift)
		}
		if to, err = w.topicsAt(c.Context(), q.toPrefix, warn); err != nil {
			return err
		}
	}
	if q.publish {
		return w.withLockToPublish(c, to, func(w kafkaSession, to kafka.Names) error { return q.runIn(c, w, to) })
	}
	return q.runIn(c, w, to)
}

// runIn replays the session's webhooks, and publishes to the topics of events.
func (q *replayFlags) runIn(c *cobra.Command, w kafkaSession, events kafka.Names) (err error) {
	run := replay.Config{
		Reader: w.reader, Webhooks: w.names, Events: events, Filter: q.Filter, Rate: q.rate,
		ID: time.Now().UTC().Format("20060102T150405.000Z"),
	}
	if run.Endpoints, err = w.endpoints(); err != nil {
		return usageError{err}
	}
	w.names = events
	var to history.Publisher = planPublisher{}
	if q.publish {
		producer := publish.NewProducer(w.producer)
		defer producer.Close()
		run.Publisher, to = producer, producer
	}
	published, end, err := openHistory(c, w, q.state, to)
	if err != nil {
		return err
	}
	defer end()
	run.History = published
	return q.report(c, run)
}

// report runs the replay and prints the changes and the counts.
func (q *replayFlags) report(c *cobra.Command, run replay.Config) error {
	out := c.OutOrStdout()
	shown := 0
	run.Differences = q.json || q.show > 0
	run.Each = func(x replay.Change) error {
		if q.json {
			return writeJSONLine(out, x)
		}
		if shown++; shown > q.show {
			return nil
		}
		e := x.Event
		what := "new"
		if e.Data.Corrects != "" {
			what = "changed " + e.Data.Corrects
		}
		_, err := fmt.Fprintf(folded(out), "%s  %s  %s  %s  %s\n", timestamp(e.Time), e.Type, oneLine(e.Subject), oneLine(display.Amount(e.Data.Amount)), oneLine(what))
		for _, d := range x.Diff {
			_, e := fmt.Fprintf(folded(out), "    %s\n", oneLine(d))
			err = errors.Join(err, e)
		}
		return err
	}
	var tooLarge []string
	run.TooLarge = func(e schemas.Event, reason string) error {
		tooLarge = append(tooLarge, fmt.Sprintf("%s  %s  %s: %s", timestamp(e.Time), e.Type, oneLine(dead.Shorten(e.Subject)), oneLine(reason)))
		return nil
	}
	var end func()
	run.Progress, end = replayProgress(c)
	start := time.Now()
	n, err := replay.Run(c.Context(), run)
	end()
	if len(tooLarge) > 0 && err == nil {
		err = errRefused // exit code 1: not everything is published
	}
	for _, line := range tooLarge {
		fmt.Fprintln(folded(c.ErrOrStderr()), "too large:", line)
	}
	if q.json {
		return errors.Join(writeJSONLine(out, n), err)
	}
	if shown > q.show {
		fmt.Fprintf(out, "… and %d more; --json prints all\n", shown-q.show)
	}
	return errors.Join(q.summary(c, n, time.Since(start)), err)
}

// summary prints the counts and, for a plan, how much --publish would write.
func (q *replayFlags) summary(c *cobra.Command, n replay.Counts, took time.Duration) error {
	w := columns(c)
	fmt.Fprintf(w, "%d\twebhooks read, in %s\n", n.Read, took.Round(time.Millisecond))
	for _, line := range []struct {
		n    int
		what string
	}{
		{n.Same, "events are the same"}, {n.Changed, "changed"}, {n.New, "new"},
		{n.Gone, "gone: today's code does not make them; the published events stay"},
		{n.Ignored, "webhooks are ignored"}, {n.Malformed, "are malformed"},
		{n.Unverified, "are not verified with today's configuration"}, {n.Published, "events published"},
		{n.References, "references of published events were missing"},
		{n.TooLarge, "events are too large for their topic; their webhooks are dead letters"},
	} {
		if line.n > 0 {
			fmt.Fprintf(w, "%d\t%s\n", line.n, line.what)
		}
	}
	todo := n.New
	if !q.Missing {
		todo += n.Changed
	}
	if !q.publish && todo+n.References > 0 {
		at := "as fast as Kafka accepts them"
		if q.rate > 0 {
			at = fmt.Sprintf("%s at --rate %v", time.Duration(float64(todo)/q.rate*float64(time.Second)).Round(time.Second), q.rate)
		}
		fmt.Fprintf(w, "\tthis is a plan; --publish writes %d events, %d bytes, %s\n", todo, n.Bytes, at)
		if n.References > 0 {
			fmt.Fprintf(w, "\tand %d references\n", n.References)
		}
	}
	return w.Flush()
}

// replayProgress returns a function that rewrites a line of the terminal with the
// progress, the rate and the expected end of a replay, and one that clears the line.
// report is nil if the output is not a terminal.
func replayProgress(c *cobra.Command) (report func(stage string, done, all int64), clear func()) {
	f, ok := terminalOf(c.ErrOrStderr())
	if !ok {
		return nil, func() {}
	}
	var now string
	var start, last time.Time
	return func(stage string, done, all int64) {
		if stage != now {
			now, start = stage, time.Now()
		}
		if time.Since(last) < 100*time.Millisecond {
			return
		}
		last = time.Now()
		const width = 20
		full := int(width * done / max(all, 1))
		bar := strings.Repeat("#", full) + strings.Repeat(".", width-full)
		rate := float64(done) / max(time.Since(start).Seconds(), 0.1)
		left := time.Duration(float64(all-done) / cmp.Or(rate, 1) * float64(time.Second))
		fmt.Fprintf(f, "\r\x1b[K%-8s [%s] %d of %d, %.0f/s, ends %s", stage, bar, done, all, rate, last.Add(left).Format("15:04:05"))
	}, func() { fmt.Fprint(f, "\r\x1b[K") }
}
