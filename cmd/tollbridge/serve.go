package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/console"
	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/gaps"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/registry"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/webhook"
)

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the server: receive webhooks and publish their events to Kafka",
		Long: `Run the server: receive webhooks, verify and normalise them, and publish their
events to Kafka.

The server waits until Kafka and, if one is configured, the Schema Registry can
be reached; /readyz and webhooks are answered 503 meanwhile. The topics of the
events that the endpoints can report must exist: see 'tollbridge topics apply'.
The server exits if one is missing, or if the topics have different numbers of
partitions or not the configured one. It warns if a topic is less durable than
configured.

The configuration is read again at SIGHUP, and when one of its files changes:
the configuration file, files with secrets, certificates and keys. Endpoints,
public_url, merchant_id_keys, log_level, kafka.tls, kafka.sasl,
console.password and console.proxy are replaced at once. The log says which
other changes need a restart, and when a removed secret last matched. A wrong
configuration is refused, and the former one stays in use.

OpenTelemetry traces are exported if OTEL_EXPORTER_OTLP_ENDPOINT or
OTEL_TRACES_EXPORTER=otlp asks for them; the other OTEL_ variables apply.

SIGTERM or Ctrl-C stops the server in this order: /readyz answers 503, and
webhooks are accepted for shutdown_delay more; the webhook listener closes, and
requests in progress are answered; the producer waits for the answers to its
requests; the admin listener closes.`,
		Example: `  tollbridge topics apply --config tollbridge.yaml
  tollbridge serve --config tollbridge.yaml`,
		RunE: func(c *cobra.Command, _ []string) error {
			read := func() (config, error) { return loadServeConfig(c) }
			cfg, seen, err := readStable(read)
			if err != nil {
				return err
			}
			if len(cfg.Endpoints) == 0 {
				return usage("there are no endpoints: add at least one to the configuration file (--config)")
			}
			setLogLevel(cfg.LogLevel)
			log := logger(c.ErrOrStderr(), "debug")
			hangup, restore := notifyHangup()
			defer restore()
			endpoints, err := cfg.endpoints()
			if err != nil {
				return err
			}
			for _, warning := range cfg.warnings(endpoints) {
				log.Warn().Msg(warning)
			}
			l, err := cfg.open()
			if err != nil {
				return err
			}
			return serve(c.Context(), cfg, l, log, hooks{}, &reloader{read: read, hangup: hangup, applied: cfg, files: cfg.files(), seen: seen})
		},
	}
	configFlags(c)
	return c
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

