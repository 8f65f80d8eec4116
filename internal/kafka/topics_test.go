package kafka

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollbridge/tollbridge/internal/kafkatest"
	"github.com/tollbridge/tollbridge/schemas"
)

// replicas returns the ids of the brokers that have each partition of each topic, once
// the metadata has all topics.
func replicas(t *testing.T, l Layout, c Config) map[string]map[int][]int {
	t.Helper()
	client, hangUp := c.Client()
	defer hangUp()
	ctx := kafkatest.Within(t, 10*time.Second)
	var m *kafkago.MetadataResponse
	for known := false; !known; time.Sleep(50 * time.Millisecond) {
		var err error
		if m, err = client.Metadata(ctx, &kafkago.MetadataRequest{Topics: l.All()}); err != nil {
			t.Fatal(err)
		}
		known = !slices.ContainsFunc(m.Topics, func(t kafkago.Topic) bool { return t.Error != nil })
	}
	all := map[string]map[int][]int{}
	for _, topic := range m.Topics {
		all[topic.Name] = map[int][]int{}
		for _, p := range topic.Partitions {
			for _, b := range p.Replicas {
				all[topic.Name][p.ID] = append(all[topic.Name][p.ID], b.ID)
			}
		}
	}
	return all
}

// TestSameBrokers: the same partition number is on the same brokers in every topic,
// including topics that are created later.
func TestSameBrokers(t *testing.T) {
	t.Parallel()
	c := Config{Brokers: kafkatest.Start(t, kafkatest.Options{Brokers: 3}).Bootstrap()}
	l := Layout{Names: Names{Prefix: "a."}, Partitions: 6, Replication: 3}
	ctx := kafkatest.Within(t, time.Minute)
	apply := func() {
		t.Helper()
		if _, err := l.Apply(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	apply()
	client, hangUp := c.Client()
	defer hangUp()
	gone := []string{l.All()[0], l.Received()}
	r, err := client.DeleteTopics(ctx, &kafkago.DeleteTopicsRequest{Topics: gone})
	if err := errors.Join(err, r.Errors[gone[0]], r.Errors[gone[1]]); err != nil {
		t.Fatal(err)
	}
	for looks := 0; looks < 10; time.Sleep(50 * time.Millisecond) { // brokers learn of the deletion one after the other
		findings, err := l.Plan(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		looks++
		if slices.ContainsFunc(findings, func(f TopicStatus) bool { return f.Exists && slices.Contains(gone, f.Topic) }) {
			looks = 0
		}
	}
	apply()
	all := replicas(t, l, c)
	want := all[l.References()]
	if len(want) != l.Partitions || len(want[0]) != l.Replication {
		t.Fatalf("the partitions of references are on %v, want the layout's", want)
	}
	leaders := map[int]bool{}
	for _, on := range want {
		leaders[on[0]] = true
	}
	if len(leaders) != 3 {
		t.Errorf("%d of 3 brokers lead partitions: %v", len(leaders), want)
	}
	for topic, on := range all {
		if !reflect.DeepEqual(on, want) {
			t.Errorf("the partitions of %s are on %v, those of references on %v", topic, on, want)
		}
	}
}

// TestAssignmentRefused: Kafka refuses assignments of replicas, and assigns them itself.
func TestAssignmentRefused(t *testing.T) {
	cluster := kafkatest.Fake(t, kfake.NumBrokers(3))
	refused := 0
	cluster.ControlKey(int16(kmsg.CreateTopics), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		q := r.(*kmsg.CreateTopicsRequest)
		if len(q.Topics[0].ReplicaAssignment) == 0 {
			return nil, nil, false
		}
		refused++
		answer := q.ResponseKind().(*kmsg.CreateTopicsResponse)
		for i := range q.Topics {
			topic := kmsg.NewCreateTopicsResponseTopic()
			topic.Topic, topic.ErrorCode = q.Topics[i].Topic, kerr.PolicyViolation.Code
			answer.Topics = append(answer.Topics, topic)
		}
		return answer, nil, true
	})
	l := Layout{Partitions: 4, Replication: 3}
	c := Config{Brokers: cluster.ListenAddrs()}
	if _, err := l.Apply(kafkatest.Within(t, time.Minute), c); err != nil {
		t.Fatal(err)
	}
	all := replicas(t, l, c)
	if len(all) != len(l.All()) || refused != 1 {
		t.Errorf("%d of %d topics were created, and assignments were refused %d times", len(all), len(l.All()), refused)
	}
}

// TestGone: a topic that is deleted between two requests of a plan is reported as
// missing, without an error.
func TestGone(t *testing.T) {
	cluster := kafkatest.Fake(t)
	l := Layout{Partitions: 2, Replication: 1}
	c := Config{Brokers: cluster.ListenAddrs()}
	ctx := kafkatest.Within(t, time.Minute)
	if _, err := l.Apply(ctx, c); err != nil {
		t.Fatal(err)
	}
	cluster.ControlKey(int16(kmsg.DescribeConfigs), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		answer := r.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for _, q := range r.(*kmsg.DescribeConfigsRequest).Resources {
			resource := kmsg.NewDescribeConfigsResponseResource()
			resource.ResourceType, resource.ResourceName = q.ResourceType, q.ResourceName
			if q.ResourceName == l.Dead() {
				resource.ErrorCode = kerr.UnknownTopicOrPartition.Code
			}
			answer.Resources = append(answer.Resources, resource)
		}
		return answer, nil, true
	})
	findings, err := l.Plan(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if f.Exists == (f.Topic == l.Dead()) {
			t.Errorf("%s: Exists is %v", f.Topic, f.Exists)
		}
	}
}

// TestTypes: only the topics of the layout's types are created and required. Topics that
// are created later get as many partitions as the existing ones have.
func TestTypes(t *testing.T) {
	c := Config{Brokers: kafkatest.Fake(t).ListenAddrs()}
	ctx := kafkatest.Within(t, time.Minute)
	apply := func(l Layout, missing []string, partitions int) {
		t.Helper()
		findings, err := l.Apply(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		var created []string
		for _, f := range findings {
			if !f.Exists {
				created = append(created, f.Topic)
			}
			if f.Partitions != partitions || f.Drift != "" {
				t.Errorf("%s: %d partitions, drift %q, want %d and none", f.Topic, f.Partitions, f.Drift, partitions)
			}
		}
		if !slices.Equal(created, missing) {
			t.Errorf("%v were created, want %v", created, missing)
		}
	}
	types := func(prefix string, types ...schemas.Type) Names { return Names{Prefix: prefix, Types: types} }
	payments := types("a.", schemas.PaymentCaptured)
	apply(Layout{Names: payments, Partitions: 4, Replication: 1}, payments.All(), 4)
	both := types("a.", schemas.PaymentCaptured, schemas.RefundSucceeded)
	apply(Layout{Names: both, Replication: 1}, []string{both.Event(schemas.RefundSucceeded)}, 4)
	apply(Layout{Names: payments, Replication: 1}, nil, 4)
	new := types("b.", schemas.PayoutCreated)
	apply(Layout{Names: new, Replication: 1}, new.All(), DefaultPartitions)

	found, unauthorized, err := Names{Prefix: "a."}.Existing(ctx, c)
	if err != nil || unauthorized != nil || !reflect.DeepEqual(found, both) {
		t.Errorf("the existing topics are of %v, %v, want %v", found, err, both)
	}
	findings, err := Layout{Names: payments, Replication: 1}.Plan(ctx, c)
	if err != nil || !reflect.DeepEqual(payments.In(findings), both) {
		t.Errorf("by the plan, the existing topics are of %v, %v, want %v", payments.In(findings), err, both)
	}
	findings, err = Layout{Names: payments, Partitions: 6, Replication: 1}.Plan(ctx, c)
	if err != nil || slices.ContainsFunc(findings, func(f TopicStatus) bool { return !f.Wrong }) {
		t.Errorf("another number of partitions is configured: %+v, %v, want all to be wrong", findings, err)
	}
}
