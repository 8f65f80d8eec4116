package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/tollbridge/tollbridge/schemas"
)

// IsPrefix reports whether a topic's name can begin with a text: names have letters,
// digits, dots, dashes and underscores.
func IsPrefix(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}

// Names gives the names of tollbridge's topics: the prefix, and then an event type or
// "webhooks." and what the topic holds.
type Names struct {
	Prefix string
	// Types are the event types that have a topic; nil means all. See
	// [Names.Existing].
	Types []schemas.Type
	// SchemaIDs are the ids of the event types' schemas in the Schema Registry, which
	// [EventRecord] writes before each event; nil if there is no registry.
	SchemaIDs map[schemas.Type]uint32
}

// Event returns the topic for events of a type.
func (n Names) Event(t schemas.Type) string { return n.Prefix + string(t) }

// Received returns the topic of the archive: every verified webhook, as it was received.
func (n Names) Received() string { return n.Prefix + "webhooks.received" }

// Dead returns the topic of dead letters: verified webhooks that could not be normalised.
func (n Names) Dead() string { return n.Prefix + "webhooks.dead" }

// References returns the topic of references: the key is the processor's id of a payment,
// the value its merchant_transaction_id.
func (n Names) References() string { return n.Prefix + "webhooks.references" }

// Claims returns the topic of claims: before a process publishes a new event it writes
// there that it will. The key is the event's id. See package internal/once.
func (n Names) Claims() string { return n.Prefix + "webhooks.claims" }

// EventTypes returns the event types that have a topic.
func (n Names) EventTypes() []schemas.Type {
	if n.Types == nil {
		return schemas.Types()
	}
	return n.Types
}

// Events returns the event topics, one for each type.
func (n Names) Events() []string {
	types := n.EventTypes()
	all := make([]string, len(types))
	for i, t := range types {
		all[i] = n.Event(t)
	}
	return all
}

// LockName returns the name of the lock that commands acquire before they write to the
// topics. It names both a consumer group and a transactional id.
func (n Names) LockName() string { return n.Prefix + "tollbridge-lock" }

// All returns every topic.
func (n Names) All() []string { return append(n.Kept(), n.Claims()) }

// Kept returns every topic but the claims, which are of no use after a minute.
func (n Names) Kept() []string { return append(n.Events(), n.Received(), n.Dead(), n.References()) }

// Layout says which topics there should be, with which settings. The event topics are
// those of [Names.Types]. Other event topics may exist, too: an endpoint that is no longer
// configured wrote to them. [Layout.Plan] compares them as well.
type Layout struct {
	Names
	// Partitions is the number of partitions of every topic. 0 means as many as the
	// existing topics have, or [DefaultPartitions] if there are none.
	Partitions  int
	Replication int // copies of each partition
	// Retention is how long records are kept, except references, which are kept for
	// ever, and claims ([ClaimRetention]); 0 leaves it to the brokers' default.
	Retention time.Duration
	MinInSync int // min.insync.replicas; 0 is one fewer than Replication, at least 1
}

// DefaultPartitions is the number of partitions of new topics if it is not configured.
const DefaultPartitions = 6

// ArchiveMaxMessageBytes is the max.message.bytes of the topics of archived webhooks and
// dead letters: room for a body, the headers of its request, and the record's own.
const ArchiveMaxMessageBytes = 2 << 20

func (l Layout) minInSync() int {
	if l.MinInSync > 0 {
		return l.MinInSync
	}
	return max(1, l.Replication-1)
}

// Settings returns the settings of a topic that differ from the brokers' defaults.
func (l Layout) Settings(topic string) map[string]string {
	c := map[string]string{"min.insync.replicas": strconv.Itoa(l.minInSync())}
	if topic == l.Received() || topic == l.Dead() {
		c["max.message.bytes"] = strconv.Itoa(ArchiveMaxMessageBytes)
	}
	c["unclean.leader.election.enable"] = "false"
	switch {
	case topic == l.References():
		c["cleanup.policy"] = "compact"
	case topic == l.Claims():
		// Compaction would remove the claim of one replica when another claims the same event.
		c["cleanup.policy"] = "delete"
		c["message.timestamp.type"] = "LogAppendTime" // a restart finds the recent claims by the brokers' clocks
		c["retention.ms"] = strconv.FormatInt(ClaimRetention.Milliseconds(), 10)
		c["segment.ms"] = c["retention.ms"] // Kafka deletes whole segments only
	case l.Retention > 0:
		c["retention.ms"] = strconv.FormatInt(l.Retention.Milliseconds(), 10)
	}
	return c
}

