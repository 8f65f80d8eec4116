package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"regexp"
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
		Long: `Dead letters are webhooks that were verified and are not what their processor
documents. They are kept in webhooks.dead, as they came, and nothing of that is
ever deleted: retrying and discarding write another record that says so.

A letter's ID is PARTITION-OFFSET, as in its receipt, or how the SHA-256 of its
body begins.`,
	}
	c.AddCommand(deadListCommand(), deadShowCommand(), deadRetryCommand(), deadDiscardCommand())
	return c
}

// picking is which letters a command is about.
type picking struct {
	dead.Filter
	from, to string
	json     bool
}

func (q *picking) flags(c *cobra.Command) {
	f := c.Flags()
	kafkaOnly(c)
	f.StringVar(&q.Connector, "connector", "", "only of this processor")
	f.StringVar(&q.Endpoint, "endpoint", "", "only of this endpoint")
	f.StringVar(&q.Reason, "reason", "", "only those whose reason has this text")
	f.StringVar(&q.from, "from", "", "only those received since: RFC 3339, unix seconds, or how long ago: 90m, 7d")
	f.StringVar(&q.to, "to", "", "only those received before")
	f.BoolVar(&q.json, "json", false, "print as JSON")
}

// letters are the ones that were picked.
func (q *picking) letters(c *cobra.Command, w window, ids []string) ([]*dead.Letter, error) {
	var err error
	now := time.Now()
	if q.From, err = instantOrAgo("--from", q.from, now); err != nil {
		return nil, err
	}
	if q.To, err = instantOrAgo("--to", q.to, now); err != nil {
		return nil, err
	}
	q.IDs = ids
	tell, end := progress(c)
	defer end()
	return dead.List(c.Context(), w.reader, w.names, q.Filter, tell)
}

func deadListCommand() *cobra.Command {
	var q picking
	c := &cobra.Command{
		Use:   "list [ID]...",
		Short: "List the dead letters that nobody handled, and count them by reason",
		Example: `  tollbridge dead list
  tollbridge dead list --connector adyen --from 7d
  tollbridge dead list --all --json | jq length`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			w, err := openWindow(c)
			if err != nil {
				return err
			}
			defer w.reader.Close()
			all, err := q.letters(c, w, args)
			if err != nil {
				return err
			}
			if q.json {
				return writeJSON(c.OutOrStdout(), all)
			}
			return listLetters(c, all)
		},
	}
	q.flags(c)
	c.Flags().BoolVar(&q.Handled, "all", false, "those that were retried or discarded, too")
	return c
}

