package publish

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/initproducerid"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// producerID is a producer id and its epoch, as Kafka assigns them. The zero value
// means that there is none.
type producerID struct {
	id       int64
	epoch    int16
	assigned bool
}

// ids manages the producer id in use. A partition without an id uses the current one,
// and keeps it until the partition's sequence is broken. Then the current id is
// discarded, and the next request gets a new one. Other partitions keep the former id:
// without transactions, an id is valid in a partition as long as its sequence there is.
//
// If Kafka assigns none, the request is repeated at intervals that grow from
// [kafka.ProducerIDMinBackoff] to [kafka.ProducerIDMaxBackoff], by one broker's sender
// at a time, also while no call publishes.
type ids struct {
	requesting sync.Mutex // held while one is requested
	current    atomic.Pointer[producerID]
	requested  atomic.Bool                      // an id is requested even if there is nothing to send
	answered   chan struct{}                    // closed when Kafka has answered for the first time
	outage     atomic.Pointer[producerIDOutage] // nil: the last answer had an id
	metrics    *metrics
	log        zerolog.Logger
	lock       *Lock // nil: the producer requests an id of its own
}

// producerIDOutage says for how long and why Kafka has assigned no producer id.
type producerIDOutage struct {
	since, retry time.Time // retry: the time of the next request
	tries        int
	err          error
}

// get returns the current id, and requests one from the broker if there is none. The
// request goes to the broker directly: kafka-go's client would look for a transaction
// coordinator first, which creates the coordinator's topic. If broken is true, the
// connection must be closed.
func (i *ids) get(c *kafka.Conn) (_ producerID, broken bool, err error) {
	if i.lock != nil {
		id, err := i.lock.id()
		return id, false, err
	}
	if id := i.current.Load(); id != nil {
		return *id, false, nil
	}
	i.requesting.Lock()
	defer i.requesting.Unlock()
	if id := i.current.Load(); id != nil {
		return *id, false, nil
	}
	before := i.outage.Load()
	if before != nil && time.Now().Before(before.retry) {
		return producerID{}, false, before.err
	}
	i.requested.Store(true)
	defer i.signalAnswer()
	word := "connection"
	m, err := c.RoundTrip(&initproducerid.Request{ProducerID: -1, ProducerEpoch: -1}, kafka.RequestTimeout)
	if err != nil {
		broken = true
	} else if r := m.(*initproducerid.Response); r.ErrorCode != 0 {
		err = kafkago.Error(r.ErrorCode)
		word = errorLabel(kafkago.Error(r.ErrorCode))
	} else {
		id := producerID{id: r.ProducerID, epoch: r.ProducerEpoch, assigned: true}
		i.current.Store(&id)
		i.outage.Store(nil)
		i.metrics.ids.Inc()
		if before != nil {
			i.log.Info().Dur("after", time.Since(before.since)).Msg("kafka gives a producer id again")
		}
		return id, false, nil
	}
	i.metrics.idFailures.WithLabelValues(word).Inc()
	now := time.Now()
	o := &producerIDOutage{since: now, tries: 1, err: explainNoProducerID(err)}
	if before != nil {
		o.since, o.tries = before.since, before.tries+1
	}
	o.retry = now.Add(min(kafka.ProducerIDMinBackoff<<min(o.tries-1, 10), kafka.ProducerIDMaxBackoff))
	i.outage.Store(o)
	if before == nil {
		i.log.Error().Err(o.err).Msg("nothing can be published without a producer id; asking again")
	}
	return producerID{}, broken, o.err
}

// explainNoProducerID returns an error that says why there is no producer id, and what
// to do if that is known.
func explainNoProducerID(why error) error {
	switch {
	case errors.Is(why, kafkago.ClusterAuthorizationFailed), errors.Is(why, kafkago.TopicAuthorizationFailed), errors.Is(why, kafkago.TransactionalIDAuthorizationFailed):
		// https://cwiki.apache.org/confluence/display/KAFKA/KIP-679%3A+Producer+will+enable+the+strongest+delivery+guarantee+by+default
		return fmt.Errorf("kafka gives no producer id: %w: grant tollbridge's user the operation Write on its topics, and before Kafka 2.8 IdempotentWrite on the cluster", why)
	default:
		return fmt.Errorf("kafka gives no producer id: %w", why)
	}
}

// signalAnswer closes answered. The caller holds the lock requesting.
func (i *ids) signalAnswer() {
	select {
	case <-i.answered:
	default:
		close(i.answered)
	}
}

// due reports whether an id should be requested now, even if there is nothing to send.
func (i *ids) due() bool {
	return i.lock == nil && i.current.Load() == nil && i.requested.Load() && i.retryIn() <= 0
}

// retryIn returns the time until the next request for an id may be sent.
func (i *ids) retryIn() time.Duration {
	if o := i.outage.Load(); o != nil {
		return time.Until(o.retry)
	}
	return 0
}

// checkAvailable returns an error if Kafka has assigned no id since limit or longer.
func (i *ids) checkAvailable(limit time.Time) error {
	if i.lock != nil && i.lock.ctx.Err() != nil {
		return context.Cause(i.lock.ctx)
	}
	if o := i.outage.Load(); o != nil && !o.since.After(limit) {
		return fmt.Errorf("%w (since %s)", o.err, o.since.UTC().Format(time.TimeOnly))
	}
	return nil
}

// discard makes the next get request a new id, if the given one is current.
func (i *ids) discard(id producerID) {
	if i.lock != nil && id.assigned {
		i.lock.cancel(ErrLockLost) // a lock's holder has only this one id
	}
	if now := i.current.Load(); now != nil && *now == id {
		i.current.CompareAndSwap(now, nil)
	}
}
