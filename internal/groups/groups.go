// Package groups moves the committed offsets of consumer groups, so that their
// consumers read events again or skip them, and says how far groups are behind.
package groups

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// Mover moves consumer groups of one cluster, and says how far they are behind. All
// fields must be set.
type Mover struct {
	Reader *consume.Reader
	Client *kafkago.Client // see [kafka.Config.Client]
	Names  kafka.Names     // of the topics whose offsets may be moved
}

// Move is the change of a group's offset in one partition.
type Move struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	From      int64  `json:"from"`  // the committed offset; -1 if the group has none
	To        int64  `json:"to"`    // the new offset
	Again     int64  `json:"again"` // how many offsets are read again; negative: how many are skipped; 0 if the group has no offset
}

// InputError reports a topic, a partition or an offset that does not exist.
type InputError struct {
	Field string // "topics" or "to"
	text  string
}

func (e *InputError) Error() string { return e.Field + ": " + e.text }

func inputError(field, format string, args ...any) error {
	return &InputError{field, fmt.Sprintf(format, args...)}
}

// MembersError reports that a group has members. They keep their own positions
// and would commit those over the moved offsets.
type MembersError struct {
	Group   string
	State   string   // Kafka's name of the group's state, such as Stable
	Members []Member // empty if the broker does not list them
}

// Member is one consumer of a group.
type Member struct{ ID, Client, Host string }

func (e *MembersError) Error() string {
	if e.State == "" {
		return fmt.Sprintf("the group %q has members; stop them first", e.Group)
	}
	var members []string
	for _, m := range e.Members {
		members = append(members, fmt.Sprintf("%q (client %q at %q)", m.ID, m.Client, m.Host))
	}
	return fmt.Sprintf("the group %q is %s and has %d members; stop them first: %s", e.Group, strings.ToLower(e.State), len(members), strings.Join(members, ", "))
}

// Plan returns the moves of a group to the target, ordered by topic and
// partition, and changes nothing. A topic is given as its name or an event type,
// for all partitions, or as TOPIC[PARTITION] for one; without topics the plan has
// the partitions in which the group has an offset. The error is a
// [*MembersError] if the group has members, and an [*InputError] if a topic or
// an offset does not exist.
func (m Mover) Plan(ctx context.Context, group string, topics []string, to Target) ([]Move, error) {
	var committed map[consume.Partition]int64
	err := retry(ctx, func() (err error) {
		if err := m.checkNoMembers(ctx, group); err != nil {
			return err
		}
		committed, err = m.committed(ctx, group)
		return err
	})
	if err != nil {
		return nil, err
	}
	partitions, err := m.named(ctx, topics)
	if err != nil {
		return nil, err
	}
	ours := m.Names.All()
	if len(topics) == 0 {
		for p := range maps.Keys(committed) {
			if slices.Contains(ours, p.Topic) {
				partitions = append(partitions, p)
			}
		}
	}
	if len(partitions) == 0 {
		return nil, fmt.Errorf("the group %q has no offset in a topic of tollbridge: check its name and the prefix, or name the topics with --topics", group)
	}
	slices.SortFunc(partitions, func(a, b consume.Partition) int {
		return cmp.Or(cmp.Compare(slices.Index(ours, a.Topic), slices.Index(ours, b.Topic)), cmp.Compare(a.Number, b.Number))
	})
	partitions = slices.Compact(partitions)
	targets, err := to(ctx, m.Reader, partitions)
	if err != nil {
		return nil, err
	}
	var moves []Move
	for _, p := range partitions {
		move := Move{Topic: p.Topic, Partition: p.Number, From: -1, To: targets[p]}
		if from, ok := committed[p]; ok {
			move.From, move.Again = from, from-move.To
		}
		moves = append(moves, move)
	}
	return moves, nil
}

// Kafka moves a group to another coordinator when a broker stops or the partitions of
// __consumer_offsets move. That takes seconds.
const (
	coordinatorWait = 20 * time.Second
	retryInterval   = 300 * time.Millisecond
)

// retry calls f again while its error says that the group has no coordinator or another
// one, or that the coordinator is still reading the group.
func retry(ctx context.Context, f func() error) error {
	for start := time.Now(); ; {
		err := f()
		moves := errors.Is(err, kafkago.NotCoordinatorForGroup) || errors.Is(err, kafkago.GroupCoordinatorNotAvailable) || errors.Is(err, kafkago.GroupLoadInProgress)
		if !moves || time.Since(start) > coordinatorWait {
			return err
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return err
		}
	}
}

