// Package kafka is what the producer and the reader have in common: connections
// with TLS and SASL, metadata, the topics and their layout, and the records.
//
// All topics have the same number of partitions, and a record's partition is
// the murmur2 hash of its key, as the Java client computes it: partition p of
// one topic holds the same payments as partition p of every other, and clients
// in Java, librdkafka (murmur2_random) and franz-go choose the same partition.
package kafka

import (
	"crypto/tls"
	"errors"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
)

// Config is how to reach a cluster. Brokers must be set.
type Config struct {
	Brokers  []string       // host:port of some of the cluster's brokers
	ClientID string         // for the brokers' logs and quotas; empty is "tollbridge"
	TLS      *tls.Config    // nil is no TLS; see [TLS]
	SASL     sasl.Mechanism // nil is no authentication; see [SASL]
}

func (c Config) clientID() string {
	if c.ClientID == "" {
		return "tollbridge"
	}
	return c.ClientID
}

// Client returns kafka-go's client of the cluster, for requests that this
// package does not have, and a function that closes its connections.
func (c Config) Client() (*kafkago.Client, func()) {
	t := &kafkago.Transport{ClientID: c.clientID(), DialTimeout: DialTimeout, MetadataTTL: time.Second, TLS: c.TLS, SASL: c.SASL}
	return &kafkago.Client{Addr: kafkago.TCP(c.Brokers...), Timeout: 30 * time.Second, Transport: t}, t.CloseIdleConnections
}

// Errors of writing. After each of them the processor must send the webhook
// again; its events have the same ids then.
var (
	// ErrUnavailable is wrapped when Kafka did not acknowledge in time.
	ErrUnavailable = errors.New("kafka cannot acknowledge")
	// ErrRefused is wrapped when Kafka refuses a record each time: it is too
	// large, its topic does not exist, or tollbridge may not write to it.
	ErrRefused = errors.New("kafka refuses the record")
	// ErrClosed is wrapped after the producer was closed.
	ErrClosed = errors.New("the producer is closed")
)

// TooLarge is the error of records that are refused for their size. It wraps
// [ErrRefused]: they are never written.
type TooLarge struct {
	Records []int // the indexes of the records that were given to the producer; nil from [EventRecord]
	Err     error // of the first of them
}

func (t *TooLarge) Error() string { return t.Err.Error() }

// Unwrap returns [ErrRefused] and the error of the first record.
func (t *TooLarge) Unwrap() []error { return []error{ErrRefused, t.Err} }
