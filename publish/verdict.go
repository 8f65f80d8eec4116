package publish

import (
	"strings"

	kafkago "github.com/segmentio/kafka-go"
)

// verdict classifies the broker's answer to a batch.
type verdict int

const (
	// unknown: the batch may or may not be in the log. The same bytes are sent again
	// until an answer is definite; a broker that has the batch recognises them.
	unknown       verdict = iota
	written               // on all in-sync replicas
	retriable             // not appended; another attempt may succeed
	splittable            // not appended, because of one record or of the total size: the records are sent one by one
	fatal                 // not appended; every other attempt would fail too
	outOfSequence         // not appended: the sequence number is not the one that the log expects of the producer id
	fenced                // refused before the broker checked whether it has the batch, because the producer id is no longer valid
)

// verdicts has the error codes with a definite meaning; every other code is [unknown].
// NOT_LEADER_OR_FOLLOWER and UNKNOWN_TOPIC_OR_PARTITION are not among them: a broker
// also gives them if it appended the batch and lost the partition while it waited for
// the replicas, and then the next leader may have the batch.
var verdicts = map[kafkago.Error]verdict{
	0:                               written,
	kafkago.DuplicateSequenceNumber: written,

	kafkago.NotEnoughReplicas:       retriable,
	kafkago.ThrottlingQuotaExceeded: retriable,
	kafkago.InvalidMessage:          retriable, // wrong checksum: damaged in transit

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

// classify returns the verdict on an error code of a produce response. before says
// whether the outcome of an earlier attempt is unknown.
func classify(code kafkago.Error, before bool) verdict {
	if code == kafkago.DuplicateSequenceNumber && !before {
		return outOfSequence // never sent before: the log has another batch with this sequence
	}
	return verdicts[code]
}

// errorLabel returns the metrics label of an error code.
func errorLabel(code kafkago.Error) string {
	return strings.ToLower(strings.ReplaceAll(code.Title(), " ", "_"))
}

// leaderMoved reports whether an error code may mean that the partition has another
// leader.
func leaderMoved(code kafkago.Error) bool {
	switch code {
	case kafkago.NotLeaderForPartition, kafkago.UnknownTopicOrPartition, kafkago.LeaderNotAvailable, kafkago.ReplicaNotAvailable,
		kafkago.FencedLeaderEpoch, kafkago.UnknownLeaderEpoch, kafkago.KafkaStorageError, kafkago.BrokerNotAvailable:
		return true
	}
	return false
}