// checkNoMembers returns a [*MembersError] if the group has members.
func (m Mover) checkNoMembers(ctx context.Context, group string) error {
	described, err := m.describe(ctx, group)
	if err != nil {
		return err
	}
	for _, g := range described.Groups {
		if err := kafkago.Error(g.ErrorCode); err != 0 && err != kafkago.GroupIdNotFound {
			return fmt.Errorf("describing the group %q: %w", group, err)
		}
		if len(g.Members) == 0 && g.GroupState != "Stable" {
			continue
		}
		e := &MembersError{Group: group, State: cmp.Or(g.GroupState, "unknown")}
		for _, one := range g.Members {
			e.Members = append(e.Members, Member{one.MemberID, one.ClientID, one.ClientHost})
		}
		return e
	}
	return nil
}

// committed returns the group's committed offsets. A group that does not exist
// has none.
func (m Mover) committed(ctx context.Context, group string) (map[consume.Partition]int64, error) {
	r, err := m.Client.OffsetFetch(ctx, &kafkago.OffsetFetchRequest{GroupID: group})
	if err == nil && !errors.Is(r.Error, kafkago.GroupIdNotFound) {
		err = r.Error
	}
	if err != nil {
		return nil, fmt.Errorf("fetching the offsets of the group %q: %w", group, err)
	}
	offsets := map[consume.Partition]int64{}
	for topic, partitions := range r.Topics {
		for _, p := range partitions {
			if p.Error != nil {
				return nil, fmt.Errorf("fetching the offset of the group %q in partition %s: %w", group, kafka.PartitionText(topic, p.Partition), p.Error)
			}
			if p.CommittedOffset >= 0 {
				offsets[consume.Partition{Topic: topic, Number: p.Partition}] = p.CommittedOffset
			}
		}
	}
	return offsets, nil
}

// named returns the partitions of the topics that the user named.
func (m Mover) named(ctx context.Context, topics []string) (all []consume.Partition, err error) {
	ours := m.Names.All()
	for _, name := range topics {
		topic, number, single := kafka.ParsePartition(name)
		if !single {
			topic = name
		}
		if !slices.Contains(ours, topic) {
			topic = m.Names.Prefix + topic
		}
		if !slices.Contains(ours, topic) {
			return nil, inputError("topics", "%q is not a topic of tollbridge; 'tollbridge topics plan' lists them", name)
		}
		partitions, err := m.Reader.Partitions(ctx, topic)
		if err != nil {
			return nil, err
		}
		if single {
			p := consume.Partition{Topic: topic, Number: number}
			if !slices.Contains(partitions, p) {
				return nil, inputError("topics", "%q: expected a partition from 0 to %d", name, len(partitions)-1)
			}
			partitions = []consume.Partition{p}
		}
		all = append(all, partitions...)
	}
	return all, nil
}

// Commit moves the group to the offsets of a plan. A broker refuses this while
// the group has members, also members of the newer group protocol, which Plan
// does not see; the error is a [*MembersError] then.
func (m Mover) Commit(ctx context.Context, group string, moves []Move) error {
	return retry(ctx, func() error { return m.commit(ctx, group, moves) })
}

// commit is Commit without another attempt.
func (m Mover) commit(ctx context.Context, group string, moves []Move) error {
	topics := map[string][]kafkago.OffsetCommit{}
	for _, move := range moves {
		topics[move.Topic] = append(topics[move.Topic], kafkago.OffsetCommit{Partition: move.Partition, Offset: move.To, Metadata: "tollbridge rewind"})
	}
	r, err := m.Client.OffsetCommit(ctx, &kafkago.OffsetCommitRequest{GroupID: group, GenerationID: -1, Topics: topics})
	if err != nil {
		return fmt.Errorf("moving the group %q: %w", group, err)
	}
	for topic, partitions := range r.Topics {
		for _, p := range partitions {
			if errors.Is(p.Error, kafkago.UnknownMemberId) {
				return &MembersError{Group: group}
			}
			if p.Error != nil {
				return fmt.Errorf("moving the group %q in partition %s: %w", group, kafka.PartitionText(topic, p.Partition), p.Error)
			}
		}
	}
	return nil
}