// TopicStatus is the result of comparing a topic with the layout.
type TopicStatus struct {
	Topic  string `json:"topic"`
	Exists bool   `json:"exists"`
	// Partitions is the number of partitions that the topic has or, if it does not
	// exist, would be created with.
	Partitions int    `json:"partitions"`
	Drift      string `json:"drift,omitempty"` // how the topic differs from the layout; empty if it does not differ
	// Wrong is set if the difference puts events into the wrong partitions, or makes
	// consumers miss them: then `serve` does not start. Other differences are only a
	// warning.
	Wrong bool `json:"wrong,omitempty"`
}

// Existing returns the names with only those event types whose topics exist, and the event
// topics that the user is not authorized to describe: of these Kafka does not say whether
// they exist.
func (n Names) Existing(ctx context.Context, c Config) (names Names, unauthorized []string, err error) {
	if err := c.Check(ctx); err != nil {
		return n, nil, err
	}
	topics, _, err := c.topics(ctx, Names{Prefix: n.Prefix}.Events())
	if err != nil {
		return n, nil, err
	}
	exists := map[string]bool{}
	for _, t := range topics {
		switch err := kafkago.Error(t.ErrorCode); {
		case err == kafkago.TopicAuthorizationFailed:
			unauthorized = append(unauthorized, t.Name)
		case err != 0 && err != kafkago.UnknownTopicOrPartition:
			return n, nil, fmt.Errorf("topic %s: %w", t.Name, err)
		}
		exists[t.Name] = t.ErrorCode == 0
	}
	return n.withTopics(exists), unauthorized, nil
}

// topics requests the metadata of topics by their names, and the number of brokers.
// kafka-go's client answers such a request from a list of all topics, in which Kafka
// leaves out the topics that the user may not describe.
func (c Config) topics(ctx context.Context, names []string) ([]metadata.ResponseTopic, int, error) {
	broker := AnyBroker{Config: c}
	defer broker.Close()
	m, err := broker.Metadata(ctx, names)
	if err != nil {
		return nil, 0, fmt.Errorf("asking %s for its topics: %w", strings.Join(c.Brokers, ","), err)
	}
	for _, name := range names {
		if !slices.ContainsFunc(m.Topics, func(t metadata.ResponseTopic) bool { return t.Name == name }) {
			return nil, 0, fmt.Errorf("asking %s for topic %s: the answer leaves it out", strings.Join(c.Brokers, ","), name)
		}
	}
	return m.Topics, len(m.Brokers), nil
}

// Missing returns the error for a topic that is not in the list of all topics: it does not
// exist, or the user is not authorized to describe it. The error wraps Kafka's.
func (c Config) Missing(ctx context.Context, topic string) error {
	topics, _, err := c.topics(ctx, []string{topic})
	switch {
	case err != nil:
		return err
	case kafkago.Error(topics[0].ErrorCode) == kafkago.TopicAuthorizationFailed:
		return UnauthorizedError(topic)
	}
	return fmt.Errorf("topic %s: %w", topic, kafkago.UnknownTopicOrPartition)
}

// UnauthorizedError returns the error for a topic that the user is not authorized to
// describe. It wraps Kafka's.
func UnauthorizedError(topic string) error {
	return fmt.Errorf("topic %s: %w: 'tollbridge topics acls ROLE' prints the rights; the roles are serve, apply, view and tools", topic, kafkago.TopicAuthorizationFailed)
}

// In returns the names with only those event types whose topics exist by the result of
// [Layout.Plan].
func (n Names) In(findings []TopicStatus) Names {
	exists := map[string]bool{}
	for _, f := range findings {
		exists[f.Topic] = f.Exists
	}
	return n.withTopics(exists)
}

func (n Names) withTopics(exists map[string]bool) Names {
	n.Types = slices.DeleteFunc(schemas.Types(), func(t schemas.Type) bool { return !exists[n.Event(t)] })
	return n
}

// all returns every topic that the layout may have, whatever [Names.Types] says.
func (l Layout) all() []string { return Names{Prefix: l.Prefix}.All() }

