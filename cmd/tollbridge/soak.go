package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/internal/soak"
	"github.com/tollbridge/tollbridge/webhook"
)

func soakCommand() *cobra.Command {
	var s soakFlags
	c := &cobra.Command{
		Use:   "soak",
		Short: "Test a server under load: count lost, doubled and wrong events",
		Long: `Send numbered, correctly signed Stripe webhooks to a running server at a steady
rate. Send each one again until it is answered 2xx, then read the topics and
count:

  LOST     answered 2xx, but not in Kafka
  DUP      in Kafka more than once
  PHANTOM  in Kafka, but not as it was sent
  ORDER    written after a later event of the same payment

With --redeliver, a share of the webhooks is sent again after its 2xx: the
answer must be 2xx with the receipt of the first, and nothing more is written.
With several --url, one for each replica of the server, each request goes to a
random one. With --twice, a share of the webhooks is sent to two or more
replicas at the same moment, or up to --apart later. Only one of them may write
the event.

Disturb the cluster during the test: restart brokers, move leaders, cut the
network, kill replicas.

WARNING: the test events are written to the event topics, and consumers see them
("live": false, payments named soak…). The endpoint must be a Stripe endpoint
with 'live: false', best with its own topics (kafka.prefix).

With --config, the endpoint, its secret and Kafka are those of the server's
configuration; without it, those of 'tollbridge dev'. Ctrl-C stops the sending;
the report still follows.

Exit codes: 0 all counts are 0, also of wrong receipts and of redeliveries
without a 2xx; 1 a count is not 0, or there is no report.`,
		Example: `  tollbridge soak --for 10s                   test 'tollbridge dev'
  tollbridge soak --config tollbridge.yaml --rate 500 --for 1h
  tollbridge soak --url https://pay.example.com/webhooks/stripe/test \
    --secret whsec_… --brokers kafka-1:9092 --count 100000
  tollbridge soak --url http://10.0.0.1:8080/webhooks/stripe \
    --url http://10.0.0.2:8080/webhooks/stripe --secret whsec_… \
    --brokers kafka-1:9092 --redeliver 0.2 --twice 0.1 --apart 500ms`,
		RunE: func(c *cobra.Command, _ []string) error { return s.run(c) },
	}
	f := c.Flags()
	f.StringArrayVar(&s.URLs, "url", nil, "the endpoint's URL; once for each replica (default: from the configuration, or http://127.0.0.1:8080/webhooks/stripe/default)")
	f.StringArrayVar(&s.to, "to", nil, "the same as --url")
	f.StringVar(&s.Secret, "secret", "", "the endpoint's secret (default: from the configuration, or that of 'tollbridge dev')")
	f.StringP("config", "c", "", "the server's configuration file (YAML)")
	f.StringSlice("brokers", nil, "Kafka brokers, host:port")
	f.String("prefix", "", "prefix of the topics' names")
	f.Float64Var(&s.Rate, "rate", 100, "how many new webhooks to send a second")
	f.IntVar(&s.Count, "count", 0, "how many webhooks to send")
	f.DurationVar(&s.For, "for", 0, "how long to send (default 1m without --count)")
	f.IntVar(&s.Callers, "callers", 64, "how many requests to send at the same time")
	f.IntVar(&s.Keys, "keys", 500, "how many payments; each has at most one request in progress")
	f.DurationVar(&s.Patience, "patience", time.Minute, "how long to retry after the last new webhook")
	f.Float64Var(&s.Redeliver, "redeliver", 0, "share of the webhooks to send again after their 2xx, 0 to 1")
	f.DurationVar(&s.Within, "within", 10*time.Second, "redeliver at most this long after the 2xx")
	f.Float64Var(&s.Twice, "twice", 0, "share of the webhooks to send to two or more replicas, or twice to the only one, 0 to 1")
	f.DurationVar(&s.Apart, "apart", 0, "longest time between the deliveries of one webhook to several replicas")
	f.BoolVar(&s.json, "json", false, "print the report as one line of JSON")
	return c
}

// soakFlags are the flags of `tollbridge soak`.
type soakFlags struct {
	soak.Config
	to   []string // values of --to, which is the same as --url
	json bool
}

