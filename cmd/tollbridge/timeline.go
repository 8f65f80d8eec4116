package main

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// finding is how a payment is looked for.
type finding struct {
	from       string
	scan, json bool
}

const findingHelp = `A running server is asked where the events are (--admin): that takes
milliseconds, and finds the webhooks that the events came in. Without one, or
with --scan, the payment's partition of every topic is read, which also finds
redeliveries, webhooks that gave no event, and dead letters that name the
payment; a hundred thousand records take about a second, and --from leaves out
what is older. An id that is no key and
that no server knows is looked for in everything.`

func (q *finding) flags(c *cobra.Command) {
	kafkaOnly(c)
	f := c.Flags()
	f.String("admin", "", "the server's admin address (default: that of the configuration, or 127.0.0.1:9090)")
	f.StringVar(&q.from, "from", "", "leave out what is older: RFC 3339, unix seconds, or how long ago: 90m, 7d")
	f.BoolVar(&q.scan, "scan", false, "ask no server, read the topics")
	f.BoolVar(&q.json, "json", false, "print as JSON")
}

// payment finds all of a payment, or says that there is nothing.
func (q finding) payment(c *cobra.Command, id string) (all []*lookup.Item, scanned bool, err error) {
	from, err := instantOrAgo("--from", q.from, time.Now())
	if err != nil {
		return nil, false, err
	}
	w, err := openWindow(c)
	if err != nil {
		return nil, false, err
	}
	defer w.reader.Close()
	tell, end := progress(c)
	defer end()
	f := lookup.Finder{Reader: w.reader, Names: w.names, From: from, Progress: tell}
	if !q.scan {
		f.Where = askServer(w.Admin)
		all, err = f.Payment(c.Context(), id)
		if errors.Is(err, errNoServer) {
			fmt.Fprintf(c.ErrOrStderr(), "reading the topics, since %s\n", err)
			f.Where = nil
		}
	}
	if f.Where == nil {
		all, err = f.Payment(c.Context(), id)
	}
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("nothing is known of %q in %s", id, q.stretch())
	}
	return all, f.Where == nil, err
}

func (q finding) stretch() string {
	if q.from == "" {
		return "all that the topics keep"
	}
	return "what was written since --from " + q.from
}

func timelineCommand() *cobra.Command {
	var q finding
	c := &cobra.Command{
		Use:   "timeline ID",
		Short: "Show one payment across all topics: events, webhooks, dead letters",
		Long: `Show one payment across all topics, in the order it was written: each event
with its place, what was late, contradicts another or corrects it, and the
webhooks. ID is the merchant's, an event's, or the processor's id of the payment,
a refund or a dispute.

` + findingHelp,
		Example: `  tollbridge timeline order-43
  tollbridge timeline pi_3PqTb0Demo0001 --config tollbridge.yaml
  tollbridge timeline order-43 --scan --from 7d
  tollbridge timeline order-43 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			all, scanned, err := q.payment(c, args[0])
			if err != nil {
				return err
			}
			if q.json {
				return writeJSON(c.OutOrStdout(), map[string]any{"id": args[0], "scanned": scanned, "items": all})
			}
			return printTimeline(c, all, scanned)
		},
	}
	q.flags(c)
	return c
}

func printTimeline(c *cobra.Command, all []*lookup.Item, scanned bool) error {
	s := styleOf(c.OutOrStdout())
	again := map[string]bool{}
	for _, i := range all {
		colour, fields := describe(i)
		if e := i.Event; e != nil {
			if again[e.ID] {
				fields[5] += ", the same id again: handle it once"
			}
			again[e.ID] = true
			fields[5] += ", id " + plain(e.ID)
		}
		if err := own(c.OutOrStdout(), s.line(colour, fields...)+"\n"); err != nil {
			return err
		}
	}
	if !scanned {
		fmt.Fprintln(c.ErrOrStderr(), "redeliveries, webhooks without an event and dead letters are found with --scan")
	}
	return nil
}

func showCommand() *cobra.Command {
	var q finding
	var raw bool
	c := &cobra.Command{
		Use:   "show EVENT_ID",
		Short: "Show an event, and the request it came in",
		Long: `Show an event, where it is, what it corrects or is corrected by, and the
request it came in: how it was verified, its headers and its body. --raw writes
that body and nothing else, byte for byte.

` + findingHelp,
		Example: `  tollbridge show cd01f084-1219-5017-8f58-b43519f68c77
  tollbridge show cd01f084-1219-5017-8f58-b43519f68c77 --raw | sha256sum
  tollbridge show cd01f084-1219-5017-8f58-b43519f68c77 --json --config tollbridge.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			all, _, err := q.payment(c, args[0])
			if err != nil {
				return err
			}
			e, err := exhibitOf(all, args[0])
			switch {
			case err != nil:
				return err
			case raw && len(e.Webhooks) == 0:
				return fmt.Errorf("the webhook of event %s is not found; --scan reads on", args[0])
			case raw:
				return exact(c.OutOrStdout(), e.Webhooks[0].Body)
			case q.json:
				return writeJSON(c.OutOrStdout(), e)
			}
			return e.print(c.OutOrStdout())
		},
	}
	q.flags(c)
	c.Flags().BoolVar(&raw, "raw", false, "write the webhook's body and nothing else")
	return c
}

