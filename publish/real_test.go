package publish

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/tollbridge/tollbridge/internal/kafkatest"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// TestReal connects to a real broker with TLS, mutual TLS and each SASL mechanism,
// publishes with each compression, and checks that wrong credentials are refused. The
// first bootstrap address is always one where nothing listens.
func TestReal(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	a.issue("client", nil)
	other.issue("client", nil)
	cluster := kafkatest.Start(t, secured(a))
	plain := Config{Kafka: kafka.Config{Brokers: cluster.Bootstrap()}}
	client, hangUp := plain.Kafka.Client()
	defer hangUp()
	_, err := client.CreateTopics(t.Context(), &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{{Topic: "a", NumPartitions: 1, ReplicationFactor: 1}}})
	a.must(err)
	written := 0
	for _, test := range []struct {
		name, listener string
		ca, cert       string // file names without their extensions; ca empty: no TLS
		user, password string // the user name is the mechanism
		codec          kafkago.Compression
		refused        string // part of the error; empty: no error
		hint           string // what the error of [kafka.Config.Check] says to change
	}{
		{name: "plain"},
		{name: "gzip", codec: kafkago.Gzip},
		{name: "snappy", codec: kafkago.Snappy},
		{name: "lz4", codec: kafkago.Lz4},
		{name: "zstd", codec: kafkago.Zstd},
		{name: "TLS", listener: "OPEN", ca: a.file("ca"), codec: kafkago.Zstd},
		{name: "mutual TLS", listener: "MUTUAL", ca: a.file("ca"), cert: a.file("client"), codec: kafkago.Lz4},
		{name: "PLAIN", listener: "USERS", ca: a.file("ca"), user: "PLAIN", password: "secret", codec: kafkago.Gzip},
		{name: "SCRAM-SHA-256", listener: "USERS", ca: a.file("ca"), user: "SCRAM-SHA-256", password: "secret", codec: kafkago.Snappy},
		{name: "SCRAM-SHA-512", listener: "USERS", ca: a.file("ca"), user: "SCRAM-SHA-512", password: "secret"},

		{name: "wrong authority", listener: "OPEN", ca: other.file("ca"), refused: "unknown authority", hint: "set kafka.tls.ca"},
		{name: "no certificate", listener: "MUTUAL", ca: a.file("ca"), refused: "certificate", hint: "kafka.tls.cert"},
		{name: "a stranger's certificate", listener: "MUTUAL", ca: a.file("ca"), cert: other.file("client"), refused: "certificate", hint: "kafka.tls.cert"},
		{name: "TLS where there is none", ca: a.file("ca"), refused: "tls", hint: "remove kafka.tls"},
		{name: "no kafka.TLS where there is", listener: "OPEN", refused: "requesting its API versions", hint: "the port speaks TLS: set kafka.tls"},
		{name: "no SASL where there is", listener: "USERS", ca: a.file("ca"), refused: "broker", hint: "the port wants SASL: set kafka.sasl"},
		{name: "SASL where there is none", listener: "OPEN", ca: a.file("ca"), user: "PLAIN", password: "secret", refused: "sasl PLAIN: ", hint: "remove kafka.sasl"},
		{name: "PLAIN, wrong password", listener: "USERS", ca: a.file("ca"), user: "PLAIN", password: "wrong", refused: "sasl PLAIN: ", hint: "check kafka.sasl"},
		{name: "SCRAM-SHA-256, wrong password", listener: "USERS", ca: a.file("ca"), user: "SCRAM-SHA-256", password: "wrong", refused: "sasl SCRAM-SHA-256: "},
		{name: "SCRAM-SHA-512, wrong password", listener: "USERS", ca: a.file("ca"), user: "SCRAM-SHA-512", password: "wrong", refused: "sasl SCRAM-SHA-512: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Config{Kafka: kafka.Config{Brokers: []string{"127.0.0.1:1"}, ClientID: "bridge"}, Compression: test.codec}
			c.Kafka.Brokers = append(c.Kafka.Brokers, cluster.Listener(test.listener)...)
			if test.listener == "" {
				c.Kafka.Brokers = append(c.Kafka.Brokers, cluster.Bootstrap()...)
			}
			if test.ca != "" {
				cert, key := "", ""
				if test.cert != "" {
					cert, key = test.cert+".pem", test.cert+".key"
				}
				c.Kafka.TLS, err = kafka.TLS(test.ca+".pem", cert, key, "")
				a.must(err)
			}
			if test.user != "" {
				c.Kafka.SASL, err = kafka.SASL(test.user, "bridge", test.password)
				a.must(err)
			}
			if err := c.Kafka.Check(kafkatest.Within(t, 10*time.Second)); (err != nil) != (test.hint+test.refused != "") || err != nil && !strings.Contains(err.Error(), test.hint) {
				t.Errorf("Check: %v, want %q", err, test.hint)
			}
			ctx := kafkatest.Within(t, 5*time.Second)
			r := kafka.Record{Topic: "a", Key: []byte(test.name), Value: bytes.Repeat([]byte(test.name), 100)}
			receipts, err := start(t, c).Publish(ctx, []kafka.Record{r})
			if test.refused != "" {
				if !errors.Is(err, kafka.ErrUnavailable) || !strings.Contains(err.Error(), test.refused) || ctx.Err() != nil {
					t.Errorf("got %v, want an error with %q before the deadline", err, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			written++
			hold(t, c, receipts[0], r, test.codec)
		})
	}
	if got := readBack(t, plain, "a", 1); len(got) != written {
		t.Errorf("%d records written, want the %d that have a receipt", len(got), written)
	}
}

// secured returns a broker with listeners for TLS, mutual TLS, and SASL over TLS.
func secured(a *authority) kafkatest.Options {
	a.broker()
	var both []byte
	for _, name := range []string{"broker.key", "broker.pem"} {
		text, err := os.ReadFile(a.file(name))
		a.must(err)
		both = append(both, text...)
	}
	a.must(os.WriteFile(a.file("keystore.pem"), both, 0o600))
	listener := func(name, protocol string, more ...string) kafkatest.Listener {
		s := map[string]string{
			"ssl.keystore.type": "PEM", "ssl.keystore.location": a.file("keystore.pem"),
			"ssl.truststore.type": "PEM", "ssl.truststore.location": a.file("ca.pem"),
		}
		for i := 0; i < len(more); i += 2 {
			s[more[i]] = more[i+1]
		}
		return kafkatest.Listener{Name: name, Protocol: protocol, Settings: s}
	}
	const security = "org.apache.kafka.common.security."
	return kafkatest.Options{
		Users: map[string]string{"bridge": "secret"},
		Listeners: []kafkatest.Listener{
			listener("OPEN", "SSL"),
			listener("MUTUAL", "SSL", "ssl.client.auth", "required"),
			listener("USERS", "SASL_SSL",
				"sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
				"plain.sasl.jaas.config", security+`plain.PlainLoginModule required user_bridge="secret";`,
				"scram-sha-256.sasl.jaas.config", security+"scram.ScramLoginModule required;",
				"scram-sha-512.sasl.jaas.config", security+"scram.ScramLoginModule required;"),
		},
	}
}

// hold checks that the record is at its receipt's offset, in a batch with the
// configured compression. It reads with the same connection settings.
func hold(t *testing.T, c Config, at kafka.Receipt, want kafka.Record, codec kafkago.Compression) {
	t.Helper()
	c.Kafka.Brokers = c.Kafka.Brokers[1:] // kafka-go picks one of the addresses at random
	client, hangUp := c.Kafka.Client()
	defer hangUp()
	r, err := client.Fetch(kafkatest.Within(t, 10*time.Second), &kafkago.FetchRequest{Topic: at.Topic, Partition: at.Partition, Offset: at.Offset, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second})
	if err == nil {
		err = r.Error
	}
	if err != nil {
		t.Fatal(err)
	}
	batch := r.Records.(*protocol.RecordStream).Records[0].(*protocol.RecordBatch)
	if got := batch.Attributes.Compression(); got != compress.Compression(codec) {
		t.Errorf("the batch is compressed with %q, want %q", got, codec)
	}
	rec, err := batch.ReadRecord()
	if err != nil {
		t.Fatal(err)
	}
	if rec.Offset != at.Offset || !bytes.Equal(bytesOf(t, rec.Key), want.Key) || !bytes.Equal(bytesOf(t, rec.Value), want.Value) {
		t.Errorf("the record at %+v has another value: offset %d", at, rec.Offset)
	}
}
