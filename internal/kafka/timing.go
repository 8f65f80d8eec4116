package kafka

import "time"

// The time limits of the producer, the consumer and the history, in one place
// since the guarantees need them to fit each other. TestTiming holds the
// inequalities that the comments name.
//
// Two replicas may get the same webhook. Replica A sends its record, gets no answer,
// and refuses its caller after [Patience]. The processor delivers the webhook again,
// to replica B. B may publish the event only if its own view of the log is fresh
// enough to show A's record. So B stops admitting events of a partition that it
// could not read to the end for [MaxStaleness], which is less than Patience. When the
// partition can be read again, requests that A sent before may still be on their way
// to the leader: B waits for [QuietPeriod] more before it trusts what it has read.
const (
	// Patience is how long a partition may be unavailable before the producer refuses
	// the records that wait for it, and new ones at once. It is longer than
	// MaxStaleness, by what a request may need to reach the leader, longer than one
	// broker that does not answer delays the metadata ([RequestTimeout] and a retry), and
	// shorter than the deadline of a webhook's answer, so that the answer can say why.
	Patience = 1600 * time.Millisecond

	// MaxStaleness is how old the view of a partition may be before new events of
	// it are refused. It is longer than a healthy partition ever needs: an interval
	// of [EndOffsetsInterval] and three fetches that are held ([FetchMaxWait]) with
	// the longest pause between them ([MaxPollInterval]). It is also longer than
	// [LeaderCheckInterval], so that a leader that moved is found first.
	MaxStaleness = 1100 * time.Millisecond

	// QuietPeriod is how long a partition must be readable again before its view
	// counts as fresh, after it was older than MaxStaleness. The producer, too,
	// waits for it after the last attempt of a batch with unknown outcome, before it
	// takes the log's word that the batch was not written. It is longer than the time
	// that a request has to reach the leader without an outage, which is
	// Patience - MaxStaleness.
	QuietPeriod = time.Second
)

// Claims. Before a replica publishes an event, it writes a claim: see package
// internal/once. A replica that may publish an event by its claim sends it within
// ClaimSendTime of the moment before it wrote the claim; another replica may publish the
// same event ClaimLifetime after it has read that claim. Each counts on its own [Clock].
const (
	// ClaimSendTime is longer than Patience, so that it ends no attempt that the producer
	// still makes for a caller, and short, so that ClaimLifetime can be.
	ClaimSendTime = 5 * time.Second

	// ClaimLifetime is longer than ClaimSendTime, by the time after which the connection of
	// an unanswered request is reset (ProduceTimeout), and by the longest time that a
	// request of which the leader has all bytes may wait there. If a replica ends without
	// having published what it claimed, the event's redeliveries get a 503 for so long.
	ClaimLifetime = 30 * time.Second

	// ClaimRestore is how old the claims are that a replica reads when it starts. It is
	// longer than ClaimLifetime by what the clocks of the replicas and of the brokers may differ.
	ClaimRestore = 10 * time.Minute

	// ClaimRetention is how long Kafka keeps claims. It is longer than a replica that is
	// suspended or cut off may take to read on and still see every claim.
	ClaimRetention = time.Hour

	// ClaimPollInterval is the least time between two fetches of claims that no webhook
	// waits for. A replica fetches at once if it lacks a claim before one of its own.
	ClaimPollInterval = 20 * time.Millisecond

	// AloneAfter is the time without a claim of another replica after which a replica
	// reads the topics only every MaxPollInterval: then nearly every record is its own,
	// and each fetch makes the brokers check every partition.
	AloneAfter = 10 * time.Second

	// ClaimForgetInterval is how often claims that have become useless are forgotten.
	ClaimForgetInterval = time.Second
)

// Connections.
const (
	// DialTimeout bounds a TCP connection. It is shorter than Patience, so that one
	// broker that is down does not keep the metadata from being read from the next.
	DialTimeout = time.Second
	// HandshakeTimeout bounds TLS, the versions and SASL together.
	HandshakeTimeout = 1200 * time.Millisecond
	// RequestTimeout bounds requests that a broker answers from its memory: metadata,
	// settings, producer ids. It is shorter than Patience, as DialTimeout is.
	RequestTimeout = time.Second
)

// The producer.
const (
	// ReplicationTimeout is how long a broker may wait for the in-sync replicas,
	// and ProduceTimeout how long the producer waits for the answer. The broker's limit
	// ends first: its answer says more than a connection that was cut.
	ReplicationTimeout = 5 * time.Second
	ProduceTimeout     = 10 * time.Second

	// PatienceCheckInterval is how often the producer looks for partitions that have
	// used up their Patience: callers wait at most so much longer.
	PatienceCheckInterval = 50 * time.Millisecond

	// MetadataMaxAge is how old the producer's metadata may be while all is well;
	// MetadataRetryInterval is between refreshes while something is wrong, several times
	// within Patience; MetadataMinInterval is the least time between two.
	MetadataMaxAge        = 30 * time.Second
	MetadataRetryInterval = 250 * time.Millisecond
	MetadataMinInterval   = 30 * time.Millisecond

	// LogReadInterval is how often the producer asks the log reader about a batch
	// whose outcome is unknown. The reader's view changes every [MinPollInterval].
	LogReadInterval = 20 * time.Millisecond

	// ProducerIDMinBackoff and ProducerIDMaxBackoff are the shortest and the longest time
	// between two requests for a producer id while Kafka gives none.
	ProducerIDMinBackoff = 100 * time.Millisecond
	ProducerIDMaxBackoff = 2 * time.Second
)

// The consumer.
const (
	// MinPollInterval and MaxPollInterval bound the time between two fetches from one
	// broker when the consumer has caught up. A broker that takes longer to answer is
	// polled less often: see PollFactor. So are all by a replica that is alone: see
	// AloneAfter.
	MinPollInterval = 10 * time.Millisecond
	MaxPollInterval = 100 * time.Millisecond
	// PollFactor times the duration of the last fetch is the time until the next fetch,
	// within the bounds above: a broker spends at most a fifth of its time on fetches.
	PollFactor = 4

	// FetchMaxWait is how long a broker may hold a fetch for which it has no records. It
	// may do so only if no record came for FetchIdleTime. A broker registers a held fetch
	// at each of its partitions, and the registrations stay when one of them ends the
	// wait: with hundreds of partitions and as many requests a second, each write would
	// go through thousands of them.
	FetchMaxWait  = 100 * time.Millisecond
	FetchIdleTime = 500 * time.Millisecond
	// FetchTimeout bounds the other requests of the consumer, and a fetch in addition to
	// FetchMaxWait. It may be longer than MaxStaleness: a leader that does not answer
	// makes the view stale in any case.
	FetchTimeout = 2 * time.Second

	// EndOffsetsInterval is how often each leader is asked for the end offsets of its
	// partitions, which show how fresh the view is. Several intervals fit in
	// MaxStaleness.
	EndOffsetsInterval = 150 * time.Millisecond

	// LeaderCheckInterval is how often every leader is asked for the metadata, to find
	// partitions that have moved.
	LeaderCheckInterval = time.Second
	// LeaderLookupInterval is the time between the first requests for the metadata while
	// a partition has no leader, and LeaderLookupMaxInterval the time between later ones.
	LeaderLookupInterval    = 100 * time.Millisecond
	LeaderLookupMaxInterval = 800 * time.Millisecond
	// LeaderEpochGrace is for how long a leader epoch must not have been seen before an
	// older epoch is accepted. It is longer than brokers take to learn of a new leader,
	// and several times LeaderCheckInterval.
	LeaderEpochGrace = 5 * time.Second
)