// serve runs the server until ctx is done. It starts the parts in this order:
//
//	producer ──▶ ingest ──▶ admin listener ──▶ history ──▶ webhook listener
//
// The history needs Kafka. If it has none after [restoreTime], the webhook listener is
// opened, and webhooks are answered 503. The parts are stopped in reverse, except that
// the admin listener closes last: probes and metrics work until then. The reloader
// changes the configuration; nil changes nothing.
func serve(ctx context.Context, cfg config, l listeners, log zerolog.Logger, dev hooks, reload *reloader) (err error) {
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
	writing.Kafka.Renewed = new(atomic.Pointer[kafka.Security])
	writing.Kafka.Renewed.Store(&kafka.Security{TLS: writing.Kafka.TLS, SASL: writing.Kafka.SASL})
	var admin *httpServer
	defer func() {
		_ = admin.end(ctx, adminDrainTime) // aborts a profile in progress
		log.Info().Msg("stopped")
	}()
	traces, err := startTraces(ctx, log)
	if err != nil {
		return err
	}
	defer traces.close(ctx)
	producer := publish.NewProducer(writing)
	defer producer.Close()
	var publisher history.Publisher = producer
	if dev.publisher != nil {
		publisher = dev.publisher(producer)
	}

	opening := &opening{layout: cfg.layout(), schemaIDs: cfg.withSchemaIDs, producer: producer, writing: writing, log: log, config: history.Config{
		Dir: cfg.State, MinFree: cfg.StateMinFree, Kafka: writing.Kafka, Publisher: publisher, Available: producer.Available, Log: log, Metrics: metrics,
	}}
	settings.Publisher, settings.Starting, settings.Names, settings.Ready = publisher, true, cfg.layout().Names, opening.ready
	settings.Log, settings.Metrics, settings.Tracer = log, metrics, traces.tracer()
	reader := consume.New(writing.Kafka)
	reader.GiveUpAfter = kafkaTimeout
	defer reader.Close()
	var server *ingest.Server
	shown := console.Config{
		Reader: reader, Names: opening.names, Endpoints: func() []webhook.Endpoint { return server.CurrentEndpoints() },
		Where: opening.where, Topics: opening.topics, OtherReplicas: opening.otherReplicas, Connectors: describeConnectors,
		Metrics: metrics, Ready: opening.ready, Warnings: opening.warnings, Send: dev.send, Log: log,
		Client: func(r *http.Request) netip.Addr { return server.Client(r) }, MaxReplay: maxServerReplay,
		Open: func(ctx context.Context, o console.Opening, f func(context.Context, console.Session) error) error {
			return opening.openForConsole(ctx, cfg, reader, o, f)
		},
		Groups: consumerGroups(writing.Kafka, reader, opening.names),
	}
	if err := cfg.Console.apply(&shown); err != nil {
		return usageError{err}
	}
	pages := console.New(shown)
	settings.Console = pages
	if cfg.Console.Refused > 0 {
		settings.Refused = pages.KeepRefused
	}
	if server, err = ingest.New(settings); err != nil {
		return err
	}
	defer opening.close()
	background, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer func() { stop(); running.Wait() }()
	schedule := gaps.NewSchedule(opening.current, metrics, log)
	schedule.Set(cfg.gapsJobs(settings.Endpoints))
	running.Go(func() { schedule.Run(background) })
	if reload != nil {
		reload.schedule, reload.login = schedule, pages.SetLogin
		reload.server, reload.topics, reload.renewed, reload.log = server, opening.setTopics, writing.Kafka.Renewed, log
		reload.register(metrics)
		running.Go(func() { reload.run(background) })
	}
	running.Go(func() { server.WarnOfSilence(background) })
	running.Go(func() { pages.Run(background) })
	admin = listen(l.admin, server.Admin(metrics), log)
	opened := make(chan error, 1)
	running.Go(func() { opened <- opening.open(background, server) })
	select {
	case err = <-opened:
	case <-time.After(restoreTime):
	case err = <-admin.failed:
	case <-ctx.Done():
	}
	if err != nil || ctx.Err() != nil {
		return err
	}
	var handler http.Handler = server
	if dev.handler != nil {
		handler = dev.handler(server)
	}
	webhooks := listen(server.Listener(l.webhooks), handler, log)
	log.Info().Stringer("listen", l.webhooks.Addr()).Stringer("admin", l.admin.Addr()).Int("endpoints", len(settings.Endpoints)).
		Strs("brokers", cfg.Kafka.Brokers).Stringer("version", readBuild()).Msg("serving")
	for err == nil && ctx.Err() == nil {
		select {
		case err = <-opened:
		case err = <-webhooks.failed:
		case err = <-admin.failed:
		case <-ctx.Done():
		}
	}
	server.Stop()
	if err == nil {
		log.Info().Stringer("shutdown_delay", cfg.ShutdownDelay).Msg("stopping: /readyz answers 503, finishing the requests in progress")
		select {
		case <-time.After(cfg.ShutdownDelay):
		case err = <-webhooks.failed:
		}
	}
	err = errors.Join(err, webhooks.end(ctx, drainTime))
	log.Info().Msg("requests finished; waiting for Kafka's answers")
	return err
}

// hooks wrap parts of a server, to show what happens. Nil functions wrap nothing.
type hooks struct {
	publisher func(history.Publisher) history.Publisher // the producer
	handler   func(http.Handler) http.Handler           // of the webhooks' listener
	send      []string                                  // command lines that send webhooks, for the console
}

// opening opens the history of a server that is starting.
type opening struct {
	layout    kafka.Layout
	schemaIDs func(context.Context, kafka.Names) (kafka.Names, error) // adds the ids of the events' schemas
	config    history.Config
	producer  *publish.Producer
	writing   publish.Config // of the producer
	log       zerolog.Logger

	mu      sync.Mutex
	reason  error            // why the last attempt failed
	history *history.History // nil until an attempt succeeded
}

// open tries until Kafka and the Schema Registry answer, and then starts the server. It
// waits until the state is restored, at most for [restoreTime]. It returns nil when ctx is
// done, and an error that no further attempt can solve.
func (o *opening) open(ctx context.Context, server *ingest.Server) error {
	for ctx.Err() == nil {
		err := o.openHistory(ctx)
		switch {
		case err == nil:
			server.Start(o.history)
			o.history.Await(ctx, restoreTime)
			return nil
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, kafka.ErrUnavailable) && !errors.Is(err, registry.ErrUnavailable):
			return err
		}
		waiting := "Kafka"
		if errors.Is(err, registry.ErrUnavailable) {
			waiting = "the schema registry"
		}
		o.log.Warn().Err(err).Msgf("waiting for %s; webhooks and /readyz are answered 503", waiting)
		o.mu.Lock()
		o.reason = err
		o.mu.Unlock()
		select {
		case <-time.After(openingInterval):
		case <-ctx.Done():
		}
	}
	return nil
}

