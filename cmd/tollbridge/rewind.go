package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describegroups"
	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/internal/consume"
)

func rewindCommand() *cobra.Command {
	var q rewinding
	c := &cobra.Command{
		Use:   "rewind GROUP --to TIME|earliest|latest|OFFSET",
		Short: "Move a consumer group back, or on, to read events again or leave them out",
		Long: `Move a consumer group of tollbridge's topics to another offset: to a time (RFC
3339, or how long ago: 90m, 7d), to the earliest or the latest record, or to the
OFFSET of one partition (TOPIC:PARTITION). Without --topics, in all topics that
the group has an offset for.

Without --apply it only says what would be. It refuses while the group has
members: stop the consumers first. Consumers that handle an id once are not
harmed by reading it again.

Exit codes: 0 done, 1 refused, 2 the command line is wrong.`,
		Example: `  tollbridge rewind fulfilment --to 2h
  tollbridge rewind fulfilment --to 2026-01-01T00:00:00Z --topics payment.captured,refund.succeeded --apply
  tollbridge rewind fulfilment --to earliest --topics payment.captured:3 --apply
  tollbridge rewind fulfilment --to 1700 --topics payment.captured:3`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			q.group = args[0]
			return q.run(c)
		},
	}
	f := c.Flags()
	kafkaOnly(c)
	f.StringVar(&q.to, "to", "", "where to: a time, earliest, latest, or an offset (required)")
	f.StringSliceVar(&q.topics, "topics", nil, "only these: an event type or a topic, all of it or one TOPIC:PARTITION")
	f.BoolVar(&q.apply, "apply", false, "do it")
	f.BoolVar(&q.json, "json", false, "print as JSON")
	return c
}

type rewinding struct {
	group, to   string
	topics      []string
	apply, json bool
}

// move is what becomes of one partition's offset.
type move struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	From      int64  `json:"from"` // -1: the group has none
	To        int64  `json:"to"`
	Again     int64  `json:"again"` // offsets that are read again; below 0: that are left out
}

func (q rewinding) run(c *cobra.Command) error {
	if q.to == "" {
		return usage("--to: say where to: a time, earliest, latest, or an offset")
	}
	w, err := openWindow(c)
	if err != nil {
		return err
	}
	defer w.reader.Close()
	client, hangUp := w.producer.Kafka.Client()
	defer hangUp()
	moves, err := q.plan(c.Context(), client, w)
	if err != nil {
		return err
	}
	if q.apply {
		if err := q.commit(c.Context(), client, moves); err != nil {
			return err
		}
	}
	if q.json {
		return writeJSON(c.OutOrStdout(), moves)
	}
	return q.print(c, moves)
}

// plan is where the group is and would be.
func (q rewinding) plan(ctx context.Context, client *kafka.Client, w window) ([]move, error) {
	if err := vacant(ctx, client, q.group); err != nil {
		return nil, err
	}
	committed, err := committed(ctx, client, q.group)
	if err != nil {
		return nil, err
	}
	partitions, err := q.partitions(ctx, w, committed)
	if err != nil {
		return nil, err
	}
	to, err := q.targets(ctx, w, partitions)
	if err != nil {
		return nil, err
	}
	var moves []move
	for _, p := range partitions {
		m := move{Topic: p.Topic, Partition: p.Number, From: -1, To: to[p].From}
		if from, ok := committed[p]; ok {
			m.From, m.Again = from, from-m.To
		}
		moves = append(moves, m)
	}
	return moves, nil
}

// vacant refuses a group that has members: they would go on where they are, and
// commit that. Of the members it reads ids and hosts only: metadata and
// assignments are each client's own format, and kafka-go's DescribeGroups fails
// where it cannot decode those of Java or librdkafka.
func vacant(ctx context.Context, client *kafka.Client, group string) error {
	answer, err := client.Transport.RoundTrip(ctx, client.Addr, &describegroups.Request{Groups: []string{group}})
	if err != nil {
		return fmt.Errorf("asking about the group %q: %w", group, err)
	}
	for _, g := range answer.(*describegroups.Response).Groups {
		if err := kafka.Error(g.ErrorCode); err != 0 && err != kafka.GroupIdNotFound {
			return fmt.Errorf("asking about the group %q: %w", group, err)
		}
		if len(g.Members) == 0 && g.GroupState != "Stable" {
			continue
		}
		var members []string
		for _, m := range g.Members {
			members = append(members, plain(fmt.Sprintf("%s (%s at %s)", m.MemberID, m.ClientID, m.ClientHost)))
		}
		return fmt.Errorf("the group %q is %s and has %d members; stop them first: %s", group, strings.ToLower(g.GroupState), len(members), strings.Join(members, ", "))
	}
	return nil
}

// committed returns the group's offsets.
func committed(ctx context.Context, client *kafka.Client, group string) (map[consume.Partition]int64, error) {
	r, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group})
	if err == nil && !errors.Is(r.Error, kafka.GroupIdNotFound) { // which has none yet
		err = r.Error
	}
	if err != nil {
		return nil, fmt.Errorf("asking for the offsets of the group %q: %w", group, err)
	}
	all := map[consume.Partition]int64{}
	for topic, partitions := range r.Topics {
		for _, p := range partitions {
			if p.Error != nil {
				return nil, fmt.Errorf("the offset of the group %q in topic %s, partition %d: %w", group, topic, p.Partition, p.Error)
			}
			if p.CommittedOffset >= 0 {
				all[consume.Partition{Topic: topic, Number: p.Partition}] = p.CommittedOffset
			}
		}
	}
	return all, nil
}

