// Package history remembers which events were published, so that each fact is
// published once, under the merchant's id, and is marked if it is late. Its only
// source is tollbridge's own topics: a store in the state directory follows them. A store
// that is missing, broken or of another cluster is rebuilt from them.
//
//	ingest ──Admit──▶ new events ──▶ Publish ──▶ Done ──▶ memory ─┐
//	                                               Admit reads    ├─▶ Admit
//	event topics, references ──follow──▶ store ─── both ──────────┘
//
// Memory holds what this process published until the store has it. The follower
// copies those records from memory to the store, and fetches only the records
// that other replicas wrote.
//
// # Guarantees
//
// An event whose id was published is not published again for [Config.Remember]:
// not by this process, not by an earlier process, however that one ended, and not
// by another replica: each claims an event before it publishes it, by the rules of
// package once ([History.Admit], claims.go). [History.Ready] reports whether
// everything that was in the topics at the start has been read.
//
// Claims are needed for the moments in which one replica has not read what another has
// published. For older events the event topics are the only source: a claim is of no use
// once its place has been read.
//
// A replica that has not been in sync with a partition for [kafka.MaxStaleness]
// admits no new event to it: another replica may have sent that event, and have
// refused its webhook because no answer said whether it was written. After such a
// refusal that replica does not send the record again either. It looks for the
// record in the log ([History.Written]). Both replicas resume [kafka.QuietPeriod]
// after the partition's leader answers again: by then every produce request that
// was sent before has reached the leader.
//
// An event is published twice, with the same id, only where an assumption of claims
// does not hold: docs/once.md lists them.
//
// Consumers handle an id once. Two records with the same id
//
//   - say the same, except for received_at, late, newest_event_id and contradicts
//     and, where the processor reports one fact by several of its events, for the
//     fields in which those differ;
//   - have the same key, and so the same partition, unless the payment's reference
//     was also written at that time: then one of the two has the fallback key, and
//     a correction of it follows, although the other has the merchant's id;
//   - count as one event for later redeliveries, which get the receipt of the
//     second.
//
// Two facts of one payment that two replicas publish before either has read the
// other's record are not marked as late or as contradicting each other.
//
// # One fact, several webhooks
//
// An event can have further ids: those that other webhooks of the processor give the
// same fact ([schemas.Event.Also]), and those that earlier versions of tollbridge gave
// it. The event is known if one of them was published. A header of its record has the
// ids of the first kind. If a duplicate has one more id, a record in
// webhooks.references maps that id to the event.
//
// The row of an event has the set of its fields. If a duplicate has one more field, the
// event's record is read from Kafka, unless it is cached, and a correction is published
// with the archived duplicate, whose response then says whether Kafka has both. The id
// of a correction is made from the id of the event or correction that it replaces: of two
// corrections of one version, for a field and for the key, one is published, and the
// other follows it with a new id. The last correction has the fields of all webhooks.
//
// # References
//
// Every event that has both the processor's id of a payment and the merchant's id
// gives a reference, which maps the first to the second. An event without the merchant's id
// gets its key through the reference. The first reference of an id counts. A
// second one is written only by two replicas at the same time; after Kafka has
// compacted such a pair, a rebuilt store has the second.
//
// A new event's record has the references that it is the first to state in a header, so
// that they are in Kafka when the webhook is answered, and known to whoever reads the event.
// They are written to webhooks.references, which keeps them without limit, a moment later
// (behind.go).
//
// An event that comes before its reference has the fallback key
// connector:account:id. Once the reference is known, a correction is published
// under the merchant's id: a copy of the event, or of its last correction, whose field
// corrects has the id of the first event. Each replica waits a random time before it
// publishes a correction, and skips it if another replica has published it meanwhile.
package history