// Plan compares the cluster's topics with the layout. It returns the status of each topic
// that exists or is missing.
func (l Layout) Plan(ctx context.Context, c Config) ([]TopicStatus, error) {
	if err := c.Check(ctx); err != nil {
		return nil, err
	}
	client, hangUp := c.Client()
	defer hangUp()
	findings, _, err := l.plan(ctx, c, client)
	return findings, err
}

// plan does the work of Plan. It also returns the layout with the number of partitions
// that new topics get.
func (l Layout) plan(ctx context.Context, c Config, client *kafkago.Client) ([]TopicStatus, Layout, error) {
	topics, brokers, err := c.topics(ctx, l.all())
	if err != nil {
		return nil, l, err
	}
	configs, err := l.describe(ctx, client, topics)
	if err != nil {
		return nil, l, err
	}
	var existing []metadata.ResponseTopic
	var findings []TopicStatus
	for _, t := range topics {
		if !slices.Contains(l.all(), t.Name) {
			return nil, l, fmt.Errorf("asking %s for its topics: the answer has topic %q, which was not requested", client.Addr, t.Name)
		}
		needed := slices.Contains(l.All(), t.Name)
		switch err := kafkago.Error(t.ErrorCode); {
		case err == kafkago.UnknownTopicOrPartition || err == 0 && configs[t.Name] == nil:
			if needed {
				findings = append(findings, TopicStatus{Topic: t.Name})
			}
			continue
		case err == kafkago.TopicAuthorizationFailed && !needed:
			continue // an event type of a newer version: the ACLs may be older
		case err == kafkago.TopicAuthorizationFailed:
			return nil, l, UnauthorizedError(t.Name)
		case err != 0:
			return nil, l, fmt.Errorf("topic %s: %w", t.Name, err)
		}
		numbers := make([]int, len(t.Partitions))
		for i, p := range t.Partitions {
			numbers[i] = int(p.PartitionIndex)
		}
		if err := CheckPartitions(t.Name, numbers); err != nil {
			return nil, l, err
		}
		existing = append(existing, t)
	}
	if l.Partitions == 0 {
		l.Partitions = commonPartitions(existing)
	}
	for i := range findings {
		findings[i].Partitions = l.Partitions
	}
	if len(findings) > 0 && brokers < l.Replication {
		return nil, l, fmt.Errorf("topics are missing and cannot be created: kafka.replication is %d, and the number of brokers is %d: start more brokers, or for a trial set kafka.replication: %[2]d",
			l.Replication, brokers)
	}
	for _, t := range existing {
		findings = append(findings, l.compare(t, configs[t.Name]))
	}
	slices.SortFunc(findings, func(a, b TopicStatus) int {
		return slices.Index(l.all(), a.Topic) - slices.Index(l.all(), b.Topic)
	})
	return findings, l, nil
}

// commonPartitions returns the number of partitions that most topics have, or
// [DefaultPartitions] if there are no topics.
func commonPartitions(topics []metadata.ResponseTopic) int {
	count := map[int]int{}
	for _, t := range topics {
		count[len(t.Partitions)]++
	}
	common := DefaultPartitions
	for n, topics := range count {
		if topics > count[common] || topics == count[common] && n < common {
			common = n
		}
	}
	return common
}

// compare compares an existing topic with the layout.
func (l Layout) compare(t metadata.ResponseTopic, configs map[string]string) TopicStatus {
	f := TopicStatus{Topic: t.Name, Exists: true, Partitions: len(t.Partitions)}
	replication := math.MaxInt // of the partition with the fewest replicas
	for _, p := range t.Partitions {
		replication = min(replication, len(p.ReplicaNodes))
	}
	switch minISR, _ := strconv.Atoi(configs["min.insync.replicas"]); {
	case len(t.Partitions) != l.Partitions:
		f.Wrong = true
		f.Drift = fmt.Sprintf("has %d partitions, want %d: the same payment would be in different partitions of different topics; set kafka.partitions to what the topics have, or move to topics with another kafka.prefix", len(t.Partitions), l.Partitions)
	case replication < l.Replication:
		f.Drift = fmt.Sprintf("has %d replicas, want %d: weaker than asked for; reassign its partitions", replication, l.Replication)
	case minISR < l.minInSync():
		f.Drift = fmt.Sprintf("min.insync.replicas is %d, want %d: weaker than asked for; `tollbridge topics apply` sets it", minISR, l.minInSync())
	}
	if f.Drift != "" {
		return f
	}
	want := l.Settings(t.Name)
	for _, c := range []struct{ name, harm string }{
		{"cleanup.policy", "references would be forgotten"},
		{"retention.ms", "records that Kafka has deleted can neither be replayed nor recognised as duplicates"},
		{"max.message.bytes", "a large webhook could not be archived"},
		{"unclean.leader.election.enable", "a new leader may lack acknowledged records"},
		{"message.timestamp.type", ""}, // of claims only
	} {
		is, known := configs[c.name]
		if want[c.name] == "" || is == want[c.name] || c.name == "unclean.leader.election.enable" && !known { // not every Kafka reports it
			continue
		}
		if t.Name == l.Claims() {
			c.harm = "two replicas could publish the same event"
		}
		f.Drift = fmt.Sprintf("%s is %s, want %s: %s; `tollbridge topics apply` sets it", c.name, is, want[c.name], c.harm)
		break
	}
	f.Wrong = t.Name == l.Claims() && configs["cleanup.policy"] != want["cleanup.policy"]
	return f
}

