package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/doctor"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

func devCommand() *cobra.Command {
	var listen, admin, broker, data string
	var secrets []string
	var logs bool
	c := &cobra.Command{
		Use:   "dev",
		Short: "Try tollbridge: a server and a built-in Kafka in one process",
		Long: `Try tollbridge: a server and a built-in Kafka in one process, with an endpoint
for every connector and made-up secrets. It needs nothing else, and leaves no
files.

The built-in Kafka is a fake for trials and tests. It keeps its records in
memory, or in the folder that --data names. The command prints each event when
Kafka has it, and why a webhook was refused.

With --secret, a connector has your secret in place of the made-up one, so that
the processor's own tools can send webhooks.`,
		Example: `  tollbridge dev
  tollbridge dev --secret stripe=whsec_…   # as 'stripe listen' prints it
  tollbridge dev --data ./devdata --broker 127.0.0.1:9092`,
		RunE: func(c *cobra.Command, _ []string) error {
			cluster, address, err := fakeKafka(broker, data)
			if err != nil {
				return err
			}
			defer cluster.Close()
			cfg := devConfig(listen, admin, address)
			if err := cfg.setDevSecrets(secrets); err != nil {
				return err
			}
			producer, err := cfg.producer()
			if err != nil {
				return err
			}
			if _, err := cfg.layout().Apply(c.Context(), producer.Kafka); err != nil {
				return err
			}
			l, err := cfg.open()
			if err != nil {
				return usage("%w; is 'tollbridge dev' running already? see --listen and --admin", err)
			}
			cfg.Listen = l.webhooks.Addr().String() // the real port if the flag has port 0
			cfg.Admin = l.admin.Addr().String()
			cfg.PublicURL = "http://" + cfg.Listen
			log := zerolog.New(io.Discard)
			if logs {
				log = logger(c.ErrOrStderr(), "info")
			}
			endpoints, err := cfg.endpoints()
			if err != nil {
				l.close()
				return usageError{err}
			}
			p := &printer{out: c.OutOrStdout(), endpoints: endpoints}
			p.welcome(cfg)
			return serve(c.Context(), cfg, l, log, hooks{publisher: p.tap, handler: p.refusals, send: firstWebhooks(cfg)}, nil)
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "address that receives webhooks; port 0 chooses a free one")
	c.Flags().StringVar(&admin, "admin", "127.0.0.1:9090", "address of the admin listener: /metrics, /healthz, /readyz, /v1/event_types, /v1/handle_event, /console/")
	c.Flags().StringVar(&broker, "broker", "127.0.0.1:9092", "address of the built-in Kafka; port 0 chooses a free one")
	c.Flags().StringVar(&data, "data", "", "folder that keeps the events")
	c.Flags().StringArrayVar(&secrets, "secret", nil, "CONNECTOR=SECRET: your secret in place of the made-up one; repeatable")
	c.Flags().BoolVar(&logs, "logs", false, "also print the server's log")
	return c
}

// fakeKafka starts the built-in Kafka and returns its address.
func fakeKafka(address, data string) (*kfake.Cluster, string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, "", usage("--broker: expected host:port, got %q: %w", address, err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, "", usage("--broker: %q: the port is not a number", address)
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1), kfake.Ports(n),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			return net.Listen(network, net.JoinHostPort(host, port))
		}),
	}
	if data != "" {
		opts = append(opts, kfake.DataDir(data))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, "", fmt.Errorf("starting the built-in Kafka at %s (is the port in use? see --broker): %w", address, err)
	}
	return cluster, cluster.ListenAddrs()[0], nil
}

// devConfig returns a configuration with an endpoint and made-up secrets for every
// connector.
func devConfig(listen, admin, broker string) config {
	cfg := defaultConfig()
	cfg.Listen, cfg.Admin, cfg.State = listen, admin, "" // the state is in memory
	cfg.HandleEvent = string(ingest.OnBoth)
	cfg.Console.Write, cfg.Console.Refused = true, 20 // without a login it answers only people on this machine
	cfg.Kafka.Brokers, cfg.Kafka.Partitions, cfg.Kafka.Replication = []string{broker}, 3, 1
	test := false
	for _, name := range verify.Connectors() {
		keys, _, _ := sign.Dev(name)
		e := endpointConfig{Connector: name, Live: &test, Secrets: map[string]secretConfig{}, Settings: map[string]any{}}
		for _, s := range keys.Secrets {
			e.Secrets[s.Name] = secretConfig{Value: s.Value}
		}
		for name, value := range keys.Settings {
			e.Settings[name] = value
		}
		cfg.Endpoints = append(cfg.Endpoints, e)
	}
	return cfg
}

