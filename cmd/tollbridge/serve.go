package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
)

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the server: receive webhooks and publish their events to Kafka",
		Long: `Run the server: receive webhooks, verify and normalise them, and publish their
events to Kafka.

The topics of the events that the endpoints can report must exist: see
'tollbridge topics apply'. The server does not start if one is missing, or if
the topics have different numbers of partitions or not the configured one. It
warns if a topic is less durable than configured.

SIGTERM or Ctrl-C stops the server in this order: /readyz answers 503; the
webhook listener closes, and requests in progress are answered; the producer
waits for the answers to its requests; the admin listener closes. SIGHUP is
ignored.`,
		Example: `  tollbridge topics apply --config tollbridge.yaml
  tollbridge serve --config tollbridge.yaml`,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(c)
			if err != nil {
				return err
			}
			if len(cfg.Endpoints) == 0 {
				return usage("there are no endpoints: add at least one to the configuration file (--config)")
			}
			log := logger(c.ErrOrStderr(), cfg.LogLevel)
			defer ignoreHangup(log)()
			endpoints, err := cfg.endpoints()
			if err != nil {
				return err
			}
			for _, warning := range append(cfg.permissionWarnings(), settingWarnings(endpoints)...) {
				log.Warn().Msg(warning)
			}
			names, err := checkTopics(c.Context(), cfg, log)
			if err != nil {
				return err
			}
			l, err := cfg.open()
			if err != nil {
				return err
			}
			return serve(c.Context(), cfg, names, l, log, nil)
		},
	}
	configFlags(c)
	return c
}

// checkTopics returns the names of the topics, with the event types whose topics exist.
// It returns an error if a topic is missing or events could be lost in it, and logs a
// warning if its settings differ from the configuration.
func checkTopics(ctx context.Context, cfg config, log zerolog.Logger) (kafka.Names, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	layout := cfg.layout()
	producer, err := cfg.producer()
	if err != nil {
		return layout.Names, err
	}
	findings, err := layout.Plan(ctx, producer.Kafka)
	if err != nil {
		return layout.Names, fmt.Errorf("checking the topics: %w", err)
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
		errs = append(errs, fmt.Errorf("topics are missing: %s; create them with 'tollbridge topics apply' and the same configuration", strings.Join(missing, ", ")))
	}
	return layout.In(findings), errors.Join(errs...)
}

// listeners are the server's two listeners: for webhooks, and for metrics, probes
// and administration.
type listeners struct{ webhooks, admin net.Listener }

// open listens at both addresses. It is called before anything else is started, so that
// nothing runs if an address is in use.
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

// serve runs the server until ctx is done. It starts the parts in the order of
// their dependencies:
//
//	producer ──▶ history ──▶ ingest ──▶ admin listener ──▶ webhook listener
//
// and stops them in reverse, except that the admin listener closes last: probes and
// metrics work until then. Names are those of existing topics. Tap wraps the producer, if
// it is not nil.
func serve(ctx context.Context, cfg config, names kafka.Names, l listeners, log zerolog.Logger, tap func(history.Publisher) history.Publisher) (err error) {
	defer l.close()
	settings, err := cfg.server()
	if err != nil {
		return err
	}
	writing, err := cfg.producer()
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), readBuild().metric())
	writing.Metrics, writing.Log = metrics, log
	var admin *httpServer
	defer func() {
		_ = admin.end(ctx, adminDrainTime) // aborts a profile in progress
		log.Info().Msg("stopped")
	}()
	producer := publish.NewProducer(writing)
	defer producer.Close()
	var publisher history.Publisher = producer
	if tap != nil {
		publisher = tap(producer)
	}

	published, err := history.Open(ctx, history.Config{Dir: cfg.State, MinFree: cfg.StateMinFree, Kafka: writing.Kafka, Names: names, Publisher: publisher, Log: log, Metrics: metrics})
	if err != nil {
		return err
	}
	defer published.Close()
	producer.SetLogReader(published)
	published.Await(ctx, restoreTime)
	settings.Publisher, settings.History, settings.Names = publisher, published, names
	settings.Ready = func(ctx context.Context) error {
		return errors.Join(published.Ready(), producer.Ready(ctx, names.All()))
	}
	settings.Log, settings.Metrics = log, metrics
	server, err := ingest.New(settings)
	if err != nil {
		return err
	}
	log.Info().Stringer("listen", l.webhooks.Addr()).Stringer("admin", l.admin.Addr()).Int("endpoints", len(settings.Endpoints)).
		Strs("brokers", cfg.Kafka.Brokers).Stringer("version", readBuild()).Msg("serving")
	go server.WarnOfSilence(ctx)
	admin = listen(l.admin, server.Admin(metrics), log)
	webhooks := listen(server.Listener(l.webhooks), server, log)
	select {
	case <-ctx.Done():
		log.Info().Msg("stopping: /readyz answers 503, finishing the requests in progress")
	case err = <-webhooks.failed:
	case err = <-admin.failed:
	}
	server.Stop()
	err = errors.Join(err, webhooks.end(ctx, drainTime))
	log.Info().Msg("requests finished; waiting for Kafka's answers")
	return err
}

// ignoreHangup logs and ignores SIGHUP, which is sent to ask for a reload, or by a
// terminal that closes. It returns a function that restores the default.
func ignoreHangup(log zerolog.Logger) (restore func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		for range hangup {
			log.Warn().Msg("SIGHUP ignored: the configuration is only read at the start; restart to apply changes")
		}
	}()
	return func() {
		signal.Stop(hangup)
		close(hangup)
	}
}

// gcPercent is the value of GOGC if the environment does not set it. A webhook leaves
// hardly anything on the heap, so less frequent collections cost little memory.
const gcPercent = 300

// restoreTime is how long the start waits for the state to be restored. If that
// takes longer, webhooks are answered 503 until it is done.
const restoreTime = 3 * time.Second

// drainTime is how long the stop waits for webhooks in progress. It is longer than
// the longest deadline.
const drainTime = 40 * time.Second

// adminDrainTime is how long the stop waits for requests to the admin listener.
const adminDrainTime = 2 * time.Second

// httpServer is a running HTTP server.
type httpServer struct {
	server *http.Server
	failed chan error // receives the error with which the server stopped; buffered
}

// listen serves requests of a listener until [httpServer.end].
func listen(l net.Listener, h http.Handler, log zerolog.Logger) *httpServer {
	s := &httpServer{server: ingest.HTTPServer(h, log), failed: make(chan error, 1)}
	go func() { s.failed <- s.server.Serve(l) }()
	return s
}

// end closes the listener and waits for the requests in progress; it aborts those that
// take longer than within. A nil server was never started.
func (s *httpServer) end(ctx context.Context, within time.Duration) error {
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		_ = s.server.Close()
	}
	return err
}
