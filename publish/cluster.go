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

// cluster holds the metadata of Kafka: the topics in use, the leaders of their
// partitions, and the brokers.
type cluster struct {
	Config
	codec        compress.Codec
	metrics      *metrics
	ids          ids
	ledger       *ledger
	pendingBytes atomic.Int64 // bytes of records whose outcome is not known
	topics       atomic.Pointer[map[string]*topic]
	logReader    atomic.Pointer[LogReader] // nil: batches with unknown outcome are always sent again

	ctx           context.Context
	cancel        context.CancelFunc
	running       sync.WaitGroup
	refreshWanted chan struct{} // buffered, size 1: the metadata needs a refresh

	mu               sync.Mutex
	brokers          map[int32]*broker
	nextRefresh      *metadataRefresh // starts after the one in progress
	unreachableSince time.Time        // no broker has answered since then; zero: a broker answers

	control kafka.AnyBroker // used only by refreshLoop
}

// metadataRefresh is one refresh of the metadata; done is closed when it has ended.
type metadataRefresh struct {
	done chan struct{}
	err  error
}

// defaultMaxMessage is Kafka's default of max.message.bytes. It is used if a topic's
// own setting cannot be read.
const defaultMaxMessage = 1048588

func newCluster(c Config) *cluster {
	m := newMetrics(c.Metrics)
	k := &cluster{
		Config: c, control: kafka.AnyBroker{Config: c.Kafka}, codec: c.Compression.Codec(), metrics: m, ids: ids{metrics: m, log: c.Log, lock: c.Lock, answered: make(chan struct{})},
		ledger:        newLedger(c.RememberFor, c.RememberMax, m),
		refreshWanted: make(chan struct{}, 1), brokers: map[int32]*broker{}, nextRefresh: &metadataRefresh{done: make(chan struct{})},
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

// reserve accounts for bytes of records that wait, or returns an error if
// [Config.MaxBytes] would be exceeded.
func (k *cluster) reserve(bytes int64) error {
	if k.pendingBytes.Add(bytes) > k.MaxBytes {
		k.pendingBytes.Add(-bytes)
		return fmt.Errorf("%w: %d bytes are waiting for Kafka already, want at most %d", kafka.ErrUnavailable, k.pendingBytes.Load(), k.MaxBytes)
	}
	return nil
}

func (k *cluster) release(bytes int64) { k.pendingBytes.Add(-bytes) }

// triggerRefresh makes refreshLoop refresh the metadata soon.
func (k *cluster) triggerRefresh() {
	select {
	case k.refreshWanted <- struct{}{}:
	default:
	}
}

// wakeBrokers wakes the senders of all brokers.
func (k *cluster) wakeBrokers() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.brokers {
		b.signal()
	}
}

// refresh adds the topics to those in use, and waits for the next refresh of the
// metadata.
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

// refreshLoop refreshes the metadata on request, every [kafka.MetadataRetryInterval]
// while something is wrong, and every [kafka.MetadataMaxAge] otherwise.
func (k *cluster) refreshLoop() {
	defer k.control.Close()
	pause := time.NewTimer(kafka.MetadataMaxAge)
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
		next := kafka.MetadataMaxAge
		if settings = !whole; !whole {
			next = kafka.MetadataRetryInterval
		}
		pause.Reset(next)
		select {
		case <-time.After(kafka.MetadataMinInterval):
		case <-k.ctx.Done():
		}
	}
}

// refreshMetadata requests the metadata from any broker and applies it. If settings is
// set, it also reads the topics' settings. It reports whether every topic exists and
// each of its partitions has a leader.
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

// unreachable returns an error if no broker has answered for [Config.Patience].
func (k *cluster) unreachable() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.unreachableSince.IsZero() || time.Since(k.unreachableSince) < k.Patience {
		return nil
	}
	return fmt.Errorf("%w: no broker has answered since %s", kafka.ErrUnavailable, k.unreachableSince.UTC().Format(time.TimeOnly))
}

// applyMetadata updates brokers, topics and leaders. It reports whether every topic
// exists and each of its partitions has a leader.
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
			topics[name].setError(fmt.Errorf("topic %s: the brokers' metadata leaves it out", name)) // keep the partitions that are known
			whole = false
			continue
		}
		whole = k.applyTopic(topics[name], &m.Topics[i], here) && whole
	}
	k.countReplicas(m, topics)
	return whole
}

// countReplicas counts the partitions that lack in-sync replicas.
func (k *cluster) countReplicas(m *metadata.Response, topics map[string]*topic) {
	underMinISR, underReplicated := 0, 0
	for i := range m.Topics {
		t := topics[m.Topics[i].Name]
		if t == nil {
			continue
		}
		for j := range m.Topics[i].Partitions {
			q := &m.Topics[i].Partitions[j]
			if len(q.IsrNodes) < len(q.ReplicaNodes) {
				underReplicated++
			}
			if int64(len(q.IsrNodes)) < t.minISR.Load() {
				underMinISR++
			}
		}
	}
	k.metrics.underMinISR.Set(float64(underMinISR))
	k.metrics.underReplicated.Set(float64(underReplicated))
}

// broker returns the broker with an id, and sets its address. It starts the sender of
// a new broker.
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

// applyTopic updates one topic. A partition that is missing from the metadata loses its
// leader and is kept: if it appears again, it continues its sequence, because the log
// may know the producer id.
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
		t.setError(err) // keep the partitions that are known
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

// checkTopic applies [kafka.CheckPartitions] to a topic of a metadata response.
func checkTopic(m *metadata.ResponseTopic) error {
	all := make([]int, len(m.Partitions))
	for i := range m.Partitions {
		all[i] = int(m.Partitions[i].PartitionIndex)
	}
	return kafka.CheckPartitions(m.Name, all)
}

// readLimits reads the topics' max.message.bytes and min.insync.replicas. If that is not
// permitted, Kafka's default of max.message.bytes is used, and the broker decides about
// larger records.
func (k *cluster) readLimits(topics []string) {
	q := &describeconfigs.Request{}
	for _, name := range topics {
		q.Resources = append(q.Resources, describeconfigs.RequestResource{
			ResourceType: int8(kafkago.ResourceTypeTopic), ResourceName: name, ConfigNames: []string{"max.message.bytes", "min.insync.replicas"},
		})
	}
	m, err := k.control.RoundTrip(k.ctx, q)
	if err != nil {
		return
	}
	known := *k.topics.Load()
	for _, r := range m.(*describeconfigs.Response).Resources {
		t := known[r.ResourceName]
		for _, e := range r.ConfigEntries {
			n, err := strconv.Atoi(e.ConfigValue)
			if t == nil || err != nil || n <= 0 {
				continue
			}
			switch e.ConfigName {
			case "max.message.bytes":
				t.limit.Store(int64(n))
				t.limitKnown.Store(true)
			case "min.insync.replicas":
				t.minISR.Store(int64(n))
			}
		}
	}
}

// watchPatience refuses the callers of partitions that have been unavailable for
// [Config.Patience].
func (k *cluster) watchPatience() {
	tick := time.NewTicker(kafka.PatienceCheckInterval)
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

// eachPartition calls do with every partition, including those that are no longer in
// the metadata.
func (k *cluster) eachPartition(do func(*partition)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, t := range *k.topics.Load() {
		for _, p := range t.everSeen {
			do(p)
		}
	}
}
