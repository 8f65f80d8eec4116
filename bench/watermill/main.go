// Command watermill receives webhooks with Watermill's HTTP subscriber, verifies
// Stripe's signature, and publishes the webhooks with Watermill's Kafka publisher,
// which uses sarama and waits for all in-sync replicas.
package main

import (
	"context"
	_ "expvar" // reports allocations on the debug address
	"flag"
	"io"
	"log"
	"net/http"
	_ "net/http/pprof"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	wmhttp "github.com/ThreeDotsLabs/watermill-http/v2/pkg/http"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tollbridge/tollbridge/bench/stripe"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address of /webhooks")
	debug := flag.String("debug", "", "address of /debug/vars and /debug/pprof")
	brokers := flag.String("brokers", "127.0.0.1:9092", "Kafka's, host:port, separated by commas")
	topic := flag.String("topic", "webhooks", "Kafka's")
	secret := flag.String("secret", "", "the endpoint's")
	flag.Parse()
	if *debug != "" {
		go func() { log.Fatal(http.ListenAndServe(*debug, nil)) }()
	}
	if err := run(*listen, strings.Split(*brokers, ","), *topic, *secret); err != nil {
		log.Fatal(err)
	}
}

func run(listen string, brokers []string, topic, secret string) error {
	config := kafka.DefaultSaramaSyncPublisherConfig()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Version = sarama.V2_1_0_0
	to, err := kafka.NewPublisher(kafka.PublisherConfig{Brokers: brokers, Marshaler: kafka.DefaultMarshaler{}, OverwriteSaramaConfig: config}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	from, err := wmhttp.NewSubscriber(listen, wmhttp.SubscriberConfig{
		UnmarshalMessageFunc: func(_ string, r *http.Request) (*message.Message, error) {
			body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
			if err != nil {
				return nil, err
			}
			return message.NewMessage(watermill.NewUUID(), body), stripe.Verify(r.Header.Get(stripe.Header), body, secret, time.Now())
		},
	}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	router.AddHandler("webhooks", "/webhooks", from, topic, to, func(m *message.Message) ([]*message.Message, error) {
		return []*message.Message{m}, nil
	})
	go func() {
		<-router.Running()
		log.Fatal(from.StartHTTPServer())
	}()
	return router.Run(context.Background())
}
