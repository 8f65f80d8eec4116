package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/dead"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
)

func deadCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dead",
		Short: "List, show, retry and discard dead letters",
		Long: `A dead letter is a webhook that was verified but could not be read, because it
is not what its processor documents, or whose event is too large for its topic.
Dead letters are kept in webhooks.dead, byte for byte. The commands delete none:
a retry or a discard writes another record, which says how the letter was
handled.

A letter's ID is PARTITION-OFFSET of its receipt, such as 3-17. The whole
receipt, webhooks.dead[3]@17, and the first digits of the SHA-256 of its body
select it too.`,
	}
	c.AddCommand(deadListCommand(), deadShowCommand(), deadRetryCommand(), deadDiscardCommand())
	return c
}

// letterFilter are the flags that select dead letters.
type letterFilter struct {
	dead.Filter
	from, to string
	json     bool
}

func (q *letterFilter) flags(c *cobra.Command) {
	f := c.Flags()
	sessionFlags(c)
	f.StringVar(&q.Connector, "connector", "", "only of this connector")
	f.StringVar(&q.Endpoint, "endpoint", "", "only of this endpoint")
	f.StringVar(&q.Reason, "reason", "", "only letters whose reason contains this text")
	f.StringVar(&q.from, "from", "", "only letters received since this time: RFC 3339, unix seconds, or an age: 90m, 7d")
	f.StringVar(&q.to, "to", "", "only letters received before this time")
	f.BoolVar(&q.json, "json", false, "print each letter as one line of JSON")
}

// letters returns the letters that match the flags, and the ids if there are any.
func (q *letterFilter) letters(c *cobra.Command, w kafkaSession, ids []string) ([]*dead.Letter, error) {
	var err error
	now := time.Now()
	if q.From, err = parseTimeOrAge("--from", q.from, now); err != nil {
		return nil, err
	}
	if q.To, err = parseTimeOrAge("--to", q.to, now); err != nil {
		return nil, err
	}
	q.IDs = ids
	report, clear := readProgress(c)
	defer clear()
	return dead.List(c.Context(), w.reader, w.names, q.Filter, report)
}

func deadListCommand() *cobra.Command {
	var q letterFilter
	c := &cobra.Command{
		Use:   "list [ID]...",
		Short: "List the dead letters that were not handled, with counts by reason",
		Example: `  tollbridge dead list
  tollbridge dead list --connector adyen --from 7d
  tollbridge dead list --all --json | wc -l`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			w, err := openKafkaSession(c)
			if err != nil {
				return err
			}
			defer w.reader.Close()
			all, err := q.letters(c, w, args)
			if err != nil {
				return err
			}
			if q.json {
				return writeJSONLines(c.OutOrStdout(), all)
			}
			return listLetters(c, all)
		},
	}
	q.flags(c)
	c.Flags().BoolVar(&q.Handled, "all", false, "also list letters that were retried or discarded")
	return c
}

