package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/history"
	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/publish"
)

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Take webhooks and publish them to Kafka",
		Long: `Take webhooks and publish them to Kafka.

The topics must be there: see 'tollbridge topics apply'. serve does not start
when one is missing or has another number of partitions than configured, and
warns where durability is weaker than asked for. SIGTERM or an interrupt stops
taking new connections, answers the webhooks under way, and ends.`,
		Example: "  tollbridge topics apply --config tollbridge.yaml && tollbridge serve --config tollbridge.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(c)
			if err != nil {
				return err
			}
			if len(cfg.Endpoints) == 0 {
				return usage("there are no endpoints: name at least one in the configuration file (--config)")
			}
			log := logger(c.ErrOrStderr(), cfg.LogLevel)
			if err := checkTopics(c.Context(), cfg, log); err != nil {
				return err
			}
			l, err := cfg.open()
			if err != nil {
				return err
			}
			return serve(c.Context(), cfg, l, log, nil)
		},
	}
	configFlags(c)
	return c
}

// checkTopics refuses topics that events would be lost in, and warns of those
// that are weaker than asked for.
func checkTopics(ctx context.Context, cfg config, log zerolog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	kafka, err := cfg.kafka()
	if err != nil {
		return err
	}
	findings, err := cfg.layout().Plan(ctx, kafka)
	if err != nil {
		return fmt.Errorf("looking at the topics: %w", err)
	}
	var errs []error
	var missing []string
	for _, f := range findings {
		switch {
		case !f.Exists:
			missing = append(missing, f.Topic)
		case f.Wrong:
			errs = append(errs, fmt.Errorf("topic %s %s", f.Topic, f.Drift))
		case f.Drift != "":
			log.Warn().Str("topic", f.Topic).Msg(f.Drift)
		}
	}
	if len(missing) > 0 {
		errs = append(errs, fmt.Errorf("topics are not there: %s; create them with 'tollbridge topics apply' and the same configuration", strings.Join(missing, ", ")))
	}
	return errors.Join(errs...)
}

// listeners are what webhooks, and what Prometheus and probes come in by.
type listeners struct{ webhooks, admin net.Listener }

// open takes the addresses, so that nothing is started where one is taken.
func (c config) open() (l listeners, err error) {
	if l.webhooks, err = net.Listen("tcp", c.Listen); err != nil {
		return l, fmt.Errorf("listen: %w", err)
	}
	if l.admin, err = net.Listen("tcp", c.Admin); err != nil {
		_ = l.webhooks.Close()
		return l, fmt.Errorf("admin: %w", err)
	}
	return l, nil
}

func (l listeners) close() {
	_ = l.webhooks.Close()
	_ = l.admin.Close()
}

// serve is the server from its parts to its end, in the order of dependency:
//
//	producer ──▶ history ──▶ ingest ──▶ requests, until ctx is done ──▶ drain, in reverse
//
// Tap, if it is not nil, stands between ingest and the producer.
func serve(ctx context.Context, cfg config, l listeners, log zerolog.Logger, tap func(ingest.Publisher) ingest.Publisher) error {
	defer l.close()
	endpoints, err := cfg.endpoints()
	if err != nil {
		return err
	}
	kafka, err := cfg.kafka()
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	kafka.Metrics, kafka.Log = metrics, log
	producer := publish.NewProducer(kafka)
	defer producer.Close()
	var publisher ingest.Publisher = producer
	if tap != nil {
		publisher = tap(producer)
	}

	names := cfg.layout().Names
	memory, err := history.Open(ctx, history.Config{Dir: cfg.State, Kafka: kafka, Names: names, Publisher: publisher, Log: log, Metrics: metrics})
	if err != nil {
		return err
	}
	defer memory.Close()
	producer.Consult(memory)
	memory.Await(ctx, readBackTime)
	server, err := ingest.New(ingest.Config{
		Endpoints: endpoints, Publisher: publisher, History: memory, Names: names,
		Ready: func(ctx context.Context) error {
			return errors.Join(memory.Ready(), producer.Ready(ctx, names.All()))
		},
		MaxBody: cfg.MaxBody, MaxInFlight: cfg.MaxInFlight, Deadline: cfg.Deadline,
		Log: log, Metrics: metrics,
	})
	if err != nil {
		return err
	}
	log.Info().Stringer("listen", l.webhooks.Addr()).Stringer("admin", l.admin.Addr()).Int("endpoints", len(endpoints)).
		Strs("brokers", cfg.Kafka.Brokers).Str("version", version()).Msg("serving")
	return listen(ctx, log, map[net.Listener]http.Handler{l.webhooks: server, l.admin: server.Admin(metrics)})
}

// gcPercent is Go's GOGC where that is not set: hardly anything that a webhook
// makes stays, so that memory is cheaper than looking for it often.
const gcPercent = 300

// readBackTime is how long webhooks wait for the state to be read back before
// they are taken. Longer, and they are answered 503 until it is.
const readBackTime = 3 * time.Second

// drainTime is how long requests under way may take to end: longer than any
// deadline, which has begun when the last request came in.
const drainTime = 40 * time.Second

// listen serves until ctx is done or a listener fails, then lets the requests
// under way end.
func listen(ctx context.Context, log zerolog.Logger, handlers map[net.Listener]http.Handler) error {
	ended := make(chan error, len(handlers))
	var servers []*http.Server
	for l, h := range handlers {
		s := ingest.HTTPServer(h, log)
		servers = append(servers, s)
		go func() { ended <- s.Serve(l) }()
	}
	var err error
	select {
	case <-ctx.Done():
		log.Info().Msg("stopping: answering the webhooks under way")
	case err = <-ended:
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	for _, s := range servers {
		err = errors.Join(err, s.Shutdown(drain))
	}
	log.Info().Msg("stopped")
	return err
}
