package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
)

// What the commands share that look into Kafka.

// kafkaOnly are the flags of a command that needs no more of the configuration
// than how Kafka is reached.
func kafkaOnly(c *cobra.Command) {
	f := c.Flags()
	f.StringP("config", "c", "", "the server's configuration file (YAML)")
	f.StringSlice("brokers", nil, "Kafka brokers, host:port")
	f.String("prefix", "", "prefix of the topics' names")
}

// window is what a command looks into Kafka by.
type window struct {
	config
	producer publish.Config
	names    kafka.Names
	reader   *consume.Reader // close it
}

func openWindow(c *cobra.Command) (w window, err error) {
	if w.config, err = loadConfig(c); err != nil {
		return w, err
	}
	if w.producer, err = w.config.producer(); err != nil {
		return w, err
	}
	w.names = w.layout().Names
	w.reader = consume.New(w.producer.Kafka)
	w.reader.GiveUpAfter = patience
	return w, nil
}

// patience is how long Kafka may not answer until a command gives up.
const patience = 30 * time.Second

// instantOrAgo reads a time, or how long ago it was: RFC 3339, unix seconds,
// 90m or 7d. Nothing is the zero time.
func instantOrAgo(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	if t, err := instant(s); err == nil {
		return t, nil
	}
	return time.Time{}, usage("%s: want a time in RFC 3339 or unix seconds, or how long ago, such as 90m or 7d; got %q", flag, s)
}

// progress rewrites one line of a terminal while much is read, and what ends
// it; nil where nobody watches.
func progress(c *cobra.Command) (tell func(done, all int64), end func()) {
	f, ok := watched(c.ErrOrStderr())
	if !ok {
		return nil, func() {}
	}
	last := time.Now()
	return func(done, all int64) {
		if time.Since(last) > 100*time.Millisecond {
			last = time.Now()
			fmt.Fprintf(f, "\r\x1b[K%d of %d records read", done, all)
		}
	}, func() { fmt.Fprint(f, "\r\x1b[K") }
}

// style is whether there is somebody who sees columns and colours.
type style struct{ columns, colours bool }

