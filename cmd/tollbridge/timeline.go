package main

import (
	"encoding/hex"
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

// lookupFlags are the flags of the commands that look up one payment.
type lookupFlags struct {
	from       string
	scan, json bool
}

const lookupHelp = `The command asks a running server where the events are (--admin). This takes
milliseconds, and finds the events and the webhooks that gave them. Without a
server, or with --scan, it reads the payment's partition of every topic, which
also finds redeliveries, webhooks that gave no event, and dead letters that
contain an id of the payment. It reads about 100,000 records a second; --from
skips older ones. If the id is not a key and no server knows it, the command
reads all partitions of the event topics.`

func (f *lookupFlags) add(c *cobra.Command) {
	sessionFlags(c)
	flags := c.Flags()
	flags.String("admin", "", "the server's admin address (default: admin of the configuration, or 127.0.0.1:9090)")
	flags.StringVar(&f.from, "from", "", "skip older records: RFC 3339, unix seconds, or an age: 90m, 7d")
	flags.BoolVar(&f.scan, "scan", false, "read the topics, without asking a server")
	flags.BoolVar(&f.json, "json", false, "print as JSON")
}

// find returns a payment with at least one record. The id may be the merchant's, an
// event's or the processor's.
func (f lookupFlags) find(c *cobra.Command, id string) (p lookup.Payment, err error) {
	from, err := parseTimeOrAge("--from", f.from, time.Now())
	if err != nil {
		return p, err
	}
	s, err := openKafkaSession(c)
	if err != nil {
		return p, err
	}
	defer s.reader.Close()
	report, clear := readProgress(c)
	defer clear()
	finder := lookup.Finder{Reader: s.reader, Names: s.names, From: from, Progress: report}
	if !f.scan {
		finder.Where = locateAt(s.Admin)
	}
	p, err = finder.Find(c.Context(), id, func(err error) error {
		fmt.Fprintf(c.ErrOrStderr(), "reading the topics, since %s\n", err)
		return nil
	})
	if err == nil && len(p.Items) == 0 {
		searched := "all that the topics keep"
		if f.from != "" {
			searched = "what was written since --from " + f.from
		}
		err = fmt.Errorf("nothing is known of %q in %s", id, searched)
	}
	return p, err
}

func timelineCommand() *cobra.Command {
	var f lookupFlags
	c := &cobra.Command{
		Use:   "timeline ID",
		Short: "Show one payment across all topics: events, webhooks, dead letters",
		Long: `Show all records of one payment, in the order in which they were written: each
event with its receipt, whether it is late, contradicts another event or
corrects one, and the webhooks. ID is the merchant's id, an event's id, or the
processor's id of the payment, of a refund or of a dispute.

` + lookupHelp,
		Example: `  tollbridge timeline order-43
  tollbridge timeline pi_3PqTb0Demo0001 --config tollbridge.yaml
  tollbridge timeline order-43 --scan --from 7d
  tollbridge timeline order-43 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := f.find(c, args[0])
			if err != nil {
				return err
			}
			if f.json {
				return writeJSON(c.OutOrStdout(), p)
			}
			return printTimeline(c, p)
		},
	}
	f.add(c)
	return c
}

func printTimeline(c *cobra.Command, p lookup.Payment) error {
	s := styleOf(c.OutOrStdout())
	printed := map[string]bool{} // events by id
	for _, i := range p.Items {
		colour, fields := describe(i)
		if e := i.Event; e != nil {
			if printed[e.ID] {
				fields[5] += ", the same id again: handle it once"
			}
			printed[e.ID] = true
			fields[5] += ", id " + oneLine(e.ID)
		}
		if err := writeTrusted(c.OutOrStdout(), s.line(colour, fields...)+"\n"); err != nil {
			return err
		}
	}
	if !p.Scanned {
		fmt.Fprintln(c.ErrOrStderr(), "use --scan to find redeliveries, webhooks without an event, and dead letters, too")
	}
	return nil
}

func showCommand() *cobra.Command {
	var f lookupFlags
	var raw bool
	c := &cobra.Command{
		Use:   "show EVENT_ID",
		Short: "Show an event, and the webhook that gave it",
		Long: `Show an event, its receipt, the event that it corrects or that corrects it, and
the webhook that gave it: how it was verified, its headers and its body.
--raw writes the body and nothing else, byte for byte.

` + lookupHelp,
		Example: `  tollbridge show cd01f084-1219-5017-8f58-b43519f68c77
  tollbridge show cd01f084-1219-5017-8f58-b43519f68c77 --raw | sha256sum
  tollbridge show cd01f084-1219-5017-8f58-b43519f68c77 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := f.find(c, args[0])
			if err != nil {
				return err
			}
			e, err := p.Details(args[0])
			switch {
			case err != nil:
				return err
			case raw && len(e.Webhooks) == 0:
				return fmt.Errorf("the webhook of event %s is not found; try --scan, which reads the topics", args[0])
			case raw:
				return writeRaw(c.OutOrStdout(), e.Webhooks[0].Body)
			case f.json:
				return writeJSON(c.OutOrStdout(), e)
			}
			return printDetails(c.OutOrStdout(), e)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&raw, "raw", false, "write the webhook's body and nothing else")
	return c
}

func printDetails(out io.Writer, x lookup.Details) error {
	if err := writeJSON(out, x.Event.Event); err != nil {
		return err
	}
	whole := out
	out = folded(out)
	fmt.Fprintf(out, "\nwritten       %s  %s\n", timestamp(x.Event.Time), x.Event.Receipt.Text())
	for _, i := range x.Again {
		fmt.Fprintf(out, "again         %s  %s\n", timestamp(i.Time), i.Receipt.Text())
	}
	if of := x.Event.Event.Data.Corrects; of != "" {
		fmt.Fprintf(out, "corrects      %s\n", oneLine(of))
	}
	for _, i := range x.CorrectedBy {
		fmt.Fprintf(out, "corrected by  %s, %s  %s\n", oneLine(i.Event.ID), timestamp(i.Time), i.Receipt.Text())
	}
	if len(x.Webhooks) == 0 {
		fmt.Fprintln(out, "webhook       not found; try --scan, which reads the topics")
	}
	for n, i := range x.Webhooks {
		if n > 0 {
			fmt.Fprintf(out, "delivered     again %s, %s  %s\n", timestamp(i.Webhook.ReceivedAt), oneLine(string(i.Webhook.Outcome)), i.Receipt.Text())
			continue
		}
		printWebhook(out, i.Item.Webhook, i.Receipt.Text())
	}
	for _, i := range x.Handled {
		fmt.Fprintf(out, "dead letter   %s %s by %s %s  %s\n", oneLine(i.Webhook.Handles), oneLine(string(i.Webhook.Outcome)), oneLine(i.Webhook.By), timestamp(i.Time), i.Receipt.Text())
	}
	if len(x.Webhooks) == 0 {
		return nil
	}
	return printBody(whole, x.Webhooks[0].Body)
}

// printWebhook prints an archived webhook without its body. At is its receipt.
func printWebhook(out io.Writer, w *webhook.Archived, at string) {
	out = folded(out)
	v, _ := verify.Lookup(w.Connector)
	query := ""
	if w.Query != "" {
		query = "?" + w.Query
	}
	fmt.Fprintf(out, "webhook       %s %s  %s\n", oneLine(w.Method), oneLine(w.Path+query), at)
	fmt.Fprintf(out, "received      %s by %s/%s: %s\n", timestamp(w.ReceivedAt), oneLine(w.Connector), oneLine(w.Endpoint), oneLine(string(w.Outcome)))
	if w.Reason != "" {
		fmt.Fprintf(out, "reason        %s\n", oneLine(w.Reason))
	}
	if w.Secret != "" {
		fmt.Fprintf(out, "secret        %s\n", oneLine(w.Secret))
	}
	switch w.VouchedBy {
	case "":
		fmt.Fprintf(out, "verified      %s\n", v.Signs)
	default:
		fmt.Fprintf(out, "verified      not signed; vouched by %s\n", oneLine(string(w.VouchedBy)))
	}
	for _, d := range w.Fetched {
		fmt.Fprintf(out, "fetched       %s from %s%s: status %d, %d bytes, %s\n", oneLine(d.Name), oneLine(d.Host), oneLine(d.Path), d.Status, len(d.Body), timestamp(d.At))
	}
	for _, name := range slices.Sorted(maps.Keys(w.Header)) {
		for _, value := range w.Header[name] {
			fmt.Fprintf(out, "header        %s: %s\n", oneLine(name), oneLine(value))
		}
	}
	fmt.Fprintf(out, "body          %d bytes\n", len(w.Body))
}

// printBody prints a body as text, or as a hexadecimal dump if it is not text.
func printBody(out io.Writer, body []byte) error {
	text := string(body)
	control := func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\r\n", r) }
	if !utf8.ValidString(text) || strings.ContainsFunc(text, control) {
		text = hex.Dump(body)
	}
	_, err := fmt.Fprintf(out, "\n%s\n", strings.TrimRight(text, "\n"))
	return err
}
