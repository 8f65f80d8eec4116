package groups_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/groups"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// mover starts a fake Kafka with topics of three partitions.
func mover(t *testing.T) (m groups.Mover, brokers []string) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c := kafka.Config{Brokers: cluster.ListenAddrs()}
	m.Names = kafka.Names{Prefix: "shop."}
	if _, err := (kafka.Layout{Names: m.Names, Partitions: 3, Replication: 1}).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	client, hangUp := c.Client()
	m.Client, m.Reader = client, consume.New(c)
	t.Cleanup(hangUp)
	t.Cleanup(m.Reader.Close)
	return m, c.Brokers
}

// TestPlan: a plan has the moves of the named topics, or of the topics in which the
// group has an offset. It changes nothing until it is committed.
func TestPlan(t *testing.T) {
	m, brokers := mover(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const topic = "shop.payment.captured"
	begin := time.UnixMilli(1767225600000)
	for i := range 10 {
		r := &kgo.Record{Topic: topic, Partition: 2, Value: []byte("x"), Timestamp: begin.Add(time.Duration(i) * time.Minute)}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	plan := func(to groups.Target, topics ...string) ([]groups.Move, error) {
		return m.Plan(t.Context(), "fulfilment", topics, to)
	}
	if _, err := plan(groups.Earliest); err == nil || !strings.Contains(err.Error(), "has no offset in a topic") {
		t.Errorf("a group without offsets: got error %v", err)
	}
	first, err := plan(groups.Offset(7), "payment.captured[2]")
	if want := []groups.Move{{topic, 2, -1, 7, 0}}; err != nil || !slices.Equal(first, want) {
		t.Fatalf("%+v, %v, want %+v", first, err, want)
	}
	if err := m.Commit(t.Context(), "fulfilment", first); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, c := range []struct {
			name string
			to   groups.Target
			want groups.Move
		}{
			{"earliest", groups.Earliest, groups.Move{topic, 2, 7, 0, 7}},
			{"latest", groups.Latest, groups.Move{topic, 2, 7, 10, -3}},
			{"a time between two records", groups.At(begin.Add(90 * time.Second)), groups.Move{topic, 2, 7, 2, 5}},
			{"an offset", groups.Offset(10), groups.Move{topic, 2, 7, 10, -3}},
		} {
			if got, err := plan(c.to); err != nil || !slices.Equal(got, []groups.Move{c.want}) {
				t.Errorf("to %s: %+v, %v, want %+v", c.name, got, err, c.want)
			}
		}
	}
	all, err := plan(groups.Earliest, "shop.payment.captured", "payment.captured:2", "refund.failed:1")
	if err != nil || len(all) != 4 {
		t.Errorf("%+v, %v, want three partitions of one topic and one of another", all, err)
	}
	for _, c := range []struct {
		field  string
		to     groups.Target
		topics []string
	}{
		{"topics", groups.Earliest, []string{"nosuch"}},
		{"topics", groups.Earliest, []string{"payment.captured:3"}},
		{"topics", groups.Earliest, []string{"payment.captured:x"}},
		{"topics", groups.Earliest, []string{"payment.captured[3]"}},
		{"to", groups.Offset(11), []string{"payment.captured:2"}},
		{"to", groups.Offset(-1), []string{"payment.captured:2"}},
		{"to", groups.Offset(0), []string{"payment.captured"}},
	} {
		var wrong *groups.InputError
		if _, err := plan(c.to, c.topics...); !errors.As(err, &wrong) || wrong.Field != c.field {
			t.Errorf("%v: %v, want an InputError of %s", c.topics, err, c.field)
		}
	}
}

// TestMembers: the error names the members of a group, whichever client they use and
// whatever their metadata contains.
func TestMembers(t *testing.T) {
	m, brokers := mover(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const topics = "\x00\x00\x00\x01\x00\x15shop.payment.captured" // an array of one
	for name, member := range map[string]struct{ metadata, assignment string }{
		// The metadata as Java's consumer sends it: user data with the length -1 is null.
		// Version 1 adds the owned partitions, 2 the generation, 3 the rack.
		"range, version 3": {"\x00\x03" + topics + "\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff",
			"\x00\x03" + topics + "\x00\x00\x00\x01\x00\x00\x00\x00\xff\xff\xff\xff"},
		"cooperative-sticky, version 3": {"\x00\x03" + topics + "\x00\x00\x00\x04\x00\x00\x00\x07" + topics + "\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x02" + "\x00\x00\x00\x07" + "\x00\x06rack-1",
			"\x00\x03" + topics + "\x00\x00\x00\x01\x00\x00\x00\x00\xff\xff\xff\xff"},
		"librdkafka, version 0": {"\x00\x00" + topics + "\xff\xff\xff\xff", "\x00\x00" + topics + "\x00\x00\x00\x00"},
		"none":                  {"", ""},
		"of no format":          {"\xff", "\x00\x09\x7f\xff\xff\xff"},
	} {
		group := strings.ReplaceAll(name, " ", "-")
		join := kmsg.NewPtrJoinGroupRequest()
		join.Version, join.Group, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis, join.ProtocolType = 2, group, 30_000, 30_000, "consumer"
		join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "any", Metadata: []byte(member.metadata)}}
		joined, err := join.RequestWith(t.Context(), client)
		if err != nil || kerr.ErrorForCode(joined.ErrorCode) != nil && joined.MemberID == "" {
			t.Fatalf("%s: %v, %+v", name, err, joined)
		}
		if joined.ErrorCode == kerr.MemberIDRequired.Code {
			join.MemberID = joined.MemberID
			if joined, err = join.RequestWith(t.Context(), client); err != nil || joined.ErrorCode != 0 {
				t.Fatalf("%s: %v, %+v", name, err, joined)
			}
		}
		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Group, sync.Generation, sync.MemberID = group, joined.Generation, joined.MemberID
		sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: joined.MemberID, MemberAssignment: []byte(member.assignment)}}
		if synced, err := sync.RequestWith(t.Context(), client); err != nil || synced.ErrorCode != 0 {
			t.Fatalf("%s: %v, %+v", name, err, synced)
		}
		_, err = m.Plan(t.Context(), group, []string{"payment.captured"}, groups.Earliest)
		var members *groups.MembersError
		if !errors.As(err, &members) || members.State != "Stable" || len(members.Members) != 1 ||
			members.Members[0].ID != joined.MemberID || members.Members[0].Client != "kgo" || !strings.Contains(err.Error(), joined.MemberID) {
			t.Errorf("%s: %v", name, err)
		}
		if err := m.Commit(t.Context(), group, []groups.Move{{Topic: "shop.payment.captured"}}); !errors.As(err, &members) {
			t.Errorf("%s: commit while the group has a member: %v", name, err)
		}
	}
}

