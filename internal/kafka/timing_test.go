package kafka

import (
	"testing"
	"time"
)

// TestTiming holds the inequalities between the time limits that the guarantees need.
func TestTiming(t *testing.T) {
	// The longest age of a partition's view while all is well: the end offsets are
	// requested once their interval has passed and a fetch has ended, which may have
	// begun just before. The next two fetches show that the log was read up to there.
	fetch := FetchMaxWait + MaxPollInterval
	healthy := EndOffsetsInterval + 3*fetch
	inFlight := Patience - MaxStaleness // the time that a request has to reach the leader
	for _, c := range []struct {
		name          string
		shorter, than time.Duration
	}{
		{"a replica refuses events of a partition it cannot read before another gives up on a record it sent there", MaxStaleness, Patience},
		{"a request reaches the leader before another replica may publish the same event", 4 * FetchMaxWait, inFlight},
		{"after an outage, a request that was sent before it has no less time than without one", inFlight, QuietPeriod},
		{"a healthy partition is never stale", healthy, MaxStaleness},
		{"a moved leader is found before the partition is stale", LeaderCheckInterval, MaxStaleness},
		{"a single late answer about end offsets does not make a partition stale", 2 * EndOffsetsInterval, MaxStaleness - healthy},
		{"the metadata comes from another broker in time if one cannot be connected to", DialTimeout + MetadataRetryInterval + MetadataMinInterval, Patience},
		{"the metadata comes from another broker in time if one does not answer", RequestTimeout + MetadataRetryInterval + MetadataMinInterval, Patience},
		{"callers are refused soon after their patience ends", PatienceCheckInterval, Patience / 10},
		{"a producer id is asked for several times before callers are refused", 4 * ProducerIDMinBackoff, Patience},
		{"the broker answers before the connection is cut", ReplicationTimeout, ProduceTimeout},
		{"an unanswered produce request does not delay its callers' refusal", Patience, ReplicationTimeout},
		{"the log reader is asked no more often than it may have something new", MinPollInterval, LogReadInterval},
		{"an owner of a claim has time for every attempt that a caller waits for", Patience, ClaimSendTime},
		{"the last request of a claim's owner has reached the leader, or is cut off, long before another may publish", ClaimSendTime + ProduceTimeout, ClaimLifetime * 2 / 3},
		{"a replica that starts reads every claim that may still be used", 4 * ClaimLifetime, ClaimRestore},
		{"a replica that starts finds all claims that it reads", 2 * ClaimRestore, ClaimRetention},
		{"the poll interval has room to grow", MinPollInterval, MaxPollInterval},
		{"a held fetch is not cut", FetchMaxWait, FetchTimeout},
		{"the search for a leader slows down", LeaderLookupInterval, LeaderLookupMaxInterval},
		{"an older leader epoch counts only after several checks have not shown the newer", 3 * LeaderCheckInterval, LeaderEpochGrace},
		{"a retried metadata request does not wait for the regular one", MetadataRetryInterval, MetadataMaxAge},
	} {
		if c.shorter >= c.than {
			t.Errorf("%s: expected %s to be shorter than %s", c.name, c.shorter, c.than)
		}
	}
}
