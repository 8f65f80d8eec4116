package groups

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describegroups"

	"github.com/tollbridge/tollbridge/internal/consume"
)

// Lag says how far a consumer group is behind in the topics of tollbridge.
type Lag struct {
	Group   string     `json:"group"`
	State   string     `json:"state,omitempty"` // Kafka's name: Stable, Empty; empty if the broker does not say
	Members int        `json:"members"`
	Records int64      `json:"lag_records"` // records after the committed offsets
	Topics  []TopicLag `json:"topics"`      // those in which the group has an offset
}

// TopicLag says how far a group is behind in a topic.
type TopicLag struct {
	Topic      string         `json:"topic"`
	Records    int64          `json:"lag_records"`
	Partitions []PartitionLag `json:"partitions"`
	// Uncommitted is the number of partitions in which the group has no offset: it has
	// read nothing there, or commits nothing.
	Uncommitted int `json:"uncommitted_partitions,omitempty"`
}

// PartitionLag says how far a group is behind in a partition.
type PartitionLag struct {
	Partition int   `json:"partition"`
	Committed int64 `json:"committed"`
	End       int64 `json:"end"`
	Records   int64 `json:"lag_records"`
	// Lost is the number of records that Kafka has deleted before the group read them.
	Lost int64 `json:"lost_records,omitempty"`
}

// maxGroups is the most groups that [Mover.Lags] asks for.
const maxGroups = 2_000

// Lags returns the groups that have an offset in a topic of tollbridge, the one that is
// farthest behind first. It asks for at most 2,000 groups, in the order of their names;
// more is set if there are more.
func (m Mover) Lags(ctx context.Context) (all []Lag, more bool, err error) {
	listed, err := m.Client.ListGroups(ctx, &kafkago.ListGroupsRequest{})
	if err == nil {
		err = listed.Error
	}
	if err != nil {
		return nil, false, fmt.Errorf("listing the consumer groups: %w", err)
	}
	var names []string
	for _, g := range listed.Groups {
		names = append(names, g.GroupID)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if more = len(names) > maxGroups; more {
		names = names[:maxGroups]
	}
	bounds, err := m.Reader.TopicBounds(ctx, m.Names.Kept()...)
	if err != nil {
		return nil, false, err
	}
	caller := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var asking sync.WaitGroup
	var mu sync.Mutex
	next := make(chan string)
	for range min(8, len(names)) {
		asking.Go(func() {
			for name := range next {
				lag, found, failed := m.lag(ctx, name, bounds)
				mu.Lock()
				if failed != nil && err == nil {
					err = failed
					cancel()
				}
				if found {
					all = append(all, lag)
				}
				mu.Unlock()
			}
		})
	}
	for _, name := range names {
		next <- name
	}
	close(next)
	asking.Wait()
	slices.SortFunc(all, func(a, b Lag) int { return cmp.Or(cmp.Compare(b.Records, a.Records), cmp.Compare(a.Group, b.Group)) })
	return all, more, cmp.Or(err, caller.Err())
}

// lag returns the lag of a group, and whether it has an offset in a topic of tollbridge.
func (m Mover) lag(ctx context.Context, group string, bounds map[consume.Partition]consume.Range) (l Lag, found bool, err error) {
	if ctx.Err() != nil { // another group has failed
		return l, false, nil
	}
	committed, err := m.committed(ctx, group)
	if err != nil {
		return l, false, err
	}
	l.Group = group
	topics, partitions := map[string]*TopicLag{}, map[string]int{}
	for p := range bounds {
		partitions[p.Topic]++
	}
	for p, offset := range committed {
		b, ours := bounds[p]
		if !ours {
			continue
		}
		t := topics[p.Topic]
		if t == nil {
			t = &TopicLag{Topic: p.Topic}
			topics[p.Topic] = t
		}
		one := PartitionLag{Partition: p.Number, Committed: offset, End: b.To, Lost: max(0, b.From-offset)}
		one.Records = max(0, b.To-max(offset, b.From))
		t.Partitions, t.Records, l.Records = append(t.Partitions, one), t.Records+one.Records, l.Records+one.Records
	}
	if len(topics) == 0 {
		return l, false, nil
	}
	for _, t := range topics {
		slices.SortFunc(t.Partitions, func(a, b PartitionLag) int { return cmp.Compare(a.Partition, b.Partition) })
		t.Uncommitted = partitions[t.Topic] - len(t.Partitions)
		l.Topics = append(l.Topics, *t)
	}
	slices.SortFunc(l.Topics, func(a, b TopicLag) int { return cmp.Compare(a.Topic, b.Topic) })
	described, err := m.describe(ctx, group)
	if err != nil {
		return l, true, err
	}
	for _, g := range described.Groups {
		l.State, l.Members = g.GroupState, len(g.Members)
	}
	return l, true, nil
}

// describe asks for the state and the members of a group. It decodes the members' ids and
// hosts only: their metadata and assignments have a format of each client, and
// kafka-go's DescribeGroups fails where it cannot decode those of Java or librdkafka.
func (m Mover) describe(ctx context.Context, group string) (*describegroups.Response, error) {
	answer, err := m.Client.Transport.RoundTrip(ctx, m.Client.Addr, &describegroups.Request{Groups: []string{group}})
	if err != nil {
		return nil, fmt.Errorf("describing the group %q: %w", group, err)
	}
	described, ok := answer.(*describegroups.Response)
	if !ok {
		return nil, fmt.Errorf("describing the group %q: expected a DescribeGroups response, got %T", group, answer)
	}
	return described, nil
}