// TestLags: the groups with offsets in our topics, the one that is farthest behind first,
// with what a group has not read and what Kafka deleted before it was read.
func TestLags(t *testing.T) {
	m, brokers := mover(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 10 {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "shop.payment.captured", Partition: int32(i % 2), Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if all, more, err := m.Lags(t.Context()); err != nil || more || len(all) != 0 {
		t.Errorf("without groups: %+v, %t, %v", all, more, err)
	}
	commit := func(group string, moves ...groups.Move) {
		t.Helper()
		if err := m.Commit(t.Context(), group, moves); err != nil {
			t.Fatal(err)
		}
	}
	const topic = "shop.payment.captured"
	commit("near", groups.Move{Topic: topic, Partition: 0, To: 5}, groups.Move{Topic: topic, Partition: 1, To: 4})
	commit("far", groups.Move{Topic: topic, Partition: 0, To: 0}, groups.Move{Topic: "shop.refund.failed", Partition: 2, To: 0})
	if _, err := (kafka.Layout{Names: kafka.Names{Prefix: "other."}, Partitions: 1, Replication: 1}).Apply(t.Context(), kafka.Config{Brokers: brokers}); err != nil {
		t.Fatal(err)
	}
	commit("other", groups.Move{Topic: "other.payment.captured", Partition: 0, To: 0})
	trim := kmsg.NewPtrDeleteRecordsRequest()
	rt, rp := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Partition, rp.Offset = 0, 2
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	trim.Topics = append(trim.Topics, rt)
	if _, err := trim.RequestWith(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	all, more, err := m.Lags(t.Context())
	if err != nil || more {
		t.Fatal(more, err)
	}
	for i := range all {
		if all[i].Members != 0 {
			t.Errorf("%s has %d members", all[i].Group, all[i].Members)
		}
		all[i].State = ""
	}
	want := []groups.Lag{
		{Group: "far", Records: 3, Topics: []groups.TopicLag{
			{Topic: topic, Records: 3, Uncommitted: 2, Partitions: []groups.PartitionLag{{0, 0, 5, 3, 2}}},
			{Topic: "shop.refund.failed", Uncommitted: 2, Partitions: []groups.PartitionLag{{2, 0, 0, 0, 0}}}}},
		{Group: "near", Records: 1, Topics: []groups.TopicLag{
			{Topic: topic, Records: 1, Uncommitted: 1, Partitions: []groups.PartitionLag{{0, 5, 5, 0, 0}, {1, 4, 5, 1, 0}}}}},
	}
	if !reflect.DeepEqual(all, want) {
		t.Errorf("got  %+v\nwant %+v", all, want)
	}
}

// TestCoordinatorMoves: while Kafka moves the group to another coordinator, a plan and its
// commit wait instead of failing.
func TestCoordinatorMoves(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c := kafka.Config{Brokers: cluster.ListenAddrs()}
	if _, err := (kafka.Layout{Partitions: 1, Replication: 1}).Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	codes := []int16{kerr.NotCoordinator.Code, kerr.CoordinatorLoadInProgress.Code, kerr.CoordinatorNotAvailable.Code}
	var describes, fetches, commits int // answers with an error
	cluster.ControlKey(int16(kmsg.DescribeGroups), func(q kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if describes == len(codes) {
			return nil, nil, false
		}
		r := q.ResponseKind().(*kmsg.DescribeGroupsResponse)
		g := kmsg.NewDescribeGroupsResponseGroup()
		g.Group, g.ErrorCode = "fulfilment", codes[describes]
		r.Groups = append(r.Groups, g)
		describes++
		return r, nil, true
	})
	cluster.ControlKey(int16(kmsg.OffsetFetch), func(q kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if fetches == len(codes) {
			return nil, nil, false
		}
		r := q.ResponseKind().(*kmsg.OffsetFetchResponse)
		r.ErrorCode = codes[fetches]
		fetches++
		return r, nil, true
	})
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(q kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if commits == len(codes) {
			return nil, nil, false
		}
		r := q.ResponseKind().(*kmsg.OffsetCommitResponse)
		for _, t := range q.(*kmsg.OffsetCommitRequest).Topics {
			topic := kmsg.NewOffsetCommitResponseTopic()
			topic.Topic = t.Topic
			for _, p := range t.Partitions {
				partition := kmsg.NewOffsetCommitResponseTopicPartition()
				partition.Partition, partition.ErrorCode = p.Partition, codes[commits]
				topic.Partitions = append(topic.Partitions, partition)
			}
			r.Topics = append(r.Topics, topic)
		}
		commits++
		return r, nil, true
	})
	client, hangUp := c.Client()
	defer hangUp()
	m := groups.Mover{Client: client, Reader: consume.New(c)}
	defer m.Reader.Close()
	moves, err := m.Plan(t.Context(), "fulfilment", []string{"payment.captured"}, groups.Earliest)
	if err != nil || len(moves) != 1 {
		t.Fatalf("plan: %+v, %v", moves, err)
	}
	if err := m.Commit(t.Context(), "fulfilment", moves); err != nil {
		t.Fatalf("commit: %v", err)
	}
	if n := len(codes); describes != n || fetches != n || commits != n {
		t.Errorf("%d, %d and %d answers with an error, want %d of each", describes, fetches, commits, n)
	}
}
