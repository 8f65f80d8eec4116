package publish

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
)

// producerID is what a broker knows a producer by. The zero value is none.
type producerID struct {
	id    int64
	epoch int16
	given bool
}

// ids is the producer id in use. Partitions take it when they have none, and
// keep it until it ends for them; then the next who asks gets a new one. Those
// who still have the former go on with it: an id without transactions is good
// as long as its sequences are, partition by partition.
type ids struct {
	asking  sync.Mutex // held while one is asked for
	current atomic.Pointer[producerID]
	metrics *metrics
	lock    *Lock // nil: any id is good
}

// get returns the id in use, and asks the broker for one if there is none. It
// is asked directly: looking for a transaction coordinator first, as kafka-go's
// client does, would create the coordinator's topic.
func (i *ids) get(c *Conn) (producerID, error) {
	if i.lock != nil {
		return i.lock.id()
	}
	if id := i.current.Load(); id != nil {
		return *id, nil
	}
	i.asking.Lock()
	defer i.asking.Unlock()
	if id := i.current.Load(); id != nil {
		return *id, nil
	}
	m, err := c.Exchange(&initproducerid.Request{ProducerID: -1, ProducerEpoch: -1}, answerTime)
	if err != nil {
		return producerID{}, fmt.Errorf("asking for a producer id: %w", err)
	}
	r := m.(*initproducerid.Response)
	if r.ErrorCode != 0 {
		return producerID{}, fmt.Errorf("asking for a producer id: %w", kafka.Error(r.ErrorCode))
	}
	id := producerID{id: r.ProducerID, epoch: r.ProducerEpoch, given: true}
	i.current.Store(&id)
	i.metrics.ids.Inc()
	return id, nil
}

// end makes the next get ask for a new id, if this is the one in use.
func (i *ids) end(id producerID) {
	if i.lock != nil && id.given {
		i.lock.lose(ErrLockLost) // its holder has one id and no other
	}
	if now := i.current.Load(); now != nil && *now == id {
		i.current.CompareAndSwap(now, nil)
	}
}