// exhibit is an event with what belongs to it.
type exhibit struct {
	Event       *lookup.Item   `json:"event"`
	Again       []*lookup.Item `json:"again,omitempty"`        // the same id
	CorrectedBy []*lookup.Item `json:"corrected_by,omitempty"` //
	Webhooks    []bodied       `json:"webhooks"`               // the one it came in first, then redeliveries
	Handled     []*lookup.Item `json:"handled,omitempty"`      // where its webhook was a dead letter
}

func exhibitOf(all []*lookup.Item, id string) (x exhibit, err error) {
	origin := id // a correction came in no webhook
	for _, i := range all {
		switch {
		case i.Event == nil:
		case i.Event.ID == id && x.Event == nil:
			x.Event, origin = i, cmp.Or(i.Event.Data.Corrects, id)
		case i.Event.ID == id:
			x.Again = append(x.Again, i)
		case i.Event.Data.Corrects == id:
			x.CorrectedBy = append(x.CorrectedBy, i)
		}
	}
	if x.Event == nil {
		return x, fmt.Errorf("%q is no event's id; 'tollbridge timeline' takes any", id)
	}
	letters := map[string]bool{} // by their place
	for _, i := range all {
		if w := i.Webhook; w != nil && w.Handles != "" && slices.Contains(w.EventIDs, origin) {
			x.Handled = append(x.Handled, i)
			letters[i.Topic+"-"+w.Handles] = true
		}
	}
	for _, i := range all {
		w := i.Webhook
		if w != nil && w.Handles == "" && (slices.Contains(w.EventIDs, origin) || letters[where(i.Receipt)]) {
			x.Webhooks = append(x.Webhooks, bodied{i, w.Body})
		}
	}
	return x, nil
}

func (x exhibit) print(out io.Writer) error {
	if err := writeJSON(out, x.Event.Event); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nwritten       %s  %s\n", clock(x.Event.Time), where(x.Event.Receipt))
	for _, i := range x.Again {
		fmt.Fprintf(out, "again         %s  %s\n", clock(i.Time), where(i.Receipt))
	}
	if of := x.Event.Event.Data.Corrects; of != "" {
		fmt.Fprintf(out, "corrects      %s\n", plain(of))
	}
	for _, i := range x.CorrectedBy {
		fmt.Fprintf(out, "corrected by  %s, %s  %s\n", plain(i.Event.ID), clock(i.Time), where(i.Receipt))
	}
	if len(x.Webhooks) == 0 {
		fmt.Fprintln(out, "webhook       not found; --scan reads on")
	}
	for n, i := range x.Webhooks {
		if n > 0 {
			fmt.Fprintf(out, "delivered     again %s, %s  %s\n", clock(i.Webhook.ReceivedAt), plain(string(i.Webhook.Outcome)), where(i.Receipt))
			continue
		}
		printWebhook(out, i.Item.Webhook, where(i.Receipt))
	}
	for _, i := range x.Handled {
		fmt.Fprintf(out, "dead letter   %s %s by %s %s  %s\n", plain(i.Webhook.Handles), plain(string(i.Webhook.Outcome)), plain(i.Webhook.By), clock(i.Time), where(i.Receipt))
	}
	if len(x.Webhooks) == 0 {
		return nil
	}
	return printBody(out, x.Webhooks[0].Body)
}

// printWebhook tells of a request all but its body.
func printWebhook(out io.Writer, w *webhook.Archived, at string) {
	v, _ := verify.Lookup(w.Connector)
	query := ""
	if w.Query != "" {
		query = "?" + w.Query
	}
	fmt.Fprintf(out, "webhook       %s %s  %s\n", plain(w.Method), plain(w.Path+query), at)
	fmt.Fprintf(out, "received      %s by %s/%s: %s\n", clock(w.ReceivedAt), plain(w.Connector), plain(w.Endpoint), plain(string(w.Outcome)))
	if w.Reason != "" {
		fmt.Fprintf(out, "reason        %s\n", plain(w.Reason))
	}
	if w.Secret != "" {
		fmt.Fprintf(out, "secret        %s\n", plain(w.Secret))
	}
	fmt.Fprintf(out, "verified      %s\n", v.Signs)
	for _, name := range slices.Sorted(maps.Keys(w.Header)) {
		for _, value := range w.Header[name] {
			fmt.Fprintf(out, "header        %s: %s\n", plain(name), plain(value))
		}
	}
	fmt.Fprintf(out, "body          %d bytes\n", len(w.Body))
}

// printBody prints a body as text if it is one, else in hexadecimal.
func printBody(out io.Writer, body []byte) error {
	text := string(body)
	control := func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\r\n", r) }
	if !utf8.ValidString(text) || strings.ContainsFunc(text, control) {
		text = hex.Dump(body)
	}
	_, err := fmt.Fprintf(out, "\n%s\n", strings.TrimRight(text, "\n"))
	return err
}