// setDevSecrets replaces the secrets of connectors, given as CONNECTOR=SECRET.
func (c *config) setDevSecrets(all []string) error {
	for _, text := range all {
		connector, secret, ok := strings.Cut(text, "=")
		if !ok || secret == "" {
			return usage("--secret: expected CONNECTOR=SECRET, such as stripe=whsec_…")
		}
		i := slices.IndexFunc(c.Endpoints, func(e endpointConfig) bool { return e.Connector == connector })
		if i < 0 {
			return unknownConnector("--secret", connector)
		}
		c.Endpoints[i].Secrets = map[string]secretConfig{"yours": {Value: secret}}
	}
	return nil
}

// printer prints each record once Kafka has it, and why a webhook was refused.
type printer struct {
	mu        sync.Mutex
	out       io.Writer
	endpoints []webhook.Endpoint
}

// maxDiagnosed is the most bytes of a body that a refusal is diagnosed for.
const maxDiagnosed = ingest.DefaultMaxBody

// refusals returns a handler that prints the cause and the fix if a webhook to one of the
// endpoints was not verified.
func (p *printer) refusals(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, &body), r.Body}
		status := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(status, r)
		if status.code/100 != 2 && body.Len() <= maxDiagnosed {
			p.diagnose(r, body.Bytes(), status.code)
		}
	})
}

// statusWriter remembers the status of a response.
type statusWriter struct {
	http.ResponseWriter
	code int
}

// WriteHeader sends the status.
func (s *statusWriter) WriteHeader(code int) { s.code = code; s.ResponseWriter.WriteHeader(code) }

// Unwrap returns the writer for [http.ResponseController].
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// diagnose prints why a request was refused.
func (p *printer) diagnose(r *http.Request, body []byte, status int) {
	at := slices.IndexFunc(p.endpoints, func(e webhook.Endpoint) bool {
		return r.URL.Path == e.Path() || r.URL.Path == strings.TrimSuffix(e.Path(), "/default")
	})
	if at < 0 {
		p.print("refused: %d  %s: no endpoint has this path; use /webhooks/CONNECTOR\n\n", status, oneLine(r.URL.Path))
		return
	}
	e := p.endpoints[at]
	request := verify.Request{Method: r.Method, URL: e.Address(r.URL), Header: r.Header, Body: body}
	d := doctor.Case{Endpoint: e, Request: request, Now: time.Now()}.Diagnose()
	if d == nil {
		p.print("refused: %d  %s; --logs shows why\n\n", status, oneLine(r.URL.Path))
		return
	}
	p.print("refused: %d  %s  %s\n  %s\n  %s\n\n", status, oneLine(r.URL.Path), d.Cause, oneLine(d.Mistake), oneLine(d.Fix))
}

func (p *printer) print(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format, args...)
}

// firstWebhooks returns command lines that send webhooks of one payment.
func firstWebhooks(cfg config) (lines []string) {
	for _, event := range []string{"payment_intent.succeeded", "refund.created", "charge.dispute.created"} {
		lines = append(lines, fmt.Sprintf("go run ./cmd/tollbridge send stripe %s --to http://%s/webhooks/stripe/default", event, cfg.Listen))
	}
	return lines
}

func (p *printer) welcome(cfg config) {
	fmt.Fprintf(p.out, `tollbridge dev: webhooks at http://%s/webhooks/{connector}, Kafka at %s
In another terminal:

  %[4]s
  kcat -b %[2]s -t payment.captured -C -f '%%k %%s\n'

The payments are at http://%[5]s/console/

%[3]d connectors ('go run ./cmd/tollbridge connectors'). Events are printed here when
Kafka has them, and why a webhook was refused; Ctrl-C stops.

`, cfg.Listen, cfg.Kafka.Brokers[0], len(cfg.Endpoints), firstWebhooks(cfg)[0], cfg.Admin)
	for _, e := range cfg.Endpoints {
		switch {
		case e.Secrets["yours"].Value != "":
			fmt.Fprintf(p.out, "%s has your secret; 'send' needs it too: --secret SECRET\n\n", e.Connector)
		case e.Connector == "stripe":
			for _, s := range e.Secrets {
				fmt.Fprintf(p.out, "The secret of stripe is %s; --secret stripe=SECRET sets yours.\n\n", s.Value)
			}
		}
	}
}

func (p *printer) tap(next history.Publisher) history.Publisher {
	return tap(func(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
		receipts, err := next.Publish(ctx, records)
		if err == nil {
			p.records(records, receipts)
		}
		return receipts, err
	})
}

func (p *printer) records(records []kafka.Record, receipts []kafka.Receipt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range receipts {
		fmt.Fprintf(p.out, "%s  key %s\n", r.Text(), oneLine(string(records[i].Key)))
		if strings.Contains(r.Topic, "webhooks.") {
			continue // skip the archived webhook and references
		}
		fmt.Fprintf(p.out, "%s\n\n", schemas.Unframe(records[i].Value))
	}
}

// tap makes a function a history.Publisher.
type tap func(context.Context, []kafka.Record) ([]kafka.Receipt, error)

func (t tap) Publish(ctx context.Context, records []kafka.Record) ([]kafka.Receipt, error) {
	return t(ctx, records)
}