func listLetters(c *cobra.Command, all []*dead.Letter) error {
	w := columns(c)
	count := map[string]int{}
	for _, l := range all {
		state := plain(cut(l.Webhook.Reason))
		if l.Handled != nil {
			state = plain(string(l.Handled.Outcome)) + " by " + plain(l.Handled.By) + "\t" + state
		} else {
			count[plain(l.Webhook.Connector+"/"+l.Webhook.Endpoint)+"\t"+kind(l.Webhook.Reason)]++
			state = "\t" + state
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d bytes\t%s\n", l.ID, clock(l.Webhook.ReceivedAt), plain(l.Webhook.Connector+"/"+l.Webhook.Endpoint), l.Bytes, state)
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

// cut is a reason's beginning.
func cut(s string) string {
	if r := []rune(s); len(r) > 100 {
		return string(r[:100]) + "…"
	}
	return s
}

// particular is what tells the reasons of one kind apart: numbers, and what is
// quoted but for the JSON pointers of fields.
var particular = regexp.MustCompile(`"(?:[^/"\\]|\\.)(?:[^"\\]|\\.)*"|\b\d+\b`)

// kind is a reason without what is particular to its webhook.
func kind(reason string) string { return plain(cut(particular.ReplaceAllString(reason, "…"))) }

func deadShowCommand() *cobra.Command {
	var q picking
	var raw bool
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show a dead letter: why it is one, its headers and its body",
		Example: `  tollbridge dead show 3-17
  tollbridge dead show 3-17 --raw > body
  tollbridge inspect --connector adyen --payload body`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			w, err := openWindow(c)
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
			switch {
			case raw:
				return exact(out, l.Webhook.Body)
			case q.json:
				return writeJSON(out, struct {
					*dead.Letter
					Body []byte `json:"body"` // base64
				}{l, l.Webhook.Body})
			}
			fmt.Fprintf(out, "dead letter   %s, %s\n", l.ID, clock(l.Time))
			printWebhook(out, l.Webhook, where(l.Receipt))
			fmt.Fprintf(out, "sha256        %s\n", l.SHA256)
			if h := l.Handled; h != nil {
				fmt.Fprintf(out, "%-13s by %s, %s %s\n", plain(string(h.Outcome)), plain(h.By), clock(h.ReceivedAt), plain(h.Reason))
			}
			return printBody(out, l.Webhook.Body)
		},
	}
	kafkaOnly(c)
	c.Flags().BoolVar(&q.json, "json", false, "print as JSON")
	c.Flags().BoolVar(&raw, "raw", false, "write the body and nothing else")
	return c
}

func deadRetryCommand() *cobra.Command {
	var q picking
	var r retrying
	c := &cobra.Command{
		Use:   "retry [ID]...",
		Short: "Judge dead letters again, and publish what they give now",
		Long: `Judge dead letters again, with this program and the server's configuration, and
say what they give now. With --publish, publish those of their events that are
not published yet, as the server would have, and mark the letters of which
nothing is malformed any more as handled.

The topics are read back first, as a server does that starts without its state,
so that an event that is published is not published again; a million events take
about a minute, and with --state only the first time. Whoever is interrupted does
the same again.

One command at a time writes to the topics: ` + "`dead retry`, `dead discard` or `replay`" + `.
A second one is told which runs, and where. For that it needs rights on a consumer
group and a transactional id, both named PREFIXtollbridge-lock.

Exit codes: 0 done, 1 some letters stay as they are, 2 the command line is wrong.`,
		Example: `  tollbridge dead retry --config tollbridge.yaml
  tollbridge dead retry 3-17 --config tollbridge.yaml --publish --note "fixed in 1.4"
  tollbridge dead retry --connector adyen --from 7d --config tollbridge.yaml --publish`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error { return q.retry(c, args, r) },
	}
	q.flags(c)
	c.Flags().BoolVar(&r.publish, "publish", false, "publish the events and mark the letters")
	c.Flags().StringVar(&r.note, "note", "", "why, for whoever looks later")
	c.Flags().StringVar(&r.state, "state", "", "folder, not the server's, to keep what was read back in for the next time")
	return c
}

// errPlan is what a plan answers to who would write.
var errPlan = fmt.Errorf("%w: this is a plan", kafka.ErrUnavailable)

// readOnly publishes nothing.
type readOnly struct{}

func (readOnly) Publish(context.Context, []kafka.Record) ([]kafka.Receipt, error) {
	return nil, errPlan
}

// retrying is how letters are retried.
type retrying struct {
	publish     bool
	note, state string
}

func (q *picking) retry(c *cobra.Command, ids []string, how retrying) error {
	w, err := openWindow(c)
	if err != nil {
		return err
	}
	defer w.reader.Close()
	if how.publish {
		return w.exclusively(c, w.names, func(w window) error { return q.retryIn(c, w, ids, how) })
	}
	return q.retryIn(c, w, ids, how)
}

// retryIn retries letters of the topics that the window looks into.
func (q *picking) retryIn(c *cobra.Command, w window, ids []string, how retrying) error {
	q.Handled = len(ids) > 0 // who names a letter may have discarded it
	all, err := q.letters(c, w, ids)
	if err != nil {
		return err
	}
	d := dead.Desk{Names: w.names, Publisher: readOnly{}, By: whoami(), Note: how.note}
	if d.Endpoints, err = w.endpoints(); err != nil {
		return err
	}
	if how.publish {
		producer := publish.NewProducer(w.producer)
		defer producer.Close()
		d.Publisher = producer
	}
	if len(all) > 0 {
		memory, end, err := remember(c, w, how.state, d.Publisher)
		if err != nil {
			return err
		}
		defer end()
		d.History = memory
	}
	do := d.Judge
	if how.publish {
		do = d.Retry
	}
	return q.judge(c, all, do)
}

// remember reads the topics back, into a folder that is given or one that is
// gone at the end: the server's is the server's. End it.
func remember(c *cobra.Command, w window, dir string, to dead.Publisher) (*history.History, func(), error) {
	gone := func() {}
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "tollbridge-"); err != nil {
			return nil, nil, err
		}
		gone = func() { _ = os.RemoveAll(dir) }
	}
	h, err := history.Open(c.Context(), history.Config{Dir: dir, Kafka: w.producer.Kafka, Names: w.names, Publisher: to, Log: zerolog.Nop()})
	if err != nil {
		gone()
		return nil, nil, err
	}
	end := func() { _ = h.Close(); gone() }
	for start := time.Now(); h.Ready() != nil; h.Await(c.Context(), time.Minute) {
		if c.Context().Err() != nil {
			end()
			return nil, nil, c.Context().Err()
		}
		if since := time.Since(start); since > time.Second {
			fmt.Fprintf(c.ErrOrStderr(), "reading the topics back, for %s so far\n", since.Round(time.Second))
		}
	}
	return h, end, nil
}

