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

// producerID is what a broker knows a producer by. The zero value is none.
type producerID struct {
	id    int64
	epoch int16
	assigned bool
}

// ids is the producer id in use. Partitions take it when they have none, and
// keep it until it ends for them; then the next who asks gets a new one. Those
// who still have the former go on with it: an id without transactions is good
// as long as its sequences are, partition by partition.
//
// Where Kafka gives none it is asked again at intervals that grow from
// [minIDRetry] to [maxIDRetry], by one broker's sender at a time, also while
// nobody publishes.
type ids struct {
	requesting  sync.Mutex // held while one is asked for
	current atomic.Pointer[producerID]
	requested  atomic.Bool               // one is asked for even if there is nothing to send
	answered   chan struct{}             // closed when Kafka has answered for the first time
	outage  atomic.Pointer[producerIDOutage] // nil: the last answer was an id
	metrics *metrics
	log     zerolog.Logger
	lock    *Lock // nil: any id is good
}

// idsOutage is since when and why Kafka gives no producer id.
type producerIDOutage struct {
	since, retry time.Time // retry: not to be asked before
	tries        int
	err          error
}

const (
	minIDRetry = 100 * time.Millisecond
	maxIDRetry = 2 * time.Second
)

// get returns the id in use, and asks the broker for one if there is none. It
// is asked directly: looking for a transaction coordinator first, as kafka-go's
// client does, would create the coordinator's topic. Broken says that the
// connection is of no use any more.
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
	o.retry = now.Add(min(minIDRetry<<min(o.tries-1, 10), maxIDRetry))
	i.outage.Store(o)
	if before == nil {
		i.log.Error().Err(o.err).Msg("nothing can be published without a producer id; asking again")
	}
	return producerID{}, broken, o.err
}

// noProducerID says why there is none, and what to do where that is known.
func explainNoProducerID(why error) error {
	switch {
	case errors.Is(why, kafkago.ClusterAuthorizationFailed), errors.Is(why, kafkago.TopicAuthorizationFailed), errors.Is(why, kafkago.TransactionalIDAuthorizationFailed):
		// https://cwiki.apache.org/confluence/display/KAFKA/KIP-679%3A+Producer+will+enable+the+strongest+delivery+guarantee+by+default
		return fmt.Errorf("kafka gives no producer id: %w: grant tollbridge's user the operation Write on its topics, and before Kafka 2.8 IdempotentWrite on the cluster", why)
	default:
		return fmt.Errorf("kafka gives no producer id: %w", why)
	}
}

// hear ends what waits for the first answer. The lock asking is held.
func (i *ids) signalAnswer() {
	select {
	case <-i.answered:
	default:
		close(i.answered)
	}
}

// due reports whether one is to be asked for now, whether or not there is
// something to send.
func (i *ids) due() bool {
	return i.lock == nil && i.current.Load() == nil && i.requested.Load() && i.retryIn() <= 0
}

// wait returns for how long Kafka is not to be asked.
func (i *ids) retryIn() time.Duration {
	if o := i.outage.Load(); o != nil {
		return time.Until(o.retry)
	}
	return 0
}

// missing returns an error if there has been no id since limit.
func (i *ids) checkAvailable(limit time.Time) error {
	if i.lock != nil && i.lock.ctx.Err() != nil {
		return context.Cause(i.lock.ctx)
	}
	if o := i.outage.Load(); o != nil && !o.since.After(limit) {
		return fmt.Errorf("%w (since %s)", o.err, o.since.UTC().Format(time.TimeOnly))
	}
	return nil
}

// end makes the next get ask for a new id, if this is the one in use.
func (i *ids) discard(id producerID) {
	if i.lock != nil && id.assigned {
		i.lock.cancel(ErrLockLost) // its holder has one id and no other
	}
	if now := i.current.Load(); now != nil && *now == id {
		i.current.CompareAndSwap(now, nil)
	}
}
