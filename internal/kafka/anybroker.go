package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// AnyBroker sends requests that any broker can answer. It tries first the broker that
// answered last, then the brokers in the last metadata, then those of the
// configuration. One goroutine at a time may use it. The caller must close it.
type AnyBroker struct {
	Config
	conn  *Conn
	known []string // addresses from the last metadata
}

// RoundTrip sends a request and returns the response of the first broker that answers.
func (c *AnyBroker) RoundTrip(ctx context.Context, q protocol.Message) (protocol.Message, error) {
	return roundTripAny(ctx, c, func(n *Conn) (protocol.Message, error) { return n.RoundTrip(q, RequestTimeout) })
}

// roundTripAny calls exchange with connections to one broker after the other, until it
// succeeds.
func roundTripAny[Answer any](ctx context.Context, c *AnyBroker, exchange func(*Conn) (Answer, error)) (none Answer, err error) {
	if c.conn != nil && !c.conn.Expired() {
		if m, err := exchange(c.conn); err == nil {
			return m, nil
		}
	}
	c.Close()
	var errs []error
	for _, address := range c.addresses() {
		n, err := c.Dial(ctx, address)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m, err := exchange(n)
		if err != nil {
			n.Close()
			errs = append(errs, fmt.Errorf("broker %s: %w", address, err))
			continue
		}
		c.conn = n
		return m, nil
	}
	return none, errors.Join(errs...)
}

// addresses returns the brokers to try, each once.
func (c *AnyBroker) addresses() []string {
	all := slices.Clone(c.known)
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] }) // otherwise a broker that hangs could always be the first
	for _, address := range c.Brokers {
		if !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	return all
}

// Metadata requests the metadata of topics: see [Conn.Metadata].
func (c *AnyBroker) Metadata(ctx context.Context, topics []string) (*metadata.Response, error) {
	r, err := roundTripAny(ctx, c, func(n *Conn) (*metadata.Response, error) { return n.Metadata(topics) })
	if err != nil {
		return nil, err
	}
	c.known = c.known[:0]
	for _, b := range r.Brokers {
		c.known = append(c.known, Address(b))
	}
	return r, nil
}

// Address returns the host:port of a broker.
func Address(b metadata.ResponseBroker) string {
	return net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
}

// Close closes the connection. The next request opens one to another broker.
func (c *AnyBroker) Close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}
