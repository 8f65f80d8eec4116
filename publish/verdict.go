package publish

import (
	"strings"

	"github.com/segmentio/kafka-go"
)

// verdict is what a broker's answer says of a batch.
type verdict int

const (
	// unknown: the log may have the batch or not. The same bytes are sent again
	// until an answer tells, and the broker recognises them if it has them.
	unknown verdict = iota
	written         // all in-sync replicas have it
	passing         // refused before it was appended; may be accepted later
	tooMuch         // refused before it was appended, for a record in it or for all of them together
	never           // refused before it was appended, whenever it is asked
	misfit          // refused before it was appended: the producer id's sequence does not fit the log's
	fenced          // refused before the broker looked whether the log has it: the producer id is of no use any more
)

// verdicts has the codes that settle something; every other is [unknown].
// NOT_LEADER_OR_FOLLOWER and UNKNOWN_TOPIC_OR_PARTITION are not here: a broker
// also answers so when it has appended and lost the partition while it waited
// for the replicas, and the next leader may have the batch.
var verdicts = map[kafka.Error]verdict{
	0:                             written,
	kafka.DuplicateSequenceNumber: written,

	kafka.NotEnoughReplicas:       passing,
	kafka.ThrottlingQuotaExceeded: passing,
	kafka.InvalidMessage:          passing, // the checksum: spoilt on its way

	kafka.MessageSizeTooLarge: tooMuch,
	kafka.RecordListTooLarge:  tooMuch,
	kafka.InvalidRecord:       tooMuch,
	kafka.InvalidTimestamp:    tooMuch,

	kafka.InvalidTopic:                never,
	kafka.InvalidRequiredAcks:         never,
	kafka.TopicAuthorizationFailed:    never,
	kafka.ClusterAuthorizationFailed:  never,
	kafka.UnsupportedForMessageFormat: never,
	kafka.UnsupportedCompressionType:  never,
	kafka.PolicyViolation:             never,

	kafka.OutOfOrderSequenceNumber: misfit,
	kafka.UnknownProducerId:        misfit,

	kafka.InvalidProducerEpoch:     fenced,
	kafka.ProducerFenced:           fenced,
	kafka.InvalidProducerIDMapping: fenced,
	kafka.InvalidTransactionState:  fenced,
}

// judge returns what a produce answer's code says of a batch, of which before
// tells whether an earlier attempt's outcome is unknown.
func judge(code kafka.Error, before bool) verdict {
	if code == kafka.DuplicateSequenceNumber && !before {
		return misfit // it was never sent: what the log has is another batch
	}
	return verdicts[code]
}

// cause is the word for an error code in metrics.
func cause(code kafka.Error) string {
	return strings.ToLower(strings.ReplaceAll(code.Title(), " ", "_"))
}

// moved reports whether a code may mean that the leader is another one.
func moved(code kafka.Error) bool {
	switch code {
	case kafka.NotLeaderForPartition, kafka.UnknownTopicOrPartition, kafka.LeaderNotAvailable, kafka.ReplicaNotAvailable,
		kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.KafkaStorageError, kafka.BrokerNotAvailable:
		return true
	}
	return false
}