func styleOf(out io.Writer) style {
	_, terminal := watched(out)
	return style{terminal, terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"} // https://no-color.org
}

// The colours of ANSI terminals.
const (
	red, green, yellow, blue, grey = "31", "32", "33", "34", "90"
)

func (s style) paint(colour, text string) string {
	if !s.colours || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// widths are those of a line's columns; the last one is as long as it is.
var widths = []int{24, 30, 14, 24, 20}

// line joins fields: aligned and coloured at a terminal, with tabs in a pipe.
func (s style) line(colour string, fields ...string) string {
	if !s.columns {
		return strings.Join(fields, "\t")
	}
	var b strings.Builder
	for i, f := range fields {
		if i < len(widths) {
			f = fmt.Sprintf("%-*s", widths[i], f)
		}
		if i == 1 {
			f = s.paint(colour, f)
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(f)
	}
	return strings.TrimRight(b.String(), " ")
}

// plain is text of others as one line without what a terminal would take for an
// order.
func plain(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return strconv.Quote(s)
	}
	return s
}

// where is a receipt as one word.
func where(r kafka.Receipt) string { return fmt.Sprintf("%s-%d-%d", r.Topic, r.Partition, r.Offset) }

func clock(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// money is an amount in major units, but for what has none.
func money(a *schemas.Amount) string {
	if a == nil {
		return ""
	}
	exponent, ok := schemas.Exponent(a.Currency)
	digits := strconv.FormatInt(a.Value, 10)
	if ok && exponent > 0 {
		sign := ""
		if digits, ok = strings.CutPrefix(digits, "-"); ok {
			sign = "-"
		}
		digits = strings.Repeat("0", max(0, exponent+1-len(digits))) + digits
		digits = sign + digits[:len(digits)-exponent] + "." + digits[len(digits)-exponent:]
	}
	return digits + " " + a.Currency
}

// colourOf is a type's: red for what costs money, green for what brings it.
func colourOf(t schemas.Type) string {
	switch {
	case t == schemas.PaymentCaptured || t == schemas.DisputeWon || t == schemas.PayoutSucceeded:
		return green
	case t.Family() == "dispute" || t.Family() == "fraud" || strings.HasSuffix(t.Status(), "failed") || t == schemas.PaymentReversed:
		return red
	case t.Family() == "refund":
		return yellow
	}
	return blue
}

// describe is an item as fields: when it was written, what, how much, the key,
// from whom, what is to be said about it, and where it is.
func describe(i *lookup.Item) (colour string, fields []string) {
	if w := i.Webhook; w != nil {
		what, notes := "webhook "+plain(string(w.Outcome)), fmt.Sprintf("%d bytes", len(w.Body))
		switch {
		case w.Handles != "":
			what, notes = "dead letter "+plain(string(w.Outcome)), fmt.Sprintf("%s, by %s", w.Handles, w.By)
		case w.Outcome == "duplicate":
			notes += ", a redelivery: published before"
		}
		if w.Reason != "" {
			notes += ": " + w.Reason
		}
		return grey, []string{clock(i.Time), what, "", plain(i.Key), plain(w.Connector + "/" + w.Endpoint), plain(notes), where(i.Receipt)}
	}
	e := i.Event
	notes := []string{"happened " + clock(e.Time)}
	for _, n := range []struct{ says, id string }{
		{"late: newer is", e.Data.NewestEventID}, {"contradicts", e.Data.Contradicts}, {"corrects", e.Data.Corrects},
	} {
		if n.id != "" {
			notes = append(notes, n.says+" "+n.id)
		}
	}
	return colourOf(e.Type), []string{clock(i.Time), plain(string(e.Type)), plain(money(e.Data.Amount)), plain(e.Subject),
		plain(e.Data.Connector + "/" + e.Data.Endpoint), plain(strings.Join(notes, ", ")), where(i.Receipt)}
}

// bodied is an item with a webhook's body, for machines.
type bodied struct {
	*lookup.Item
	Body []byte `json:"body"` // base64
}

func tailCommand() *cobra.Command {
	var q tailing
	c := &cobra.Command{
		Use:   "tail",
		Short: "Print events as they come",
		Long: `Print events as they come, until an interrupt. At a terminal in columns:
when it was written, the type, the amount, the merchant_transaction_id, who sent
it, and where it is, as TOPIC-PARTITION-OFFSET; in a pipe with tabs between.

Order is Kafka's: that of each partition, and so of each payment and type.`,
		Example: `  tollbridge tail
  tollbridge tail --type payment.captured --type refund.succeeded --connector stripe
  tollbridge tail --key order-43 --from 7d --exit
  tollbridge tail --from 2026-01-01T00:00:00Z --json | jq .data.amount
  tollbridge tail --received --config tollbridge.yaml`,
		RunE: func(c *cobra.Command, _ []string) error { return q.run(c) },
	}
	f := c.Flags()
	kafkaOnly(c)
	f.StringSliceVar(&q.types, "type", nil, "only events of these types; 'tollbridge schemas' lists them")
	f.StringVar(&q.connector, "connector", "", "only of this processor")
	f.StringVar(&q.endpoint, "endpoint", "", "only of this endpoint")
	f.StringVar(&q.key, "key", "", "only of this merchant_transaction_id; reads one partition of each topic")
	f.StringVar(&q.from, "from", "", "begin at this time, or so long ago: RFC 3339, unix seconds, 90m, 7d (default: now)")
	f.BoolVar(&q.received, "received", false, "print webhooks as they came instead, dead letters included")
	f.BoolVar(&q.exit, "exit", false, "end where the topics end now, instead of waiting for more")
	f.BoolVar(&q.json, "json", false, "print each event as one line of JSON, as it is in Kafka")
	_ = c.RegisterFlagCompletionFunc("type", completeTypes)
	return c
}

func completeTypes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var types []string
	for _, t := range schemas.Types() {
		types = append(types, string(t))
	}
	return types, cobra.ShellCompDirectiveNoFileComp
}

type tailing struct {
	types                          []string
	connector, endpoint, key, from string
	received, exit, json           bool
}

func (q tailing) run(c *cobra.Command) error {
	w, err := openWindow(c)
	if err != nil {
		return err
	}
	defer w.reader.Close()
	ranges, err := q.ranges(c.Context(), w)
	if err != nil {
		return err
	}
	s := styleOf(c.OutOrStdout())
	err = w.reader.Read(c.Context(), ranges, func(chunks []consume.Chunk) error {
		var b bytes.Buffer
		for _, chunk := range chunks {
			for _, r := range chunk.Records {
				if err := q.write(&b, s, w.names, r); err != nil {
					return err
				}
			}
		}
		if q.json {
			_, err := c.OutOrStdout().Write(b.Bytes())
			return err
		}
		return own(c.OutOrStdout(), b.String()) // whose fields are plain
	})
	if errors.Is(err, context.Canceled) && c.Context().Err() != nil {
		return nil // that is how it ends
	}
	return err
}

// ranges is what is to be read.
func (q tailing) ranges(ctx context.Context, w window) (map[consume.Partition]consume.Range, error) {
	from, err := instantOrAgo("--from", q.from, time.Now())
	if err != nil {
		return nil, err
	}
	topics := w.names.Events()
	if q.received {
		topics = []string{w.names.Received(), w.names.Dead()}
	} else if len(q.types) > 0 {
		topics = nil
		for _, t := range q.types {
			if !schemas.Type(t).Known() {
				return nil, usage("--type: event type %q is unknown; 'tollbridge schemas' lists them", t)
			}
			topics = append(topics, w.names.Event(schemas.Type(t)))
		}
	}
	partitions, err := w.reader.Partitions(ctx, topics...)
	if err != nil {
		return nil, err
	}
	if q.key != "" {
		of := kafka.PartitionOf([]byte(q.key), len(partitions)/len(topics))
		partitions = slices.DeleteFunc(partitions, func(p consume.Partition) bool { return p.Number != of })
	}
	var ranges map[consume.Partition]consume.Range
	if from.IsZero() {
		ranges, err = w.reader.Bounds(ctx, partitions)
	} else {
		ranges, err = w.reader.Since(ctx, partitions, from)
	}
	for p, r := range ranges {
		if from.IsZero() {
			r.From = r.To
		}
		if !q.exit {
			r.To = consume.Forever
		}
		ranges[p] = r
	}
	return ranges, err
}

// write writes a record that the filters let pass.
func (q tailing) write(b *bytes.Buffer, s style, names kafka.Names, r consume.Record) error {
	i := lookup.Read(names, r)
	if i == nil || q.key != "" && q.key != i.Key {
		return nil
	}
	connector, endpoint := "", ""
	if i.Event != nil {
		connector, endpoint = i.Event.Data.Connector, i.Event.Data.Endpoint
	} else {
		connector, endpoint = i.Webhook.Connector, i.Webhook.Endpoint
	}
	if q.connector != "" && q.connector != connector || q.endpoint != "" && q.endpoint != endpoint {
		return nil
	}
	switch {
	case q.json && i.Event != nil:
		if err := json.Compact(b, r.Value); err != nil {
			return err
		}
		return b.WriteByte('\n')
	case q.json:
		return json.NewEncoder(b).Encode(bodied{i, i.Webhook.Body})
	}
	colour, fields := describe(i)
	_, err := fmt.Fprintln(b, s.line(colour, fields...))
	return err
}

// errNoServer is wrapped where no server answers what it knows of ids.
var errNoServer = errors.New("no server tells where the events are")

// askServer returns what asks the server whose admin listener is at an address.
func askServer(admin string) func(context.Context, []string) (history.Place, error) {
	client := http.Client{Timeout: 5 * time.Second}
	return func(ctx context.Context, ids []string) (p history.Place, err error) {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/v1/where?"+url.Values{"id": ids}.Encode(), nil)
		if err != nil {
			return p, err
		}
		a, err := client.Do(q)
		if err != nil {
			return p, fmt.Errorf("%w: %w", errNoServer, err)
		}
		defer a.Body.Close()
		if a.StatusCode != http.StatusOK {
			says, _ := io.ReadAll(io.LimitReader(a.Body, 200))
			return p, fmt.Errorf("%w: %s answers %s: %s", errNoServer, admin, a.Status, bytes.TrimSpace(says))
		}
		if err := json.NewDecoder(a.Body).Decode(&p); err != nil {
			return p, fmt.Errorf("%w: %s: %w", errNoServer, admin, err)
		}
		return p, nil
	}
}