func listLetters(c *cobra.Command, all []*dead.Letter) error {
	w := columns(c)
	count := map[string]int{}
	for _, l := range all {
		state := oneLine(dead.Shorten(l.Webhook.Reason))
		if l.Handled != nil {
			state = oneLine(string(l.Handled.Outcome)) + " by " + oneLine(l.Handled.By) + "\t" + state
		} else {
			count[oneLine(l.Webhook.Connector+"/"+l.Webhook.Endpoint)+"\t"+oneLine(dead.ReasonKind(l.Webhook.Reason))]++
			state = "\t" + state
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d bytes\t%s\n", l.ID, timestamp(l.Webhook.ReceivedAt), oneLine(l.Webhook.Connector+"/"+l.Webhook.Endpoint), l.Bytes, state)
	}
	if len(all) > 0 {
		fmt.Fprintln(w)
	}
	total := 0
	for _, k := range slices.SortedFunc(maps.Keys(count), func(a, b string) int { return cmp.Or(count[b]-count[a], cmp.Compare(a, b)) }) {
		fmt.Fprintf(w, "%d\t%s\n", count[k], k)
		total += count[k]
	}
	fmt.Fprintf(w, "%d\tnot handled\n", total)
	return w.Flush()
}

func deadShowCommand() *cobra.Command {
	var q letterFilter
	var raw bool
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show a dead letter: its reason, its headers and its body",
		Example: `  tollbridge dead show 3-17
  tollbridge dead show 3-17 --raw > body
  tollbridge inspect --connector adyen --payload body`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			w, err := openKafkaSession(c)
			if err != nil {
				return err
			}
			defer w.reader.Close()
			q.Handled = true
			all, err := q.letters(c, w, args)
			if err != nil {
				return err
			}
			l, out := all[0], c.OutOrStdout()
			webhooks, err := dead.Load(c.Context(), w.reader, w.names, l)
			if err != nil {
				return err
			}
			if l.Webhook = webhooks[l]; l.Webhook == nil {
				return fmt.Errorf("the dead letter %s was just deleted by Kafka: kafka.retention says how long letters are kept", l.ID)
			}
			switch {
			case raw:
				return writeRaw(out, l.Webhook.Body)
			case q.json:
				return writeJSON(out, struct {
					*dead.Letter
					Body []byte `json:"body"` // base64
				}{l, l.Webhook.Body})
			}
			fmt.Fprintf(out, "dead letter   %s, %s\n", l.ID, timestamp(l.Time))
			printWebhook(out, l.Webhook, l.Receipt.Text())
			fmt.Fprintf(folded(out), "sha256        %s\n", l.SHA256)
			if h := l.Handled; h != nil {
				fmt.Fprintf(folded(out), "%-13s by %s, %s %s\n", oneLine(string(h.Outcome)), oneLine(h.By), timestamp(h.ReceivedAt), oneLine(h.Reason))
			}
			return printBody(out, l.Webhook.Body)
		},
	}
	sessionFlags(c)
	c.Flags().BoolVar(&q.json, "json", false, "print as JSON")
	c.Flags().BoolVar(&raw, "raw", false, "write the body and nothing else")
	return c
}

func deadRetryCommand() *cobra.Command {
	var q letterFilter
	var r retryFlags
	c := &cobra.Command{
		Use:   "retry [ID]...",
		Short: "Verify and normalise dead letters again, and publish their events",
		Long: `Verify and normalise dead letters again, with this version's code and the
server's configuration, and print the result. With --publish, publish the events
that are not published yet, as the server would have, and mark a letter as
handled if nothing in it is malformed any more.

If the processor's API did not know what a webhook names, or its answer could
not be read, the command asks again, with the endpoint's api keys. With
--publish it writes the webhook and the new answer to webhooks.received, so that
a replay reads them there.

First the command reads all event topics, like a server that starts without its
state, so that it publishes no event twice. A million events take about a
minute, with --state only in the first run. An interrupted retry can be run
again.

` + lockHelp + `

Exit codes: 0 done, 1 some letters are still malformed, 2 the command line is
wrong.`,
		Example: `  tollbridge dead retry --config tollbridge.yaml
  tollbridge dead retry 3-17 --config tollbridge.yaml --publish \
    --note "fixed in 1.4"
  tollbridge dead retry --connector adyen --from 7d --config tollbridge.yaml \
    --publish`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error { return q.retry(c, args, r) },
	}
	q.flags(c)
	c.Flags().BoolVar(&r.publish, "publish", false, "publish the events, and mark the letters as handled")
	c.Flags().StringVar(&r.note, "note", "", "a note to keep with the letter: why it was retried")
	c.Flags().StringVar(&r.state, "state", "", stateHelp)
	return c
}

// stateHelp is the help of --state.
const stateHelp = "keep the read events in this folder for the next run; not the server's state folder"

