package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/console"
	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/groups"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

func consoleCommand() *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "console",
		Short: "Show payments, webhooks and dead letters in a browser",
		Long: `Show payments, webhooks and dead letters in a browser. Type the merchant's id,
an event's id, or the processor's id of a payment, refund or dispute, and see
what every processor said about the payment, in order.

'serve' and 'dev' have the same console at /console/ of their admin address.
This command needs only Kafka. It asks the server at --admin where the events
are; if none answers, it reads the topics, which takes longer.

The section console of the configuration says who may use it, and whether it may
change something. Without a login it listens only on a loopback address: use
'ssh -L' or 'kubectl port-forward' to reach it from another machine.`,
		Example: `  tollbridge console --config tollbridge.yaml
  tollbridge console --brokers 127.0.0.1:9092 --listen 127.0.0.1:8300`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runConsole(c, listen) },
	}
	sessionFlags(c)
	f := c.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:9095", "address of the console; without a login a loopback address; port 0 chooses a free one")
	f.String("admin", "", "the server's admin address (default: admin of the configuration, or 127.0.0.1:9090)")
	return c
}

// describeConnectors returns what 'tollbridge connectors' says about each connector. It
// normalises all samples, so it does that once.
var describeConnectors = sync.OnceValues(func() (all []console.Connector, err error) {
	for _, name := range verify.Connectors() {
		i, err := infoOf(name)
		if err != nil {
			return nil, err
		}
		c := console.Connector{Name: name, Signs: i.Signs, Lines: i.lines(), JSON: i}
		for _, e := range i.EventTypes {
			c.EventTypes = append(c.EventTypes, [3]string{e.Type, joined(e.Tells), e.note()})
		}
		all = append(all, c)
	}
	return all, nil
})

// consumerGroups returns what finds the consumer groups of the topics for the console.
func consumerGroups(to kafka.Config, reader *consume.Reader, names func() (kafka.Names, error)) func(context.Context) ([]groups.Lag, bool, error) {
	return func(ctx context.Context) ([]groups.Lag, bool, error) {
		n, err := names()
		if err != nil {
			return nil, false, err
		}
		client, hangUp := to.Client()
		defer hangUp()
		return groups.Mover{Reader: reader, Client: client, Names: n}.Lags(ctx)
	}
}

func runConsole(c *cobra.Command, address string) error {
	cfg, err := loadKafkaConfig(c)
	if err != nil {
		return err
	}
	login, err := cfg.Console.login()
	if err == nil {
		err = checkHostPort("--listen", address, 0)
	}
	if err == nil {
		err = login.CheckListen("--listen", address)
	}
	var addresses ingest.Config // for the addresses of clients
	if err == nil {
		addresses.TrustedProxies, err = cfg.trustedProxies()
	}
	if err != nil {
		return usageError{err}
	}
	s, err := openSession(c, cfg)
	if err != nil {
		return err
	}
	defer s.reader.Close()
	endpoints, err := s.endpoints()
	if err != nil {
		fmt.Fprintf(c.ErrOrStderr(), "archived webhooks cannot be verified again, since the secrets of the endpoints cannot be read: %s\n", err)
		if endpoints, err = s.endpointsWithoutSecrets(); err != nil {
			return usageError{err}
		}
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	log := logger(c.ErrOrStderr(), "warn")
	shown := console.Config{
		Reader: s.reader, Names: func() (kafka.Names, error) { return s.names, nil }, Endpoints: func() []webhook.Endpoint { return endpoints },
		Where: locateAt(s.Admin), Connectors: describeConnectors, Client: addresses.Client, Log: log,
		Topics: func(ctx context.Context) ([]kafka.TopicStatus, error) { return s.layout().Plan(ctx, s.producer.Kafka) },
		Open: func(ctx context.Context, o console.Opening, f func(context.Context, console.Session) error) error {
			return s.openForConsole(ctx, o, func(ctx context.Context, w kafkaSession, to history.Publisher) (*history.History, func(), error) {
				return w.openHistory(ctx, c.ErrOrStderr(), "", to)
			}, f)
		},
		Groups: consumerGroups(s.producer.Kafka, s.reader, func() (kafka.Names, error) { return s.names, nil }),
	}
	if err := s.Console.apply(&shown); err != nil {
		return usageError{err}
	}
	shown.Refused = 0 // no webhook comes to this process
	pages := console.New(shown)
	var running sync.WaitGroup
	running.Go(func() { pages.Run(c.Context()) })
	server := listen(l, ingest.KnownHosts(s.AdminHosts, log, pages), log)
	fmt.Fprintf(c.OutOrStdout(), "open http://%s/console/ ; Ctrl-C stops\n", l.Addr())
	select {
	case <-c.Context().Done():
		running.Wait()
		return server.end(c.Context(), time.Second)
	case err := <-server.failed:
		return err
	}
}
