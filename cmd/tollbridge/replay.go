package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/replay"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

func replayCommand() *cobra.Command {
	var q replaying
	c := &cobra.Command{
		Use:   "replay",
		Short: "Make events anew from the webhooks that were kept, with this program's code",
		Long: `Make events anew from the webhooks that were kept, with this program's code and
the server's configuration: a mapping was mended, an event type is supported now,
a topic was lost.

Without --publish it only says what would be: how many events are the same, which
are new, and which would change, field by field. With --publish, to the live
topics or to those of a --to-prefix of their own:

  the same   nothing
  changed    a correction: under an id of its own, corrects names the first one's
  new        published, and marked if it is late
  gone       nothing; today's code does not make it, and what is published stays

A published event is compared with what its own webhook gives or, if that is not
in the archive, its first redelivery.

What was published is recognised by its id. So a replay that was interrupted goes
on when it is run again, and one that is run twice publishes nothing the second
time. The topics are read back first, as a server does that starts without its
state; with --state only the first time.

One command at a time writes to the topics: ` + "`dead retry`, `dead discard` or `replay`" + `.
A second one is told which runs, and where. For that it needs rights on a consumer
group and a transactional id, both named PREFIXtollbridge-lock.

Exit codes: 0 done, 1 failed, 2 the command line is wrong.`,
		Example: `  tollbridge replay --config tollbridge.yaml --from 7d
  tollbridge replay --config tollbridge.yaml --from 7d --connector adyen --type refund.succeeded --publish
  tollbridge replay --config tollbridge.yaml --outcome ignored --publish --rate 500
  tollbridge replay --config tollbridge.yaml --missing --from 3-120000 --to 3-130000 --publish
  tollbridge topics apply --config tollbridge.yaml --prefix again.
  tollbridge replay --config tollbridge.yaml --to-prefix again. --publish`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return q.run(c) },
	}
	f := c.Flags()
	kafkaOnly(c)
	f.StringVar(&q.from, "from", "", "only webhooks received since: RFC 3339, unix seconds, or how long ago: 90m, 7d;\nor from there on in one partition of webhooks.received: PARTITION-OFFSET")
	f.StringVar(&q.to, "to", "", "only those received before; or up to there and without it: PARTITION-OFFSET")
	f.StringVar(&q.Connector, "connector", "", "only of this processor")
	f.StringVar(&q.Endpoint, "endpoint", "", "only of this endpoint")
	f.StringVar(&q.outcome, "outcome", "", "only webhooks of which this became: "+fmt.Sprint(outcomes)[1:])
	f.StringVar(&q.Reason, "reason", "", "only webhooks that were ignored or malformed for a reason with these words")
	f.StringSliceVar(&q.types, "type", nil, "only events of this type")
	f.StringSliceVar(&q.Keys, "key", nil, "only events of this merchant_transaction_id, as the webhook says it")
	f.BoolVar(&q.Missing, "missing", false, "only events that were not published; what changed stays as it is")
	f.StringVar(&q.toPrefix, "to-prefix", "", "prefix of the topics to publish to, if they are not the live ones")
	f.BoolVar(&q.publish, "publish", false, "publish what is new and what changed")
	f.Float64Var(&q.rate, "rate", 0, "events a second to publish at most; 0 is no limit")
	f.IntVar(&q.show, "show", 20, "how many changes to print; --json prints all")
	f.StringVar(&q.state, "state", "", "folder, not the server's, to keep what was read back in for the next time")
	f.BoolVar(&q.json, "json", false, "print a line of JSON for each change, and one with the counts")
	_ = c.RegisterFlagCompletionFunc("type", completeTypes)
	return c
}

// outcomes are what a webhook was kept with.
var outcomes = []normalize.Outcome{normalize.OutcomeEvents, webhook.OutcomeDuplicate, normalize.OutcomeIgnored, normalize.OutcomeMalformed}

type replaying struct {
	replay.Filter
	from, to, outcome, toPrefix, state string
	types                              []string
	publish, json                      bool
	rate                               float64
	show                               int
}

// filter reads the flags.
func (q *replaying) filter() (err error) {
	if err := q.stretch(time.Now()); err != nil {
		return err
	}
	for _, t := range q.types {
		if !schemas.Type(t).Known() {
			return usage("--type: there is no event type %q; 'tollbridge schemas' lists them", t)
		}
		q.Types = append(q.Types, schemas.Type(t))
	}
	for _, o := range outcomes {
		if string(o) == q.outcome {
			q.Outcome = o
		}
	}
	if q.outcome != "" && q.Outcome == "" {
		return usage("--outcome: want one of %v, got %q", outcomes, q.outcome)
	}
	if q.rate < 0 {
		return usage("--rate: want events a second, or 0 for no limit; got %v", q.rate)
	}
	return nil
}

