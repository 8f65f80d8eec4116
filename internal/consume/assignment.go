package consume

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// leaderlessTopics returns the topics that have a partition without a leader, or nil if
// all ranges are read, or the error with which Run ends.
func (s *Consumer) leaderlessTopics() (leaderless map[string]bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.reader.GiveUpAfter
	switch {
	case s.handlerErr != nil:
		return nil, s.handlerErr
	case len(s.states) == 0:
		return nil, nil
	case limit > 0 && time.Since(s.lastResponse) > limit:
		return nil, fmt.Errorf("no broker has answered for %s: %w", limit, s.lastError)
	}
	leaderless = map[string]bool{}
	for p, q := range s.states {
		if q.leader == nil {
			leaderless[p.Topic] = true
		}
	}
	return leaderless, nil
}

// assignLeaders requests the metadata of the topics from any broker, and assigns their
// partitions to their leaders.
func (s *Consumer) assignLeaders(ctx context.Context, topics map[string]bool) error {
	m, err := s.metadata.Metadata(ctx, slices.Collect(maps.Keys(topics)))
	if err != nil {
		return err
	}
	return s.applyMetadata(ctx, m, topics)
}

// checkLeaders requests the metadata of all topics from a leader, and moves partitions to
// newer leaders.
func (s *Consumer) checkLeaders(ctx context.Context, l *leader) error {
	s.mu.Lock()
	topics := map[string]bool{}
	for p := range s.states {
		topics[p.Topic] = true
	}
	s.mu.Unlock()
	m, err := l.conn.Metadata(slices.Collect(maps.Keys(topics)))
	if err != nil {
		return err
	}
	_ = s.applyMetadata(ctx, m, nil) // Run looks up the leaders of partitions that have none
	return nil
}

// applyMetadata assigns partitions to the leaders in the metadata. It returns an error
// if a partition of the requested topics then has no leader.
func (s *Consumer) applyMetadata(ctx context.Context, m *metadata.Response, asked map[string]bool) (err error) {
	addresses := map[int32]string{}
	for _, b := range m.Brokers {
		addresses[b.NodeID] = kafka.Address(b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range m.Topics {
		t := &m.Topics[i]
		if t.ErrorCode != 0 {
			err = fmt.Errorf("topic %s: %w", t.Name, kafkago.Error(t.ErrorCode))
		}
		for i := range t.Partitions {
			p := &t.Partitions[i]
			q := s.states[Partition{t.Name, int(p.PartitionIndex)}]
			if q == nil {
				continue
			}
			address, ok := addresses[p.LeaderID]
			switch {
			case p.LeaderEpoch < q.epoch && (q.leader != nil || time.Since(q.epochSeen) < kafka.LeaderEpochGrace):
				ok = false // this broker does not know of the newer leader yet
			case p.LeaderEpoch == q.epoch:
				q.epochSeen = time.Now()
			}
			switch {
			case !ok && q.leader == nil:
				err = fmt.Errorf("partition %s: %w", kafka.PartitionText(t.Name, int(p.PartitionIndex)), kafkago.LeaderNotAvailable)
			case !ok, q.leader != nil && q.leader.id == p.LeaderID && q.epoch == p.LeaderEpoch:
			default:
				q.leader, q.epoch, q.epochSeen = s.leader(ctx, p.LeaderID, address), p.LeaderEpoch, time.Now()
				q.endAskedAt = time.Time{} // the new leader's log may end earlier
			}
		}
	}
	for p, q := range s.states {
		if err == nil && q.leader == nil && asked[p.Topic] {
			err = fmt.Errorf("partition %s: the brokers' metadata leaves it out", p)
		}
	}
	return err
}

// leader returns the leader with an id, and starts its goroutine if it is new.
func (s *Consumer) leader(ctx context.Context, id int32, address string) *leader {
	l := s.leaders[id]
	if l == nil || l.address != address {
		l = &leader{consumer: s, id: id, address: address, wakeup: make(chan struct{}, 1), replicaID: debuggingReplica, leadersCheckedAt: time.Now()}
		s.leaders[id] = l
		s.running.Go(func() { l.run(ctx) })
	}
	return l
}

// releasePartitions takes partitions away from a leader, all of them or only those
// given, so that Run looks up their leaders again.
func (s *Consumer) releasePartitions(l *leader, err error, only ...Partition) {
	s.recordError(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if only == nil {
		for p, q := range s.states {
			if q.leader == l {
				only = append(only, p)
			}
		}
		if s.leaders[l.id] == l {
			delete(s.leaders, l.id)
		}
	}
	for _, p := range only {
		if q := s.states[p]; q != nil && q.leader == l {
			q.leader, q.endAskedAt = nil, time.Time{}
		}
	}
	s.signal()
}

// partitionsOf returns the partitions of a leader. If it has none, the leader is removed,
// and its goroutine ends.
func (s *Consumer) partitionsOf(l *leader) []*partitionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*partitionState
	for _, q := range s.states {
		if q.leader == l {
			all = append(all, q)
		}
	}
	if len(all) == 0 && s.leaders[l.id] == l {
		delete(s.leaders, l.id)
	}
	return all
}