// judge does something about each letter and says what it comes to.
func (q *picking) judge(c *cobra.Command, all []*dead.Letter, do func(context.Context, *dead.Letter) (dead.Verdict, error)) error {
	var verdicts []dead.Verdict
	var stays error
	w := columns(c)
	for _, l := range all {
		v, err := do(c.Context(), l)
		if err != nil {
			return errors.Join(w.Flush(), err)
		}
		verdicts = append(verdicts, v)
		says := string(v.Judgement.Outcome())
		if n := len(v.New) + len(v.Known); n > 0 {
			says = fmt.Sprintf("%d events, %d of them new", n, len(v.New))
		}
		state := "would be retried"
		switch {
		case !v.Settled():
			state, stays, says = "stays", errRefused, plain(cut(v.Stays))
		case l.Handled != nil:
			state = plain(string(l.Handled.Outcome))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", l.ID, plain(l.Webhook.Connector+"/"+l.Webhook.Endpoint), state, says)
	}
	if q.json {
		return errors.Join(writeJSON(c.OutOrStdout(), verdicts), stays)
	}
	fmt.Fprintf(w, "%d letters\n", len(all))
	return errors.Join(w.Flush(), stays)
}

func deadDiscardCommand() *cobra.Command {
	var q picking
	var apply bool
	var note string
	c := &cobra.Command{
		Use:   "discard [ID]... --note TEXT",
		Short: "Mark dead letters as handled without publishing anything",
		Long: `Mark dead letters as handled without publishing anything, and say why. Without
--apply it only lists which. The letters stay in webhooks.dead for as long as the
topic keeps them: 'tollbridge dead list --all' lists them, and 'tollbridge dead
retry ID' still retries one.`,
		Example: `  tollbridge dead discard 3-17 --note "a test of ours"
  tollbridge dead discard 3-17 --note "a test of ours" --apply
  tollbridge dead discard --connector adyen --reason "a card number" --note "answered by mail" --apply`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if note == "" {
				return usage("--note: say why")
			}
			if len(args) == 0 && q.Connector+q.Endpoint+q.Reason+q.from+q.to == "" {
				return usage("which letters? name them, or give a filter")
			}
			return q.discard(c, args, apply, note)
		},
	}
	q.flags(c)
	c.Flags().BoolVar(&apply, "apply", false, "mark them")
	c.Flags().StringVar(&note, "note", "", "why (required)")
	return c
}

func (q *picking) discard(c *cobra.Command, ids []string, apply bool, note string) error {
	w, err := openWindow(c)
	if err != nil {
		return err
	}
	defer w.reader.Close()
	if apply {
		return w.exclusively(c, w.names, func(w window) error { return q.discardIn(c, w, ids, apply, note) })
	}
	return q.discardIn(c, w, ids, apply, note)
}

// discardIn discards letters of the topics that the window looks into.
func (q *picking) discardIn(c *cobra.Command, w window, ids []string, apply bool, note string) error {
	all, err := q.letters(c, w, ids)
	if err != nil {
		return err
	}
	if apply {
		producer := publish.NewProducer(w.producer)
		defer producer.Close()
		d := dead.Desk{Names: w.names, Publisher: producer, By: whoami(), Note: note}
		for _, l := range all {
			if err := d.Discard(c.Context(), l); err != nil {
				return err
			}
		}
	}
	if q.json {
		return writeJSON(c.OutOrStdout(), all)
	}
	out := columns(c)
	for _, l := range all {
		state := "would be discarded"
		if l.Handled != nil {
			state = plain(string(l.Handled.Outcome))
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", l.ID, plain(l.Webhook.Connector+"/"+l.Webhook.Endpoint), state, plain(cut(l.Webhook.Reason)))
	}
	fmt.Fprintf(out, "%d letters\n", len(all))
	return out.Flush()
}

// whoami is who runs the command, for the record.
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
