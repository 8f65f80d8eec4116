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
	"github.com/tollbridge/tollbridge/publish"
)

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Take webhooks and publish them to Kafka",
		Long: `Take webhooks and publish them to Kafka.

The topics must be there: see 'tollbridge topics apply'. serve does not start
when one is missing or has another number of partitions than configured, and
warns where durability is weaker than asked for.

SIGTERM or an interrupt ends it in this order: /readyz says 503, the listener of
the webhooks takes no more and answers those under way, what was sent to Kafka is
settled, and the admin listener ends last. SIGHUP is ignored.`,
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
			defer ignoreHangup(log)()
			for _, warning := range cfg.exposed() {
				log.Warn().Msg(warning)
			}
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
	producer, err := cfg.producer()
	if err != nil {
		return err
	}
	findings, err := cfg.layout().Plan(ctx, producer.Kafka)
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
//	producer ──▶ history ──▶ ingest ──▶ admin ──▶ webhooks, until ctx is done
//
// It ends in reverse, but for the admin listener, which is to be seen until all
// else has ended. Tap, if it is not nil, stands between ingest and the producer.
func serve(ctx context.Context, cfg config, l listeners, log zerolog.Logger, tap func(history.Publisher) history.Publisher) (err error) {
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
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	writing.Metrics, writing.Log = metrics, log
	var admin *listening
	defer func() {
		_ = admin.end(ctx, adminTime) // a profile that is being taken is cut
		log.Info().Msg("stopped")
	}()
	producer := publish.NewProducer(writing)
	defer producer.Close()
	var publisher history.Publisher = producer
	if tap != nil {
		publisher = tap(producer)
	}

	names := cfg.layout().Names
	memory, err := history.Open(ctx, history.Config{Dir: cfg.State, MinFree: cfg.StateMinFree, Kafka: writing.Kafka, Names: names, Publisher: publisher, Log: log, Metrics: metrics})
	if err != nil {
		return err
	}
	defer memory.Close()
	producer.SetLogReader(memory)
	memory.Await(ctx, readBackTime)
	settings.Publisher, settings.History, settings.Names = publisher, memory, names
	settings.Ready = func(ctx context.Context) error {
		return errors.Join(memory.Ready(), producer.Ready(ctx, names.All()))
	}
	settings.Log, settings.Metrics = log, metrics
	server, err := ingest.New(settings)
	if err != nil {
		return err
	}
	log.Info().Stringer("listen", l.webhooks.Addr()).Stringer("admin", l.admin.Addr()).Int("endpoints", len(settings.Endpoints)).
		Strs("brokers", cfg.Kafka.Brokers).Str("version", version()).Msg("serving")
	admin = listen(l.admin, server.Admin(metrics), log)
	webhooks := listen(server.Listener(l.webhooks), server, log)
	select {
	case <-ctx.Done():
		log.Info().Msg("stopping: not ready any more, answering the webhooks under way")
	case err = <-webhooks.failed:
	case err = <-admin.failed:
	}
	server.Stop()
	err = errors.Join(err, webhooks.end(ctx, drainTime))
	log.Info().Msg("webhooks answered; settling what was sent to Kafka")
	return err
}

// ignoreHangup keeps the process alive on SIGHUP, which is sent for a reload or
// by a terminal that closes, and says so in the log. It returns what ends that.
func ignoreHangup(log zerolog.Logger) (end func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		for range hangup {
			log.Warn().Msg("SIGHUP ignored: the configuration is read at the start; restart to have it read again")
		}
	}()
	return func() {
		signal.Stop(hangup)
		close(hangup)
	}
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

// adminTime is the same for requests to the admin listener.
const adminTime = 2 * time.Second

// listening is a server at a listener.
type listening struct {
	server *http.Server
	failed chan error // has a place for the error that it ended with
}

// listen serves at a listener until [listening.end].
func listen(l net.Listener, h http.Handler, log zerolog.Logger) *listening {
	s := &listening{server: ingest.HTTPServer(h, log), failed: make(chan error, 1)}
	go func() { s.failed <- s.server.Serve(l) }()
	return s
}

// end takes nothing new and returns once the requests under way are answered, or
// cut after a while. A nil listening never began.
func (s *listening) end(ctx context.Context, within time.Duration) error {
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
