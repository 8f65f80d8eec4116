package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// explanation is how an event was recognised, and when.
type explanation struct {
	EventID  string       `json:"event_id"`
	Type     schemas.Type `json:"type"`
	Key      string       `json:"key"`
	Identity string       `json:"identity"` // by what redeliveries are recognised
	// Published are the records of the event: one, or those that the README's
	// limits speak of.
	Published []found `json:"published"`
	// Webhooks are the kept ones that told it, the first and its redeliveries.
	Webhooks []found `json:"webhooks"`

	event schemas.Event
}

// found is where a record is, and what became of a webhook.
type found struct {
	kafka.Receipt
	Time    time.Time `json:"time"` // Kafka's
	Outcome string    `json:"outcome,omitempty"`

	webhook *webhook.Archived
}

// What redeliveries are recognised by.
const (
	byProcessor = "what the processor repeats: its id of the event or the thing, and the thing's state"
	byDigest    = "a digest of the signed body: the processor signs no id"
	byUnknown   = "not known: no webhook of it is kept that this configuration verifies"
)

func dedupeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dedupe",
		Short: "Explain why a webhook was a duplicate",
	}
	c.AddCommand(explainCommand())
	return c
}

// dedupe is one explain command.
type dedupe struct {
	inspection
	finding
	endpoint  string
	all       bool
	judgement *webhook.Verdict
}