// errPlan is the error of a [planPublisher].
var errPlan = fmt.Errorf("%w: this is a plan", kafka.ErrUnavailable)

// planPublisher is the publisher of a plan: it publishes nothing.
type planPublisher struct{}

func (planPublisher) Publish(context.Context, []kafka.Record) ([]kafka.Receipt, error) {
	return nil, errPlan
}

// retryFlags are the flags of `tollbridge dead retry`, besides the filter.
type retryFlags struct {
	publish     bool
	note, state string
}

func (q *letterFilter) retry(c *cobra.Command, ids []string, how retryFlags) error {
	w, err := openKafkaSession(c)
	if err != nil {
		return err
	}
	defer w.reader.Close()
	if how.publish {
		return w.withLockToPublish(c, w.names, func(w kafkaSession, names kafka.Names) error {
			w.names = names
			return q.retryIn(c, w, ids, how)
		})
	}
	return q.retryIn(c, w, ids, how)
}

// retryIn retries letters of the session's topics.
func (q *letterFilter) retryIn(c *cobra.Command, w kafkaSession, ids []string, how retryFlags) error {
	q.Handled = len(ids) > 0 // a letter that the user names is retried even if it was discarded
	all, err := q.letters(c, w, ids)
	if err != nil {
		return err
	}
	d := dead.Handler{Reader: w.reader, Names: w.names, Publisher: planPublisher{}, By: whoami(), Note: how.note}
	if d.Endpoints, err = w.endpoints(); err != nil {
		return usageError{err}
	}
	if how.publish {
		producer := publish.NewProducer(w.producer)
		defer producer.Close()
		d.Publisher = producer
	}
	if len(all) > 0 {
		published, end, err := openHistory(c, w, how.state, d.Publisher)
		if err != nil {
			return err
		}
		defer end()
		d.History = published
	}
	return q.judge(c, all, func(each func(dead.Verdict) error) error {
		if how.publish {
			return d.Retry(c.Context(), all, each)
		}
		return d.Plan(c.Context(), all, each)
	})
}

// openHistory reads all event topics into a state folder, and waits until it is
// caught up. An empty dir is a folder that end removes. Call end when the history is no
// longer needed. It returns an error if the user may not read all event topics: an event
// in one of them would look as if it were not published.
func openHistory(c *cobra.Command, w kafkaSession, dir string, to history.Publisher) (h *history.History, end func(), err error) {
	return w.openHistory(c.Context(), c.ErrOrStderr(), dir, to)
}

// openHistory is the function openHistory. It writes its progress to a log.
func (s kafkaSession) openHistory(ctx context.Context, log io.Writer, dir string, to history.Publisher) (h *history.History, end func(), err error) {
	if err := s.checkAuthorized(); err != nil {
		return nil, nil, err
	}
	remove := func() {}
	if dir == "" {
		if dir = s.scratch; dir == "" {
			if dir, err = os.MkdirTemp("", "tollbridge-"); err != nil {
				return nil, nil, err
			}
		}
		remove = func() { _ = os.RemoveAll(dir) }
	}
	h, err = history.Open(ctx, history.Config{Dir: dir, Kafka: s.producer.Kafka, Names: s.names, Publisher: to, Log: zerolog.Nop()})
	if err != nil {
		remove()
		return nil, nil, err
	}
	end = func() { _ = h.Close(); remove() }
	for start := time.Now(); h.Ready() != nil; h.Await(ctx, time.Minute) {
		if ctx.Err() != nil {
			end()
			return nil, nil, ctx.Err()
		}
		if since := time.Since(start); since > time.Second {
			fmt.Fprintf(log, "reading the event topics, %s so far\n", since.Round(time.Second))
		}
	}
	return h, end, nil
}

