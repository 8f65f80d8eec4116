// Command echo is a receiver as one would write it by hand: Echo, a check of Stripe's
// signature, and a producer that waits for all in-sync replicas. It parses the webhook
// only if its records need a key or a topic of their own.
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

// record is a record to write.
type record struct {
	topic      string
	key, value []byte
}

// publish returns nil once all in-sync replicas have the records.
type publish func(ctx context.Context, records ...record) error

// reference is the path of the merchant's payment id, and event that of the event's type.
const (
	reference = "data.object.metadata.order_id"
	event     = "type"
)

// routes are tollbridge's topics of the events that the load generator sends, and archive
// is its topic of the webhooks themselves.
var routes = map[string]string{
	"payment_intent.processing":                "payment.processing",
	"payment_intent.amount_capturable_updated": "payment.authorized",
	"payment_intent.succeeded":                 "payment.captured",
}

const archive = "webhooks.received"

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address of /webhooks")
	debug := flag.String("debug", "", "address of /debug/vars and /debug/pprof")
	brokers := flag.String("brokers", "127.0.0.1:9092", "Kafka's, host:port, separated by commas")
	topic := flag.String("topic", "webhooks", "Kafka's")
	secret := flag.String("secret", "", "the endpoint's")
	producer := flag.String("producer", "franz-go", "or franz-go-1 or kafka-go")
	prefix := flag.String("prefix", "", "before the names of the topics of -equal")
	equal := flag.Bool("equal", false, "two records as tollbridge has: one in the topic of the event's type, and one in the archive, both keyed")
	keyed := flag.Bool("keyed", false, "records have the merchant's id as their key, so that a payment's are in order")
	flag.Parse()
	if *debug != "" {
		go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	}
	send, err := newProducer(*producer, strings.Split(*brokers, ","))
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
		records := make([]record, 0, 2)
		switch {
		case *equal:
			fields := gjson.GetManyBytes(body, reference, event)
			key, to := []byte(fields[0].Str), routes[fields[1].Str]
			if to == "" {
				return c.NoContent(http.StatusBadRequest)
			}
			records = append(records, record{*prefix + to, key, body}, record{*prefix + archive, key, body})
		case *keyed:
			records = append(records, record{*topic, []byte(gjson.GetBytes(body, reference).Str), body})
		default:
			records = append(records, record{*topic, nil, body})
		}
		if err := send(ctx, records...); err != nil {
			log.Print(err)
			return c.NoContent(http.StatusServiceUnavailable)
		}
		return c.NoContent(http.StatusOK)
	})
	log.Fatal(e.Start(*listen))
}

func newProducer(name string, brokers []string) (publish, error) {
	switch name {
	case "franz-go":
		return franz(brokers)
	case "franz-go-1": // the fastest setting of franz-go, which may write a record twice
		return franz(brokers, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	case "kafka-go":
		w := &kafka.Writer{Addr: kafka.TCP(brokers...), RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond}
		return func(ctx context.Context, records ...record) error {
			messages := make([]kafka.Message, len(records))
			for i, r := range records {
				messages[i] = kafka.Message{Topic: r.topic, Key: r.key, Value: r.value}
			}
			return w.WriteMessages(ctx, messages...)
		}, nil
	}
	return nil, fmt.Errorf("unknown producer %q: want franz-go, franz-go-1 or kafka-go", name)
}

// franz returns a publish function that uses franz-go, whose defaults are acks=all and
// no linger.
func franz(brokers []string, more ...kgo.Opt) (publish, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(brokers...), kgo.ProducerBatchCompression(kgo.NoCompression())}
	client, err := kgo.NewClient(append(opts, more...)...)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, records ...record) error {
		all := make([]*kgo.Record, len(records))
		for i, r := range records {
			all[i] = &kgo.Record{Topic: r.topic, Key: r.key, Value: r.value}
		}
		return client.ProduceSync(ctx, all...).FirstErr()
	}, nil
}
