package consume

import (
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// FreshAsOf returns the latest time for which this holds: every record in the leader's
// log at that time has been consumed, and it is known whether records that were
// uncommitted then have been committed. It returns zero if there is no such time, or the
// consumer does not read the partition.
//
// If the partition could not be read to the end for [kafka.MaxStaleness] (the leader hangs
// or fails, or the in-sync replicas do not follow), the time does not advance for another
// [kafka.QuietPeriod] after that: requests that a writer sent before may still reach the
// leader.
func (s *Consumer) FreshAsOf(p Partition) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.states[p]; q != nil {
		return q.freshAsOf
	}
	return time.Time{}
}

// Lag returns the number of records that are not read yet, according to the last end
// offsets, and the oldest time that [Consumer.FreshAsOf] returns for any partition.
func (s *Consumer) Lag() (records int64, current time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := true
	for _, q := range s.states {
		records += max(0, q.logEnd-q.next)
		if first || q.freshAsOf.Before(current) {
			current, first = q.freshAsOf, false
		}
	}
	return records, current
}

// onResponse records that a leader has answered a fetch.
func (s *Consumer) onResponse(l *leader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastResponse = time.Now()
	for _, q := range s.states {
		if q.leader == l {
			q.advanceFreshness()
		}
	}
}

// advanceFreshness advances freshAsOf if the partition is read up to the end offset that
// the leader gave. It is called after the leader has answered another fetch since then,
// which shows that it was still the leader.
func (q *partitionState) advanceFreshness() {
	if q.endAskedAt.IsZero() || q.next < q.endOffset {
		return
	}
	at, before := q.endAskedAt, q.caughtUpAt
	q.endAskedAt, q.caughtUpAt = time.Time{}, at
	switch {
	case !before.IsZero() && at.Sub(before) > kafka.MaxStaleness:
		q.quietSince = time.Now()
	case q.quietSince.IsZero() || at.Sub(q.quietSince) > kafka.QuietPeriod:
		q.freshAsOf, q.quietSince = at, time.Time{}
	}
}

// The replica ids in requests for end offsets. A consumer's id gets the offset up to
// which records are committed; the debugging id gets the end of the leader's log.
const (
	consumerReplica  = -1
	debuggingReplica = -2
)

// readEndOffsets requests the end offsets of a leader's partitions, including records that
// are not committed yet.
func (s *Consumer) readEndOffsets(l *leader, parts []*partitionState) error {
	request := &listoffsets.Request{ReplicaID: l.replicaID}
	topics := map[string]int{}
	positions := l.positions(parts)
	for p, at := range positions {
		i, ok := topics[p.Topic]
		if !ok {
			i = len(request.Topics)
			topics[p.Topic] = i
			request.Topics = append(request.Topics, listoffsets.RequestTopic{Topic: p.Topic})
		}
		request.Topics[i].Partitions = append(request.Topics[i].Partitions, listoffsets.RequestPartition{
			Partition: int32(p.Number), CurrentLeaderEpoch: at.epoch, Timestamp: kafkago.LastOffset,
		})
	}
	sent := time.Now()
	m, err := l.conn.RoundTrip(request, kafka.FetchTimeout)
	if err != nil {
		return err
	}
	var refused map[Partition]error
	s.mu.Lock()
	for _, t := range m.(*listoffsets.Response).Topics {
		for i := range t.Partitions {
			of := &t.Partitions[i]
			p := Partition{t.Topic, int(of.Partition)}
			q, code := s.states[p], kafkago.Error(of.ErrorCode)
			switch {
			case code == kafkago.InvalidRequest, code == kafkago.UnsupportedVersion, code == kafkago.Unknown:
				l.replicaID = consumerReplica // some brokers other than Apache Kafka do not support the debugging id
			case q == nil, q.leader != l, q.epoch != positions[p].epoch: // the partition has moved meanwhile
			case code != 0:
				if refused == nil {
					refused = map[Partition]error{}
				}
				refused[p] = code
			default:
				q.logEnd = of.Offset
				if q.endAskedAt.IsZero() { // an earlier end offset must be reached first
					q.endAskedAt, q.endOffset = sent, of.Offset
				}
			}
		}
	}
	s.mu.Unlock()
	for p, code := range refused {
		l.partitionRefused(p, code)
	}
	return nil
}
