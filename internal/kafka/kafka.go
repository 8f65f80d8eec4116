// Package kafka has what the producer and the consumer share: connections with TLS and
// SASL, metadata, the topics and their layout, records, and time limits.
//
// All topics have the same number of partitions. The murmur2 hash of a record's key
// selects its partition, as in the Java client: partition p of one topic has the same
// payments as partition p of every other topic, and clients in Java, librdkafka
// (murmur2_random) and franz-go choose the same partition.
package kafka

import (
	"crypto/tls"
	"errors"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
)

// Config says how to connect to a cluster. Brokers must be set.
type Config struct {
	Brokers  []string       // host:port of some of the cluster's brokers
	ClientID string         // for the brokers' logs and quotas; empty is "tollbridge"
	TLS      *tls.Config    // nil is no TLS; see [TLS]
	SASL     sasl.Mechanism // nil is no authentication; see [SASL]
	// Renewed, if it is not nil, has the values that replace TLS and SASL in new
	// connections. They can be stored while the configuration is in use.
	Renewed *atomic.Pointer[Security]
}

// Security is how connections are secured: see the fields of [Config].
type Security struct {
	TLS  *tls.Config
	SASL sasl.Mechanism
}

// security returns how a new connection is secured.
func (c Config) security() Security {
	if c.Renewed != nil {
		if s := c.Renewed.Load(); s != nil {
			return *s
		}
	}
	return Security{c.TLS, c.SASL}
}

func (c Config) clientID() string {
	if c.ClientID == "" {
		return "tollbridge"
	}
	return c.ClientID
}

// Client returns a kafka-go client for the cluster, for requests that this package does
// not implement, and a function that closes its connections.
func (c Config) Client() (*kafkago.Client, func()) {
	t := &kafkago.Transport{ClientID: c.clientID(), DialTimeout: DialTimeout, MetadataTTL: time.Second, TLS: c.TLS, SASL: c.SASL}
	if c.Renewed != nil { // the transport's own fields cannot change
		t.TLS, t.Dial = nil, c.dialSecure
		if c.SASL != nil {
			t.SASL = renewedMechanism{c}
		}
	}
	return &kafkago.Client{Addr: kafkago.TCP(c.Brokers...), Timeout: 30 * time.Second, Transport: t}, t.CloseIdleConnections
}

// Errors of the producer. After each of them the processor must deliver the webhook
// again; its events get the same ids then.
var (
	// ErrUnavailable is wrapped if Kafka did not acknowledge the records in time.
	ErrUnavailable = errors.New("kafka cannot acknowledge")
	// ErrRefused is wrapped if Kafka would refuse a record at every attempt: the record is
	// too large, its topic does not exist, or tollbridge is not permitted to write to it.
	ErrRefused = errors.New("kafka refuses the record")
	// ErrMaybeWritten is wrapped, beside one of the others, if a record with a time limit
	// ([Record.NotAfter]) was sent and may be written.
	ErrMaybeWritten = errors.New("the record may have been written")
	// ErrClosed is wrapped if the producer is closed.
	ErrClosed = errors.New("the producer is closed")
)

// TooLarge is the error for records that are larger than allowed. It wraps [ErrRefused]:
// the records are not written at any attempt.
type TooLarge struct {
	Records []int // indexes in the call of Publish; nil from [EventRecord]
	Err     error // for the first of them
}

func (t *TooLarge) Error() string { return t.Err.Error() }

// Unwrap returns [ErrRefused] and the error of the first record.
func (t *TooLarge) Unwrap() []error { return []error{ErrRefused, t.Err} }