// scratchFolder returns the folder in which the server keeps the history of another
// prefix's topics during a replay to them; "" if there is no state folder. Containers have
// no other place to write to.
func scratchFolder(state string) string {
	if state == "" {
		return ""
	}
	return filepath.Join(state, "replay")
}

// openHistory checks the topics, looks up the events' schemas, and opens the history.
func (o *opening) openHistory(ctx context.Context) (err error) {
	o.mu.Lock()
	layout, config := o.layout, o.config
	o.mu.Unlock()
	if config.Names, err = checkTopics(ctx, layout, config.Kafka, func(topic, drift string) { o.log.Warn().Str("topic", topic).Msg(drift) }); err != nil {
		return err
	}
	if config.Names, err = o.schemaIDs(ctx, config.Names); err != nil {
		return err
	}
	h, err := history.Open(ctx, config)
	if err != nil {
		return err
	}
	if left := scratchFolder(config.Dir); left != "" { // by a crash during a replay; the history has the lock on the state folder
		if err := os.RemoveAll(left); err != nil {
			o.log.Warn().Err(err).Msg("the folder of an interrupted replay cannot be removed")
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.Equal(o.layout.Events(), layout.Events()) {
		return errors.Join(fmt.Errorf("%w: the endpoints changed meanwhile", kafka.ErrUnavailable), h.Close())
	}
	o.producer.SetLogReader(h)
	o.config, o.history = config, h
	return nil
}

// setTopics sets the topics that a changed configuration needs. Once the history is open,
// it returns an error if one of them is not followed.
func (o *opening) setTopics(names kafka.Names) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.history == nil {
		o.layout.Names = names
		return nil
	}
	followed := o.config.Names.Events()
	if more := slices.DeleteFunc(names.Events(), func(topic string) bool { return slices.Contains(followed, topic) }); len(more) > 0 {
		return fmt.Errorf("its endpoints can report events for topics that did not exist at the start: %s; create them with 'tollbridge topics apply' and restart", strings.Join(more, ", "))
	}
	return nil
}

// ready returns why webhooks cannot be acknowledged; nil if they can.
func (o *opening) ready(ctx context.Context) error {
	h, names, err := o.current()
	if err != nil {
		return err
	}
	return errors.Join(h.Ready(), o.producer.Ready(ctx, names.All()))
}

// current returns the history and the names of the topics, or why they are not known yet.
func (o *opening) current() (*history.History, kafka.Names, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.history != nil:
		return o.history, o.config.Names, nil
	case o.reason != nil:
		return nil, o.config.Names, o.reason
	}
	return nil, o.config.Names, errNotChecked
}

// errNotChecked is the reason until the first attempt to reach Kafka ends.
var errNotChecked = fmt.Errorf("%w: the topics have not been checked yet", kafka.ErrUnavailable)

// names returns the names of the topics, or why they are not known yet.
func (o *opening) names() (kafka.Names, error) {
	_, names, err := o.current()
	return names, err
}

// where is [history.History.Where].
func (o *opening) where(_ context.Context, ids []string) (history.Place, error) {
	h, _, err := o.current()
	if err != nil {
		return history.Place{}, err
	}
	return h.Where(ids...)
}

// openForConsole is [console.Config.Open], with the server's history.
func (o *opening) openForConsole(ctx context.Context, cfg config, reader *consume.Reader, how console.Opening, f func(context.Context, console.Session) error) error {
	h, names, err := o.current()
	if err != nil {
		return err
	}
	s := kafkaSession{config: cfg, names: names, reader: reader, producer: o.writing, scratch: scratchFolder(cfg.State)}
	s.producer.Metrics = nil // those of the server's producer are registered
	return s.openForConsole(ctx, how, func(context.Context, kafkaSession, history.Publisher) (*history.History, func(), error) {
		return h, func() {}, nil
	}, f)
}

// warnings are those of the history; none until it is open.
func (o *opening) warnings() []string {
	h, _, err := o.current()
	if err != nil {
		return nil
	}
	return h.Warnings()
}

// otherReplicas is [history.History.OtherReplicas].
func (o *opening) otherReplicas() int {
	h, _, err := o.current()
	if err != nil {
		return 0
	}
	return h.OtherReplicas()
}

// topics compares the topics with the configuration.
func (o *opening) topics(ctx context.Context) ([]kafka.TopicStatus, error) {
	o.mu.Lock()
	layout, to := o.layout, o.config.Kafka
	o.mu.Unlock()
	return layout.Plan(ctx, to)
}

// close closes the history, if it was opened. Open must have returned.
func (o *opening) close() {
	if o.history != nil {
		_ = o.history.Close()
	}
}

// openingInterval is the time between two attempts to reach Kafka at the start.
const openingInterval = 3 * time.Second

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