// describe returns the settings of the existing topics. It leaves out a topic that was
// deleted since the metadata was requested.
func (l Layout) describe(ctx context.Context, client *kafkago.Client, topics []metadata.ResponseTopic) (map[string]map[string]string, error) {
	var resources []kafkago.DescribeConfigRequestResource
	for _, t := range topics {
		if t.ErrorCode == 0 {
			resources = append(resources, kafkago.DescribeConfigRequestResource{
				ResourceType: kafkago.ResourceTypeTopic, ResourceName: t.Name,
				ConfigNames: []string{"min.insync.replicas", "max.message.bytes", "cleanup.policy", "retention.ms", "unclean.leader.election.enable", "message.timestamp.type"},
			})
		}
	}
	all := map[string]map[string]string{}
	if len(resources) == 0 {
		return all, nil
	}
	r, err := client.DescribeConfigs(ctx, &kafkago.DescribeConfigsRequest{Resources: resources})
	if err != nil {
		return nil, fmt.Errorf("asking for the topics' settings: %w", err)
	}
	for _, resource := range r.Resources {
		if errors.Is(resource.Error, kafkago.UnknownTopicOrPartition) {
			continue
		}
		if resource.Error != nil {
			return nil, fmt.Errorf("asking for the settings of topic %s: %w", resource.ResourceName, resource.Error)
		}
		all[resource.ResourceName] = map[string]string{}
		for _, e := range resource.ConfigEntries {
			all[resource.ResourceName][e.ConfigName] = e.ConfigValue
		}
	}
	return all, nil
}

// Apply creates the missing topics, and corrects the settings of existing ones. It
// never changes the number of partitions or replicas. It returns the status of the
// topics before the changes, once the leader of every new partition answers: after a
// topic is created, a broker may take seconds to become leader, and refuses records
// until then.
func (l Layout) Apply(ctx context.Context, c Config) ([]TopicStatus, error) {
	if err := c.Check(ctx); err != nil {
		return nil, err
	}
	client, hangUp := c.Client()
	defer hangUp()
	before, l, err := l.plan(ctx, c, client)
	if err != nil {
		return nil, err
	}
	var create []string
	var mend []kafkago.IncrementalAlterConfigsRequestResource
	for _, f := range before {
		if !f.Exists {
			create = append(create, f.Topic)
		} else if f.Drift != "" {
			mend = append(mend, l.alteration(f.Topic))
		}
	}
	if err := l.create(ctx, client, create); err != nil {
		return nil, err
	}
	if len(mend) > 0 {
		r, err := client.IncrementalAlterConfigs(ctx, &kafkago.IncrementalAlterConfigsRequest{Resources: mend})
		if err != nil {
			return nil, fmt.Errorf("changing the topics' settings: %w", err)
		}
		for _, resource := range r.Resources {
			if resource.Error != nil {
				return nil, fmt.Errorf("changing the settings of topic %s: %w", resource.ResourceName, resource.Error)
			}
		}
	}
	return before, l.waitForLeaders(ctx, client, create)
}

// create creates topics. Kafka assigns the partitions of the first topic to brokers, and
// the partitions of the other topics get the same brokers: a payment's events and
// the archived webhook then have the same leader, and are written with one request. If
// Kafka permits no explicit assignment, it assigns the partitions of all topics.
func (l Layout) create(ctx context.Context, client *kafkago.Client, topics []string) error {
	if len(topics) == 0 {
		return nil
	}
	places, err := l.assignments(ctx, client)
	if err != nil {
		return err
	}
	if places == nil {
		if err := l.createWith(ctx, client, nil, topics[0]); err != nil {
			return err
		}
		if topics = topics[1:]; len(topics) == 0 {
			return nil
		}
		if places, err = l.assignments(ctx, client); err != nil {
			return err
		}
	}
	if places != nil && l.createWith(ctx, client, places, topics...) == nil {
		return nil
	}
	return l.createWith(ctx, client, nil, topics...)
}

