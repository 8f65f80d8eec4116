package publish

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// cluster is what is known of Kafka: the topics in use, their partitions'
// leaders, the brokers.
type cluster struct {
	Config
	codec   compress.Codec
	metrics *metrics
	ids     ids
	ledger  *ledger
	pendingBytes    atomic.Int64 // bytes of records not settled
	topics  atomic.Pointer[map[string]*topic]
	logReader     atomic.Pointer[LogReader] // nil: nobody reads

	ctx     context.Context
	cancel     context.CancelFunc
	running sync.WaitGroup
	refreshWanted    chan struct{} // has a place for the one message that the metadata is old

	mu      sync.Mutex
	brokers map[int32]*broker
	nextRefresh    *metadataRefresh    // the one that begins when the one under way has ended
	unreachableSince    time.Time // since when nobody answers; zero: somebody does

	control kafka.AnyBroker // the refresher's own
}

// round is one look at the metadata.
type metadataRefresh struct {
	done chan struct{}
	err  error
}

const (
	metadataAge       = 30 * time.Second       // the metadata is looked at again after that
	metadataRest      = 30 * time.Millisecond  // between one look and the next
	metadataPace      = 250 * time.Millisecond // between looks while something is wrong
	watchPace         = 50 * time.Millisecond
	defaultMaxMessage = 1048588 // Kafka's own max.message.bytes, where a topic's cannot be read
)

func newCluster(c Config) *cluster {
	m := newMetrics(c.Metrics)
	k := &cluster{
		Config: c, control: kafka.AnyBroker{Config: c.Kafka}, codec: c.Compression.Codec(), metrics: m, ids: ids{metrics: m, log: c.Log, lock: c.Lock, answered: make(chan struct{})},
		ledger: newLedger(c.RememberFor, c.RememberMax, m),
		refreshWanted:   make(chan struct{}, 1), brokers: map[int32]*broker{}, nextRefresh: &metadataRefresh{done: make(chan struct{})},
	}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.topics.Store(&map[string]*topic{})
	k.running.Go(k.refreshLoop)
	k.running.Go(k.watchPatience)
	return k
}

// stop ends all goroutines and connections.
func (k *cluster) stop() {
	k.cancel()
	k.running.Wait()
}

func (k *cluster) reserve(bytes int64) error {
	if k.pendingBytes.Add(bytes) > k.MaxBytes {
		k.pendingBytes.Add(-bytes)
		return fmt.Errorf("%w: %d bytes wait for Kafka already, and at most %d may", kafka.ErrUnavailable, k.pendingBytes.Load(), k.MaxBytes)
	}
	return nil
}

func (k *cluster) release(bytes int64) { k.pendingBytes.Add(-bytes) }

// poke has the metadata looked at soon.
func (k *cluster) triggerRefresh() {
	select {
	case k.refreshWanted <- struct{}{}:
	default:
	}
}

// nudge has all brokers' senders look at what there is to do.
func (k *cluster) wakeBrokers() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.brokers {
		b.signal()
	}
}

// refresh looks at the metadata of the topics, and of those before.
func (k *cluster) refresh(ctx context.Context, topics ...string) error {
	k.mu.Lock()
	known := *k.topics.Load()
	more := maps.Clone(known)
	for _, name := range topics {
		if more[name] == nil {
			more[name] = &topic{name: name}
			more[name].limit.Store(defaultMaxMessage)
		}
	}
	if len(more) > len(known) {
		k.topics.Store(&more)
	}
	r := k.nextRefresh
	k.mu.Unlock()
	k.triggerRefresh()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	case <-k.ctx.Done():
		return kafka.ErrClosed
	}
}

// refresher looks at the metadata when it is asked to, often while something
// is wrong, and now and then.
func (k *cluster) refreshLoop() {
	defer k.control.Close()
	pause := time.NewTimer(metadataAge)
	defer pause.Stop()
	for settings := true; ; {
		select {
		case <-k.refreshWanted:
		case <-pause.C:
			settings = true
		case <-k.ctx.Done():
			return
		}
		k.mu.Lock()
		r := k.nextRefresh
		k.nextRefresh = &metadataRefresh{done: make(chan struct{})}
		k.mu.Unlock()
		var whole bool
		whole, r.err = k.refreshMetadata(settings)
		close(r.done)
		next := metadataAge
		if settings = !whole; !whole {
			next = metadataPace
		}
		pause.Reset(next)
		select {
		case <-time.After(metadataRest):
		case <-k.ctx.Done():
		}
	}
}

// look asks somebody for the metadata and takes it in. It reports whether
// every topic is there with its leaders.
func (k *cluster) refreshMetadata(settings bool) (whole bool, err error) {
	var names []string
	for name, t := range *k.topics.Load() {
		names = append(names, name)
		settings = settings || t.parts.Load() == nil
	}
	if len(names) == 0 {
		return true, nil
	}
	m, err := k.control.Metadata(k.ctx, names)
	k.mu.Lock()
	if err == nil {
		k.unreachableSince = time.Time{}
	} else if k.unreachableSince.IsZero() {
		k.unreachableSince = time.Now()
	}
	k.mu.Unlock()
	if err != nil {
		return false, err
	}
	if settings {
		k.readLimits(names)
	}
	return k.applyMetadata(m, names), nil
}

