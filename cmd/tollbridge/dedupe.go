package main

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/lookup"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

func dedupeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dedupe",
		Short: "Explain why a webhook was a duplicate",
	}
	c.AddCommand(explainCommand())
	return c
}

// explainFlags are the flags of `tollbridge dedupe explain`.
type explainFlags struct {
	inspectFlags
	lookupFlags
	endpoint string
	all      bool
}

var eventID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func explainCommand() *cobra.Command {
	var f explainFlags
	c := &cobra.Command{
		Use:   "explain EVENT_ID | explain --connector NAME [flags] FILE|-",
		Short: "Show where an event was published first, and its duplicates",
		Long: `Show where an event was published first, which archived webhooks gave it, and
how its duplicates are recognised. The event is named by its id, or by a
webhook: FILE, or the standard input, is the exact body, as for 'tollbridge
inspect', and the command explains each event that today's code makes of it.
The secrets are those of the endpoint in the configuration; with --payload none
is needed, and FILE is the payload that was signed.

Only archived webhooks in the partitions of the event's possible keys are read.
A batch is archived under the key of its first event: use --all for batches.`,
		Example: `  tollbridge dedupe explain cd01f084-1219-5017-8f58-b43519f68c77
  tollbridge dedupe explain --connector stripe \
    --header 'Stripe-Signature: t=…' body.json
  tollbridge dedupe explain --connector adyen --payload item.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	f.lookupFlags.add(c)
	flags := c.Flags()
	flags.StringVar(&f.connector, "connector", "", "the webhook's connector")
	flags.StringVar(&f.endpoint, "endpoint", "default", "the name of its endpoint")
	flags.StringArrayVar(&f.headers, "header", nil, "'Name: value' of the request; repeatable")
	flags.StringVar(&f.method, "method", http.MethodPost, "the request's method")
	flags.StringVar(&f.url, "url", "", "the URL that the processor called, with its query")
	flags.StringVar(&f.payload, "payload", "", "a file with the signed payload, instead of a request")
	flags.BoolVar(&f.all, "all", false, "read all partitions of the archive")
	return c
}

func (f *explainFlags) run(c *cobra.Command, args []string) error {
	s, err := openKafkaSession(c)
	if err != nil {
		return err
	}
	defer s.reader.Close()
	x := lookup.Explainer{Reader: s.reader, Names: s.names, AllPartitions: f.all}
	if x.From, err = parseTimeOrAge("--from", f.from, time.Now()); err != nil {
		return err
	}
	var events []schemas.Event
	var verdict *webhook.Verdict // nil if only the event's id is known
	if f.connector == "" && len(args) == 1 && eventID.MatchString(args[0]) {
		events, err = f.published(c, args[0])
	} else {
		verdict, err = f.normalise(c, s, args)
		if verdict != nil {
			events = verdict.Events
		}
	}
	if err != nil {
		return err
	}
	if endpoints, err := s.endpoints(); err == nil { // otherwise the identity of the events is unknown
		x.Endpoints = endpoints
	}
	report, clear := readProgress(c)
	defer clear()
	x.Progress = report
	all, err := x.Explain(c.Context(), events, verdict)
	if err != nil {
		return err
	}
	if f.json {
		return writeJSONLines(c.OutOrStdout(), all)
	}
	return printExplanations(c, all)
}

// published returns the published event with an id.
func (f *explainFlags) published(c *cobra.Command, id string) ([]schemas.Event, error) {
	p, err := f.find(c, id)
	for _, i := range p.Items {
		if i.Event != nil && i.Event.ID == id {
			return []schemas.Event{*i.Event}, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("no event has the id %s", id)
	}
	return nil, err
}

// normalise returns the verdict on the webhook that the flags and arguments
// describe. It has at least one event.
func (f *explainFlags) normalise(c *cobra.Command, s kafkaSession, args []string) (*webhook.Verdict, error) {
	if _, ok := verify.Lookup(f.connector); !ok {
		if f.connector == "" {
			return nil, usage("expected an event's id, or --connector and a request")
		}
		return nil, unknownConnector("--connector", f.connector)
	}
	read := s.endpoints
	if f.payload != "" { // nothing is verified
		read = s.endpointsWithoutSecrets
	}
	endpoints, err := read()
	if err != nil {
		return nil, usageError{err}
	}
	e, configured := lookup.EndpointOf(endpoints, f.connector, f.endpoint)
	if f.payload != "" {
		args = []string{f.payload}
	} else if !configured {
		return nil, usage("endpoint %s/%s is not in the configuration: its secrets are needed, or --payload", f.connector, f.endpoint)
	}
	body, err := readFile(c, args)
	if err != nil {
		return nil, err
	}
	v, err := f.verdict(c.Context(), e, body)
	switch {
	case err != nil:
		return nil, err
	case v.Err != nil:
		return nil, v.Err
	case len(v.Events) == 0:
		return nil, fmt.Errorf("the webhook gives no event: it is %s", v.Outcome())
	}
	return &v, nil
}

// verdict verifies and normalises a request of any age, or only normalises a payload.
func (f *explainFlags) verdict(ctx context.Context, e webhook.Endpoint, body []byte) (v webhook.Verdict, err error) {
	if f.payload != "" {
		v.Payload = body
		v.Result, v.Err = e.Normalize(body, time.Now())
		return v, nil
	}
	r, err := f.request(body)
	if err != nil {
		return v, err
	}
	settings := map[string]string{"tolerance_seconds": "off"}
	for name, value := range e.Keys.Settings {
		if _, set := settings[name]; !set {
			settings[name] = value
		}
	}
	e.Keys.Settings = settings
	return e.Judge(ctx, new(verify.Keyring), r, time.Now()), nil
}

func printExplanations(c *cobra.Command, all []*lookup.Explanation) error {
	w := columns(c)
	for _, x := range all {
		fmt.Fprintf(w, "%s\t%s of %s\n", oneLine(x.EventID), oneLine(string(x.Type)), oneLine(x.Key))
		fmt.Fprintf(w, "recognised by\t%s\n", x.Identity)
		if len(x.Published) == 0 {
			fmt.Fprintf(w, "published\tnever, in what the topics keep\n")
		}
		for i, p := range x.Published {
			fmt.Fprintf(w, "%s\t%s\t%s\n", strings.Repeat("again ", min(i, 1))+"published", timestamp(p.Time), p.Text())
		}
		for _, d := range x.Webhooks {
			fmt.Fprintf(w, "webhook: %s\t%s\t%s\n", oneLine(d.Outcome), timestamp(d.Time), d.Text())
		}
	}
	return w.Flush()
}