var eventID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func explainCommand() *cobra.Command {
	var q dedupe
	c := &cobra.Command{
		Use:   "explain EVENT_ID | explain --connector NAME [flags] FILE|-",
		Short: "Say where an event was published first, and which webhooks were recognised as it",
		Long: `Say where an event was published first, which kept webhooks told it, and by what
they were recognised. FILE, or the standard input, is the exact body of a
request, as 'tollbridge inspect' takes it: what events it comes to today is
looked for. Its endpoint's secrets are those of the configuration; with
--payload none are needed, and FILE is what the signature was of.

Of webhooks those are read that have the event's key, or one that it could have.
In a batch the first event gives the key: --all reads all partitions.`,
		Example: `  tollbridge dedupe explain cd01f084-1219-5017-8f58-b43519f68c77
  tollbridge dedupe explain --connector stripe --header 'Stripe-Signature: t=…' body.json
  tollbridge dedupe explain --connector adyen --payload item.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return q.run(c, args) },
	}
	q.finding.flags(c)
	f := c.Flags()
	f.StringVar(&q.connector, "connector", "", "whose webhook it is")
	f.StringVar(&q.endpoint, "endpoint", "default", "the endpoint it came to")
	f.StringArrayVar(&q.headers, "header", nil, "'Name: value' of the request")
	f.StringVar(&q.method, "method", http.MethodPost, "the request's method")
	f.StringVar(&q.url, "url", "", "the address that the processor called, with its query")
	f.StringVar(&q.payload, "payload", "", "the file of a payload, signature aside")
	f.BoolVar(&q.all, "all", false, "read all partitions of the kept webhooks")
	return c
}

func (q *dedupe) run(c *cobra.Command, args []string) error {
	w, err := openWindow(c)
	if err != nil {
		return err
	}
	defer w.reader.Close()
	var events []schemas.Event
	if q.connector == "" && len(args) == 1 && eventID.MatchString(args[0]) {
		events, err = q.published(c, args[0])
	} else {
		events, err = q.judged(c, w, args)
	}
	if err != nil {
		return err
	}
	all, err := q.explain(c, w, events)
	if err != nil {
		return err
	}
	if q.json {
		return writeJSON(c.OutOrStdout(), all)
	}
	return printExplanations(c, all)
}

// published finds an event by its id.
func (q *dedupe) published(c *cobra.Command, id string) ([]schemas.Event, error) {
	items, _, err := q.payment(c, id)
	for _, i := range items {
		if i.Event != nil && i.Event.ID == id {
			return []schemas.Event{*i.Event}, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("no event has the id %s", id)
	}
	return nil, err
}

// judged is the events that a request comes to.
func (q *dedupe) judged(c *cobra.Command, w window, args []string) ([]schemas.Event, error) {
	if _, ok := verify.Lookup(q.connector); !ok {
		return nil, usage("want an event's id, or --connector and a request; %q is no connector", q.connector)
	}
	e, configured, err := w.endpoint(q.connector, q.endpoint)
	if err != nil {
		return nil, err
	}
	if q.payload != "" {
		args = []string{q.payload}
	} else if !configured {
		return nil, usage("endpoint %s/%s is not in the configuration: its secrets are needed, or --payload", q.connector, q.endpoint)
	}
	body, err := readFile(c, args)
	if err != nil {
		return nil, err
	}
	j, err := q.judge(c.Context(), e, body)
	switch {
	case err != nil:
		return nil, err
	case j.Err == nil && len(j.Events) == 0:
		return nil, fmt.Errorf("the webhook comes to no event: it is %s", j.Outcome())
	}
	q.judgement = &j
	return j.Events, j.Err
}

// judge judges a request, however long ago it was sent, or a payload.
func (q *dedupe) judge(ctx context.Context, e webhook.Endpoint, body []byte) (j webhook.Verdict, err error) {
	if q.payload != "" {
		j.Payload = body
		j.Result, j.Err = e.Normalize(body, time.Now())
		return j, nil
	}
	r, err := q.request(body)
	if err != nil {
		return j, err
	}
	settings := map[string]string{"tolerance_seconds": "off"}
	for name, value := range e.Keys.Settings {
		if _, ours := settings[name]; !ours {
			settings[name] = value
		}
	}
	e.Keys.Settings = settings
	return e.Judge(ctx, new(verify.Keyring), r, time.Now()), nil
}

// endpoint is an endpoint as it is configured, or one without keys.
func (w window) endpoint(connector, name string) (e webhook.Endpoint, configured bool, err error) {
	all, err := w.endpoints()
	for _, e := range all {
		if e.Path() == (webhook.Endpoint{Connector: connector, Name: name}).Path() {
			return e, true, err
		}
	}
	return webhook.Endpoint{Connector: connector, Name: name}, false, err
}

// explain reads where the events, and the webhooks that told them, can be.
func (q *dedupe) explain(c *cobra.Command, w window, events []schemas.Event) ([]*explanation, error) {
	from, err := instantOrAgo("--from", q.from, time.Now())
	if err != nil {
		return nil, err
	}
	tell, end := progress(c)
	defer end()
	s := &stretch{window: w, from: from, tell: tell, keys: map[string]bool{}}
	by := map[string]*explanation{}
	var all []*explanation
	var topics []string
	for _, e := range events {
		x := &explanation{EventID: e.ID, Type: e.Type, Key: e.Subject, Published: []found{}, Webhooks: []found{}, event: e}
		all, by[e.ID], topics = append(all, x), x, append(topics, w.names.Event(e.Type))
		s.couldBeUnder(e)
	}
	slices.Sort(topics)
	if err := s.addReferences(c.Context()); err != nil {
		return nil, err
	}
	if err := s.addEvents(c.Context(), slices.Compact(topics), by); err != nil {
		return nil, err
	}
	s.everywhere = q.all
	if err := s.addWebhooks(c.Context(), by); err != nil {
		return nil, err
	}
	for _, x := range all {
		for _, of := range [][]found{x.Published, x.Webhooks} {
			slices.SortStableFunc(of, func(a, b found) int { return a.Time.Compare(b.Time) })
		}
		x.Identity = q.identity(c.Context(), w, x)
	}
	return all, nil
}

// stretch is what is read: the partitions of keys, or all.
type stretch struct {
	window
	from       time.Time // zero is all there is
	tell       func(done, all int64)
	keys       map[string]bool
	everywhere bool
}

// couldBeUnder adds the keys that an event, and its webhooks, can have.
func (s *stretch) couldBeUnder(e schemas.Event) {
	for _, key := range append(history.ReferenceKeys(e), e.Subject, e.Data.MerchantRefundID) {
		if key != "" {
			s.keys[key] = true
		}
	}
}

// addReferences adds the merchant's ids that the keys stand for.
func (s *stretch) addReferences(ctx context.Context) error {
	return s.read(ctx, []string{s.names.References()}, func(r consume.Record) {
		if s.keys[string(r.Key)] && len(r.Value) > 0 {
			s.keys[string(r.Value)] = true
		}
	})
}

// addEvents adds where the events are.
func (s *stretch) addEvents(ctx context.Context, topics []string, by map[string]*explanation) error {
	return s.read(ctx, topics, func(r consume.Record) {
		if x := by[r.Header(schemas.HeaderEventID)]; x != nil {
			x.Published, x.Key = append(x.Published, found{Receipt: r.Receipt(), Time: r.Time.UTC()}), string(r.Key)
		}
	})
}

// addWebhooks adds the kept webhooks that told the events.
func (s *stretch) addWebhooks(ctx context.Context, by map[string]*explanation) error {
	return s.read(ctx, []string{s.names.Received(), s.names.Dead()}, func(r consume.Record) {
		i := lookup.Read(s.names, r)
		if i == nil {
			return
		}
		for _, id := range i.Webhook.EventIDs {
			if x := by[id]; x != nil {
				x.Webhooks = append(x.Webhooks, found{r.Receipt(), i.Time, string(i.Webhook.Outcome), i.Webhook})
			}
		}
	})
}

// read calls f with the records of topics.
func (s *stretch) read(ctx context.Context, topics []string, f func(consume.Record)) error {
	partitions, err := s.reader.Partitions(ctx, topics...)
	if err != nil {
		return err
	}
	numbers := map[int]bool{}
	for key := range s.keys {
		numbers[kafka.PartitionOf([]byte(key), len(partitions)/len(topics))] = true
	}
	partitions = slices.DeleteFunc(partitions, func(p consume.Partition) bool { return !s.everywhere && !numbers[p.Number] })
	ranges, err := s.reader.Bounds(ctx, partitions)
	if err == nil && !s.from.IsZero() && topics[0] != s.names.References() {
		ranges, err = s.reader.Since(ctx, partitions, s.from)
	}
	if err != nil {
		return err
	}
	return lookup.Each(ctx, s.reader, ranges, s.tell, f)
}

// identity tells by what an event is recognised: its id is made of that.
func (q *dedupe) identity(ctx context.Context, w window, x *explanation) string {
	j := q.judgement
	for i := 0; j == nil && i < len(x.Webhooks); i++ {
		a := *x.Webhooks[i].webhook
		if e, configured, err := w.endpoint(a.Connector, a.Endpoint); configured && err == nil {
			if again := e.JudgeArchived(ctx, new(verify.Keyring), a); again.Err == nil {
				j = &again
			}
		}
	}
	if j == nil {
		return byUnknown
	}
	digest := sha256.Sum256(j.Payload)
	d := x.event.Data
	for item := range len(j.Events) + len(j.Skipped) {
		if schemas.ID(d.Connector, d.Endpoint, hex.EncodeToString(digest[:]), x.Type, item) == x.EventID {
			return byDigest
		}
	}
	return byProcessor
}

func printExplanations(c *cobra.Command, all []*explanation) error {
	w := columns(c)
	for _, x := range all {
		fmt.Fprintf(w, "%s\t%s of %s\n", plain(x.EventID), plain(string(x.Type)), plain(x.Key))
		fmt.Fprintf(w, "recognised by\t%s\n", x.Identity)
		if len(x.Published) == 0 {
			fmt.Fprintf(w, "published\tnever, in what the topics keep\n")
		}
		for i, p := range x.Published {
			fmt.Fprintf(w, "%s\t%s\t%s-%d@%d\n", strings.Repeat("again ", min(i, 1))+"published", p.Time.Format(time.RFC3339Nano), p.Topic, p.Partition, p.Offset)
		}
		for _, k := range x.Webhooks {
			fmt.Fprintf(w, "webhook: %s\t%s\t%s-%d@%d\n", plain(k.Outcome), k.Time.Format(time.RFC3339Nano), k.Topic, k.Partition, k.Offset)
		}
	}
	return w.Flush()
}
