package publish

import (
	"strings"

	kafkago "github.com/segmentio/kafka-go"
)

// verdict is what a broker's answer says of a batch.
type verdict int

const (
	// unknown: the log may have the batch or not. The same bytes are sent again
	// until an answer tells, and the broker recognises them if it has them.
	unknown verdict = iota
	written         // all in-sync replicas have it
	retriable         // refused before it was appended; may be accepted later
	splittable         // refused before it was appended, for a record in it or for all of them together
	fatal           // refused before it was appended, whenever it is asked
	outOfSequence          // refused before it was appended: the producer id's sequence does not fit the log's
	fenced          // refused before the broker looked whether the log has it: the producer id is of no use any more
)

// verdicts has the codes that settle something; every other is [unknown].
// NOT_LEADER_OR_FOLLOWER and UNKNOWN_TOPIC_OR_PARTITION are not here: a broker
// also answers so when it has appended and lost the partition while it waited
// for the replicas, and the next leader may have the batch.
var verdicts = map[kafkago.Error]verdict{
	0:                               written,
	kafkago.DuplicateSequenceNumber: written,

	kafkago.NotEnoughReplicas:       retriable,
	kafkago.ThrottlingQuotaExceeded: retriable,
	kafkago.InvalidMessage:          retriable, // the checksum: spoilt on its way

	kafkago.MessageSizeTooLarge: splittable,
	kafkago.RecordListTooLarge:  splittable,
	kafkago.InvalidRecord:       splittable,
	kafkago.InvalidTimestamp:    splittable,

	kafkago.InvalidTopic:                fatal,
	kafkago.InvalidRequiredAcks:         fatal,
	kafkago.TopicAuthorizationFailed:    fatal,
	kafkago.ClusterAuthorizationFailed:  fatal,
	kafkago.UnsupportedForMessageFormat: fatal,
	kafkago.UnsupportedCompressionType:  fatal,
	kafkago.PolicyViolation:             fatal,

	kafkago.OutOfOrderSequenceNumber: outOfSequence,
	kafkago.UnknownProducerId:        outOfSequence,

	kafkago.InvalidProducerEpoch:     fenced,
	kafkago.ProducerFenced:           fenced,
	kafkago.InvalidProducerIDMapping: fenced,
	kafkago.InvalidTransactionState:  fenced,
}

// judge returns what a produce answer's code says of a batch, of which before
// tells whether an earlier attempt's outcome is unknown.
func classify(code kafkago.Error, before bool) verdict {
	if code == kafkago.DuplicateSequenceNumber && !before {
		return outOfSequence // it was never sent: what the log has is another batch
	}
	return verdicts[code]
}

// cause is the word for an error code in metrics.
func errorLabel(code kafkago.Error) string {
	return strings.ToLower(strings.ReplaceAll(code.Title(), " ", "_"))
}

// moved reports whether a code may mean that the leader is another one.
func leaderMoved(code kafkago.Error) bool {
	switch code {
	case kafkago.NotLeaderForPartition, kafkago.UnknownTopicOrPartition, kafkago.LeaderNotAvailable, kafkago.ReplicaNotAvailable,
		kafkago.FencedLeaderEpoch, kafkago.UnknownLeaderEpoch, kafkago.KafkaStorageError, kafkago.BrokerNotAvailable:
		return true
	}
	return false
}