// assignments returns the replicas of each partition of a topic that matches the layout, or
// nil if there is none.
func (l Layout) assignments(ctx context.Context, client *kafkago.Client) ([]kafkago.ReplicaAssignment, error) {
	m, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: l.all()})
	if err != nil {
		return nil, fmt.Errorf("asking %s for the replicas of its topics: %w", client.Addr, err)
	}
	for _, t := range m.Topics {
		if t.Error != nil || len(t.Partitions) != l.Partitions {
			continue
		}
		var places []kafkago.ReplicaAssignment
		for _, p := range t.Partitions {
			if len(p.Replicas) == l.Replication {
				at := kafkago.ReplicaAssignment{Partition: p.ID}
				for _, b := range p.Replicas {
					at.Replicas = append(at.Replicas, b.ID)
				}
				places = append(places, at)
			}
		}
		if len(places) == l.Partitions {
			return places, nil
		}
	}
	return nil, nil
}

// createWith creates topics with an assignment of replicas, or lets Kafka assign them
// if it is nil.
func (l Layout) createWith(ctx context.Context, client *kafkago.Client, places []kafkago.ReplicaAssignment, topics ...string) error {
	r := &kafkago.CreateTopicsRequest{}
	for _, topic := range topics {
		t := kafkago.TopicConfig{Topic: topic, NumPartitions: l.Partitions, ReplicationFactor: l.Replication}
		if places != nil {
			t.NumPartitions, t.ReplicationFactor, t.ReplicaAssignments = -1, -1, places
		}
		for name, value := range l.Settings(topic) {
			t.ConfigEntries = append(t.ConfigEntries, kafkago.ConfigEntry{ConfigName: name, ConfigValue: value})
		}
		r.Topics = append(r.Topics, t)
	}
	answer, err := client.CreateTopics(ctx, r)
	if err != nil {
		return fmt.Errorf("creating topics: %w", err)
	}
	for topic, err := range answer.Errors {
		if err != nil && !errors.Is(err, kafkago.TopicAlreadyExists) { // another replica of tollbridge created the topic
			return fmt.Errorf("creating topic %s: %w", topic, err)
		}
	}
	return nil
}

// waitForLeaders waits until the leaders of all partitions of new topics answer.
func (l Layout) waitForLeaders(ctx context.Context, client *kafkago.Client, created []string) error {
	if len(created) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, leaderWait)
	defer cancel()
	ask := &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{}}
	for _, t := range created {
		for p := range l.Partitions {
			ask.Topics[t] = append(ask.Topics[t], kafkago.LastOffsetOf(p))
		}
	}
	for {
		err := firstError(client.ListOffsets(ctx, ask))
		if err == nil {
			return nil
		}
		select {
		case <-time.After(leaderPollInterval):
		case <-ctx.Done():
			return fmt.Errorf("the topics were created, but after %s not every partition has a leader: %w", leaderWait, err)
		}
	}
}

const (
	leaderWait         = 30 * time.Second
	leaderPollInterval = 200 * time.Millisecond
)

// firstError returns the first error in a response of the partitions' leaders.
func firstError(r *kafkago.ListOffsetsResponse, err error) error {
	if err != nil {
		return err
	}
	for topic, partitions := range r.Topics {
		for _, p := range partitions {
			if p.Error != nil {
				return fmt.Errorf("partition %s: %w", PartitionText(topic, p.Partition), p.Error)
			}
		}
	}
	return nil
}

// alteration returns the request that sets a topic's settings.
func (l Layout) alteration(topic string) kafkago.IncrementalAlterConfigsRequestResource {
	r := kafkago.IncrementalAlterConfigsRequestResource{ResourceType: kafkago.ResourceTypeTopic, ResourceName: topic}
	for name, value := range l.Settings(topic) {
		r.Configs = append(r.Configs, kafkago.IncrementalAlterConfigsRequestConfig{Name: name, Value: value, ConfigOperation: kafkago.ConfigOperationSet})
	}
	return r
}
