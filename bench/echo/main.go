// Command echo is a receiver as one would write it by hand: Echo, a check of Stripe's
// signature, and a producer that waits for all in-sync replicas. It parses the webhook
// only if its records need a key.
package main

import (
	"context"
	_ "expvar" // reports allocations on the debug address
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	_ "net/http/pprof"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/segmentio/kafka-go"
	"github.com/tidwall/gjson"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tollbridge/tollbridge/bench/stripe"
)

// publish returns nil once all in-sync replicas have the value.
type publish func(ctx context.Context, key, value []byte) error

// reference is the path of the merchant's payment id.
const reference = "data.object.metadata.order_id"

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address of /webhooks")
	debug := flag.String("debug", "", "address of /debug/vars and /debug/pprof")
	brokers := flag.String("brokers", "127.0.0.1:9092", "Kafka's, host:port, separated by commas")
	topic := flag.String("topic", "webhooks", "Kafka's")
	secret := flag.String("secret", "", "the endpoint's")
	producer := flag.String("producer", "franz-go", "or franz-go-1 or kafka-go")
	keyed := flag.Bool("keyed", false, "records have the merchant's id as their key, so that a payment's are in order")
	flag.Parse()
	if *debug != "" {
		go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	}
	send, err := newProducer(*producer, strings.Split(*brokers, ","), *topic)
	if err != nil {
		log.Fatal(err)
	}
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.POST("/webhooks", func(c echo.Context) error {
		body, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, 1<<20))
		if err != nil {
			return c.NoContent(http.StatusBadRequest)
		}
		if err := stripe.Verify(c.Request().Header.Get(stripe.Header), body, *secret, time.Now()); err != nil {
			return c.NoContent(http.StatusUnauthorized)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request().Context()), 4*time.Second)
		defer cancel()
		var key []byte
		if *keyed {
			key = []byte(gjson.GetBytes(body, reference).Str)
		}
		if err := send(ctx, key, body); err != nil {
			log.Print(err)
			return c.NoContent(http.StatusServiceUnavailable)
		}
		return c.NoContent(http.StatusOK)
	})
	log.Fatal(e.Start(*listen))
}

func newProducer(name string, brokers []string, topic string) (publish, error) {
	switch name {
	case "franz-go":
		return franz(brokers, topic)
	case "franz-go-1": // the fastest setting of franz-go, which may write a record twice
		return franz(brokers, topic, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	case "kafka-go":
		w := &kafka.Writer{Addr: kafka.TCP(brokers...), Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond}
		return func(ctx context.Context, key, value []byte) error {
			return w.WriteMessages(ctx, kafka.Message{Key: key, Value: value})
		}, nil
	}
	return nil, fmt.Errorf("unknown producer %q: want franz-go, franz-go-1 or kafka-go", name)
}

// franz returns a publish function that uses franz-go, whose defaults are acks=all and
// no linger.
func franz(brokers []string, topic string, more ...kgo.Opt) (publish, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression())}
	client, err := kgo.NewClient(append(opts, more...)...)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, key, value []byte) error {
		return client.ProduceSync(ctx, &kgo.Record{Key: key, Value: value}).FirstErr()
	}, nil
}