// partitions returns those that --topics names, or the group's of ours, in
// order.
func (q rewinding) partitions(ctx context.Context, w window, committed map[consume.Partition]int64) ([]consume.Partition, error) {
	ours := w.names.All()
	var all []consume.Partition
	for _, name := range q.topics {
		topic, number, one := strings.Cut(name, ":")
		if !slices.Contains(ours, topic) {
			topic = w.names.Prefix + topic
		}
		if !slices.Contains(ours, topic) {
			return nil, usage("--topics: %q is none of tollbridge's; 'tollbridge topics plan' lists them", name)
		}
		partitions, err := w.reader.Partitions(ctx, topic)
		if err != nil {
			return nil, err
		}
		if n, err := strconv.Atoi(number); one {
			of := consume.Partition{Topic: topic, Number: n}
			if err != nil || !slices.Contains(partitions, of) {
				return nil, usage("--topics: %q: the topic has the partitions 0 to %d", name, len(partitions)-1)
			}
			partitions = []consume.Partition{of}
		}
		all = append(all, partitions...)
	}
	if len(q.topics) == 0 {
		for p := range maps.Keys(committed) {
			if slices.Contains(ours, p.Topic) {
				all = append(all, p)
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the group %q has no offset in a topic of tollbridge's; is its name right, or the prefix? --topics gives it one", q.group)
	}
	slices.SortFunc(all, func(a, b consume.Partition) int {
		return cmp.Or(cmp.Compare(slices.Index(ours, a.Topic), slices.Index(ours, b.Topic)), cmp.Compare(a.Number, b.Number))
	})
	return slices.Compact(all), nil
}

// targets returns where --to is in each partition, as a range's beginning.
func (q rewinding) targets(ctx context.Context, w window, partitions []consume.Partition) (map[consume.Partition]consume.Range, error) {
	bounds, err := w.reader.Bounds(ctx, partitions)
	if err != nil {
		return nil, err
	}
	switch offset, err := strconv.ParseInt(q.to, 10, 64); {
	case q.to == "earliest":
		return bounds, nil
	case q.to == "latest":
		for p, b := range bounds {
			bounds[p] = consume.Range{From: b.To, To: b.To}
		}
		return bounds, nil
	case err == nil && len(partitions) == 1:
		p := partitions[0]
		if b := bounds[p]; offset < b.From || offset > b.To {
			return nil, usage("--to: partition %d of %s has the offsets %d to %d, got %d", p.Number, p.Topic, b.From, b.To, offset)
		}
		return map[consume.Partition]consume.Range{p: {From: offset}}, nil
	case err == nil: // nor are unix seconds meant where an offset may be
		return nil, usage("--to: the offset %d is of one partition; name it, as in --topics payment.captured:3", offset)
	}
	at, err := instantOrAgo("--to", q.to, time.Now())
	if err != nil {
		return nil, err
	}
	return w.reader.Since(ctx, partitions, at)
}

// commit gives the group its offsets. A broker refuses that while the group has
// members, also those of the newer protocol, which [vacant] does not see.
func (q rewinding) commit(ctx context.Context, client *kafka.Client, moves []move) error {
	topics := map[string][]kafka.OffsetCommit{}
	for _, m := range moves {
		topics[m.Topic] = append(topics[m.Topic], kafka.OffsetCommit{Partition: m.Partition, Offset: m.To, Metadata: "tollbridge rewind"})
	}
	r, err := client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: q.group, GenerationID: -1, Topics: topics})
	if err != nil {
		return fmt.Errorf("moving the group %q: %w", q.group, err)
	}
	for topic, partitions := range r.Topics {
		for _, p := range partitions {
			if errors.Is(p.Error, kafka.UnknownMemberId) {
				return fmt.Errorf("the group %q has members; stop them first", q.group)
			}
			if p.Error != nil {
				return fmt.Errorf("moving the group %q in topic %s, partition %d: %w", q.group, topic, p.Partition, p.Error)
			}
		}
	}
	return nil
}

func (q rewinding) print(c *cobra.Command, moves []move) error {
	w := columns(c)
	var again, without int64
	for _, m := range moves {
		says := fmt.Sprintf("%d read again", m.Again)
		from := strconv.FormatInt(m.From, 10)
		switch {
		case m.From < 0:
			from, says = "none", ""
		case m.Again < 0:
			says = fmt.Sprintf("%d NEVER READ", -m.Again)
		}
		again, without = again+max(0, m.Again), without+max(0, -m.Again)
		fmt.Fprintf(w, "%s\t%d\t%s → %d\t%s\n", m.Topic, m.Partition, from, m.To, says)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	done := "would be moved; --apply does it"
	if q.apply {
		done = "is moved"
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "the group %s %s: %d read again, %d never read\n", plain(q.group), done, again, without)
	return err
}