func (s soakFlags) run(c *cobra.Command) error {
	cfg, err := loadConfig(c)
	if err != nil {
		return err
	}
	if s.Rate <= 0 || s.Count < 0 || s.For < 0 || s.Callers < 1 || s.Keys < 1 || s.Patience <= 0 || s.Within <= 0 || s.Apart < 0 {
		return usage("--rate, --callers, --keys, --patience and --within must be positive, --count, --for and --apart not negative")
	}
	if s.Redeliver < 0 || s.Redeliver > 1 || s.Twice < 0 || s.Twice > 1 {
		return usage("--redeliver and --twice: expected a share from 0 to 1, got %v and %v", s.Redeliver, s.Twice)
	}
	if s.For == 0 && s.Count == 0 {
		s.For = time.Minute
	}
	producer, err := cfg.producer()
	if err != nil {
		return err
	}
	s.Kafka = producer.Kafka
	s.Names = cfg.layout().Names
	s.URLs = append(s.URLs, s.to...)
	if err := s.endpoint(cfg); err != nil {
		return err
	}
	if f, ok := terminalOf(c.ErrOrStderr()); ok {
		s.Progress = progressLine(f)
		defer fmt.Fprint(f, "\r\x1b[K")
	}
	run, err := soak.Start(c.Context(), s.Config)
	if err != nil {
		return err
	}
	report, err := run.Wait()
	if err != nil {
		return err
	}
	return s.print(c, report)
}

// endpoint sets the URLs and the secret from the configuration, unless flags have set
// them.
func (s *soakFlags) endpoint(cfg config) error {
	if len(s.URLs) > 0 && s.Secret != "" {
		return nil
	}
	endpoints, err := cfg.endpoints()
	if err != nil {
		return err
	}
	_, secret, _ := sign.Dev("stripe")
	e := webhook.Endpoint{Connector: "stripe"}
	for i, one := range endpoints {
		if one.Connector == "stripe" && !one.Live {
			e, secret = endpoints[i], one.Keys.Secrets[0].Value
			break
		}
	}
	if len(endpoints) > 0 && len(e.Keys.Secrets) == 0 {
		return usage("the configuration has no Stripe endpoint with 'live: false': add one, or name another with --url and --secret")
	}
	if len(s.URLs) == 0 {
		s.URLs = []string{"http://" + cfg.Listen + e.Path()}
	}
	if s.Secret == "" {
		s.Secret = secret
	}
	return nil
}

// progressLine returns a function that rewrites one line of a terminal.
func progressLine(out io.Writer) func(soak.Progress) {
	return func(p soak.Progress) {
		line := fmt.Sprintf("%s: %d sent, %d acknowledged, %d waiting, %d refused, %d unanswered", p.Stage, p.Sent, p.Acked, p.Waiting, p.Refused, p.Unanswered)
		if p.Read > 0 {
			line += fmt.Sprintf(", %d records read", p.Read)
		}
		fmt.Fprint(out, "\r\x1b[K", line)
	}
}

// print prints the report. It returns errRefused unless all counts are 0.
func (s soakFlags) print(c *cobra.Command, r soak.Report) error {
	var err error
	if s.json {
		err = writeJSONLine(c.OutOrStdout(), r)
	} else {
		err = table(c, r)
	}
	if err == nil && !r.OK() {
		return errRefused
	}
	return err
}

func table(c *cobra.Command, r soak.Report) error {
	w := columns(c)
	for _, line := range []struct {
		name  string
		value any
		says  string
	}{
		{"SENT", r.Sent, "webhooks"},
		{"ACKED", r.Acked, "answered 2xx"},
		{"LOST", r.Lost, "answered 2xx, but not in Kafka"},
		{"DUP", r.Dup, "in Kafka once too often"},
		{"PHANTOM", r.Phantom, "in Kafka, but not as sent"},
		{"ORDER", r.Order, "written after a later event of the same payment"},
		{"wrong receipts", r.WrongReceipts, "named another record than the event's"},
		{"redelivered", r.Redelivered, fmt.Sprintf("after their 2xx; %d of them were not answered 2xx again", r.Unconfirmed)},
		{"twice at once", r.Twice, fmt.Sprintf("to several replicas; %d of them are in Kafka more than once", r.Twins)},
		{"given up", r.GivenUp, fmt.Sprintf("never answered 2xx; %d of them are in Kafka", r.UnackedWritten)},
		{"refused", r.Refused, fmt.Sprintf("answers that were not 2xx; the slowest 503 took %v", r.Max503.Round(time.Millisecond))},
		{"unanswered", r.Unanswered, "requests"},
		{"longest pause", r.MaxPause.Round(time.Millisecond), "between two 2xx"},
	} {
		fmt.Fprintf(w, "%s\t%v\t%s\n", line.name, line.value, line.says)
	}
	if err := w.Flush(); err != nil || len(r.Details) == 0 {
		return err
	}
	_, err := fmt.Fprintln(c.OutOrStdout(), "\n"+strings.Join(r.Details, "\n"))
	return err
}