// judge prints the verdicts that run passes to its argument.
func (q *letterFilter) judge(c *cobra.Command, all []*dead.Letter, run func(each func(dead.Verdict) error) error) error {
	var failed error // the error if letters are still malformed
	w := columns(c)
	err := run(func(v dead.Verdict) error {
		if q.json {
			if !v.Resolved() {
				failed = errRefused
			}
			return writeJSONLine(c.OutOrStdout(), v)
		}
		says := string(v.Result.Outcome())
		if n := len(v.New) + len(v.Known); n > 0 {
			says = fmt.Sprintf("%d events, %d of them new", n, len(v.New))
		}
		state := "would be retried"
		switch {
		case !v.Resolved():
			state, failed, says = "stays", errRefused, oneLine(dead.Shorten(v.Unresolved))
		case v.Handled != nil:
			state = oneLine(string(v.Handled.Outcome))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", v.ID, oneLine(v.Webhook.Connector+"/"+v.Webhook.Endpoint), state, says)
		return nil
	})
	if err != nil {
		return errors.Join(w.Flush(), err)
	}
	if !q.json {
		fmt.Fprintf(w, "%d letters\n", len(all))
	}
	return errors.Join(w.Flush(), failed)
}

func deadDiscardCommand() *cobra.Command {
	var q letterFilter
	var apply bool
	var note string
	c := &cobra.Command{
		Use:   "discard [ID]... --note TEXT",
		Short: "Mark dead letters as handled without publishing anything",
		Long: `Mark dead letters as handled without publishing anything, with a note why.
Without --apply, the command only lists the letters. Discarded letters stay in
webhooks.dead as long as the topic keeps them: 'tollbridge dead list --all'
lists them, and 'tollbridge dead retry ID' retries one.

` + lockHelp,
		Example: `  tollbridge dead discard 3-17 --note "a test of ours"
  tollbridge dead discard 3-17 --note "a test of ours" --apply
  tollbridge dead discard --connector adyen --reason "a card number" \
    --note "answered by mail" --apply`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if note == "" {
				return usage("--note: expected a text that says why, got nothing")
			}
			if len(args) == 0 && q.Connector+q.Endpoint+q.Reason+q.from+q.to == "" {
				return usage("expected the IDs of letters, or a filter such as --connector")
			}
			return q.discard(c, args, apply, note)
		},
	}
	q.flags(c)
	c.Flags().BoolVar(&apply, "apply", false, "mark the letters as discarded")
	c.Flags().StringVar(&note, "note", "", "why they are discarded (required)")
	return c
}

func (q *letterFilter) discard(c *cobra.Command, ids []string, apply bool, note string) error {
	w, err := openKafkaSession(c)
	if err != nil {
		return err
	}
	defer w.reader.Close()
	if apply {
		return w.withLock(c, w.names, func(w kafkaSession) error { return q.discardIn(c, w, ids, apply, note) })
	}
	return q.discardIn(c, w, ids, apply, note)
}

// discardIn discards letters of the session's topics.
func (q *letterFilter) discardIn(c *cobra.Command, w kafkaSession, ids []string, apply bool, note string) error {
	all, err := q.letters(c, w, ids)
	if err != nil {
		return err
	}
	if apply {
		producer := publish.NewProducer(w.producer)
		defer producer.Close()
		d := dead.Handler{Names: w.names, Publisher: producer, By: whoami(), Note: note}
		if err := d.Discard(c.Context(), all); err != nil {
			return err
		}
	}
	if q.json {
		return writeJSONLines(c.OutOrStdout(), all)
	}
	out := columns(c)
	for _, l := range all {
		state := "would be discarded"
		if l.Handled != nil {
			state = oneLine(string(l.Handled.Outcome))
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", l.ID, oneLine(l.Webhook.Connector+"/"+l.Webhook.Endpoint), state, oneLine(dead.Shorten(l.Webhook.Reason)))
	}
	fmt.Fprintf(out, "%d letters\n", len(all))
	return out.Flush()
}

// whoami returns USER@HOST, which is recorded with a handled letter.
func whoami() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}