// unreachable returns an error once no broker has answered for a while.
func (k *cluster) unreachable() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.unreachableSince.IsZero() || time.Since(k.unreachableSince) < k.Patience {
		return nil
	}
	return fmt.Errorf("%w: no broker answers since %s", kafka.ErrUnavailable, k.unreachableSince.UTC().Format(time.TimeOnly))
}

// take takes the metadata of topics in.
func (k *cluster) applyMetadata(m *metadata.Response, names []string) (whole bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	here := map[int32]*broker{}
	for _, b := range m.Brokers {
		here[b.NodeID] = k.broker(b.NodeID, kafka.Address(b))
	}
	whole = true
	topics := *k.topics.Load()
	for _, name := range names {
		i := slices.IndexFunc(m.Topics, func(t metadata.ResponseTopic) bool { return t.Name == name })
		if i < 0 {
			topics[name].setError(fmt.Errorf("topic %s: the brokers' metadata leaves it out", name)) // what was known of it stands
			whole = false
			continue
		}
		whole = k.applyTopic(topics[name], &m.Topics[i], here) && whole
	}
	return whole
}

func (k *cluster) broker(id int32, address string) *broker {
	b := k.brokers[id]
	if b == nil {
		b = &broker{cluster: k, id: id, wake: make(chan struct{}, 1)}
		k.brokers[id] = b
		k.running.Go(func() { b.run(k.ctx) })
	}
	b.mu.Lock()
	b.address = address
	b.mu.Unlock()
	return b
}

// takeTopic takes in what is said of one topic. Partitions that are gone are
// left without a leader, and kept: one that comes back goes on with its
// sequence, since the log may know the producer id.
func (k *cluster) applyTopic(t *topic, m *metadata.ResponseTopic, here map[int32]*broker) (whole bool) {
	if m.ErrorCode != 0 {
		err := fmt.Errorf("topic %s: %w", t.name, kafkago.Error(m.ErrorCode))
		t.setError(err)
		for _, p := range t.everSeen {
			p.setLeader(nil, err)
		}
		return false
	}
	if err := checkTopic(m); err != nil {
		t.setError(err) // what was known of it stands
		return false
	}
	t.err.Store(nil)
	for len(t.everSeen) < len(m.Partitions) {
		t.everSeen = append(t.everSeen, &partition{cluster: k, topic: t, number: int32(len(t.everSeen))})
	}
	now := make([]*partition, len(m.Partitions))
	whole = true
	for i := range m.Partitions {
		q := &m.Partitions[i]
		p := t.everSeen[q.PartitionIndex]
		now[q.PartitionIndex] = p
		if b := here[q.LeaderID]; b != nil {
			p.setLeader(b, nil)
		} else {
			p.setLeader(nil, kafkago.LeaderNotAvailable)
			whole = false
		}
	}
	for _, p := range t.everSeen[len(now):] {
		p.setLeader(nil, kafkago.UnknownTopicOrPartition)
	}
	t.parts.Store(&now)
	return whole
}

// checkTopic is [kafka.CheckPartitions] of a topic as brokers list it.
func checkTopic(m *metadata.ResponseTopic) error {
	all := make([]int, len(m.Partitions))
	for i := range m.Partitions {
		all[i] = int(m.Partitions[i].PartitionIndex)
	}
	return kafka.CheckPartitions(m.Name, all)
}

// readLimits reads the topics' max.message.bytes. Where that is not allowed
// Kafka's own default stands, and a larger record is the broker's to refuse.
func (k *cluster) readLimits(topics []string) {
	q := &describeconfigs.Request{}
	for _, name := range topics {
		q.Resources = append(q.Resources, describeconfigs.RequestResource{
			ResourceType: int8(kafkago.ResourceTypeTopic), ResourceName: name, ConfigNames: []string{"max.message.bytes"},
		})
	}
	m, err := k.control.RoundTrip(k.ctx, q)
	if err != nil {
		return
	}
	known := *k.topics.Load()
	for _, r := range m.(*describeconfigs.Response).Resources {
		for _, e := range r.ConfigEntries {
			n, err := strconv.Atoi(e.ConfigValue)
			if t := known[r.ResourceName]; t != nil && e.ConfigName == "max.message.bytes" && err == nil && n > 0 {
				t.limit.Store(int64(n))
				t.limitKnown.Store(true)
			}
		}
	}
}

// watch answers the callers of partitions that are hopeless.
func (k *cluster) watchPatience() {
	tick := time.NewTicker(watchPace)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			k.metrics.waiting.Set(float64(k.pendingBytes.Load()))
			if k.pendingBytes.Load() > 0 {
				k.eachPartition(func(p *partition) { p.failWaiters(now) })
			}
		case <-k.ctx.Done():
			return
		}
	}
}

// each calls do with every partition, those that are gone, too.
func (k *cluster) eachPartition(do func(*partition)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, t := range *k.topics.Load() {
		for _, p := range t.everSeen {
			do(p)
		}
	}
}