// stretch reads --from and --to: both times, or both of one partition.
func (q *replaying) stretch(now time.Time) (err error) {
	from, atFrom := placed(q.from)
	to, atTo := placed(q.to)
	switch {
	case atFrom && atTo && from.Partition != to.Partition:
		return usage("--from and --to: want offsets of one partition, got %s and %s", q.from, q.to)
	case atFrom && atTo:
		q.Stretch = &replay.Stretch{Partition: from.Partition, Range: consume.Range{From: from.From, To: to.From}}
	case atFrom:
		from.To = consume.Forever
		q.Stretch = &from
	case atTo:
		q.Stretch = &replay.Stretch{Partition: to.Partition, Range: consume.Range{To: to.From}}
	}
	if !atFrom {
		if q.From, err = instantOrAgo("--from", q.from, now); err != nil {
			return err
		}
	}
	if !atTo {
		q.To, err = instantOrAgo("--to", q.to, now)
	}
	return err
}

// placed reads PARTITION-OFFSET, as From.
func placed(s string) (p replay.Stretch, ok bool) {
	number, offset, _ := strings.Cut(s, "-")
	partition, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return p, false
	}
	from, err := strconv.ParseUint(offset, 10, 63)
	return replay.Stretch{Partition: int(partition), Range: consume.Range{From: int64(from)}}, err == nil
}

func (q *replaying) run(c *cobra.Command) error {
	if err := q.filter(); err != nil {
		return err
	}
	w, err := openWindow(c)
	if err != nil {
		return err
	}
	defer w.reader.Close()
	to := w.names
	if q.toPrefix != "" {
		to.Prefix = q.toPrefix
		if _, err := w.reader.Partitions(c.Context(), to.All()...); err != nil {
			return fmt.Errorf("%w; 'tollbridge topics apply --prefix %s' makes them", err, q.toPrefix)
		}
	}
	if q.publish {
		return w.exclusively(c, to, func(w window) error { return q.runIn(c, w, to) })
	}
	return q.runIn(c, w, to)
}

// runIn replays the webhooks of the topics that the window looks into, as events
// to the topics of that name.
func (q *replaying) runIn(c *cobra.Command, w window, events kafka.Names) (err error) {
	run := replay.Config{
		Reader: w.reader, Webhooks: w.names, Events: events, Filter: q.Filter, Rate: q.rate,
		ID: time.Now().UTC().Format("20060102T150405.000Z"),
	}
	if run.Endpoints, err = w.endpoints(); err != nil {
		return err
	}
	w.names = events
	var to replay.Publisher = readOnly{}
	if q.publish {
		producer := publish.NewProducer(w.producer)
		defer producer.Close()
		run.Publisher, to = producer, producer
	}
	memory, end, err := remember(c, w, q.state, to)
	if err != nil {
		return err
	}
	defer end()
	run.History = memory
	return q.report(c, run)
}

// report runs the replay and prints what it says.
func (q *replaying) report(c *cobra.Command, run replay.Config) error {
	out := c.OutOrStdout()
	shown := 0
	run.Differences = q.json || q.show > 0
	run.Each = func(x replay.Change) error {
		if q.json {
			return json.NewEncoder(out).Encode(x)
		}
		if shown++; shown > q.show {
			return nil
		}
		e := x.Event
		what := "new"
		if e.Data.Corrects != "" {
			what = "changed " + e.Data.Corrects
		}
		_, err := fmt.Fprintf(out, "%s  %s  %s  %s  %s\n", clock(e.Time), e.Type, plain(e.Subject), plain(money(e.Data.Amount)), plain(what))
		for _, d := range x.Diff {
			_, e := fmt.Fprintf(out, "    %s\n", plain(d))
			err = errors.Join(err, e)
		}
		return err
	}
	var end func()
	run.Progress, end = stages(c)
	start := time.Now()
	n, err := replay.Run(c.Context(), run)
	end()
	if q.json {
		return errors.Join(json.NewEncoder(out).Encode(n), err)
	}
	if shown > q.show {
		fmt.Fprintf(out, "… and %d more; --json prints all\n", shown-q.show)
	}
	return errors.Join(q.summary(c, n, time.Since(start)), err)
}

// summary prints the counts, and what publishing them would take.
func (q *replaying) summary(c *cobra.Command, n replay.Counts, took time.Duration) error {
	w := columns(c)
	fmt.Fprintf(w, "%d\twebhooks read, in %s\n", n.Read, took.Round(time.Millisecond))
	for _, line := range []struct {
		n    int
		what string
	}{
		{n.Same, "events are the same"}, {n.Changed, "changed"}, {n.New, "new"},
		{n.Gone, "gone: not made by today's code; what is published of them stays"},
		{n.Ignored, "webhooks are ignored"}, {n.Malformed, "are malformed"},
		{n.Unverified, "are not verified by today's configuration"}, {n.Published, "events published"},
		{n.References, "references of published events were missing"},
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
		at := "as fast as Kafka takes them"
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

// stages tells a person at a terminal how far a replay is, at which rate, and
// when it will have ended.
func stages(c *cobra.Command) (tell func(stage string, done, all int64), end func()) {
	f, ok := watched(c.ErrOrStderr())
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
