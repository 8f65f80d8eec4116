package lookup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/internal/consume"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// Explanation says where an event was published, which archived webhooks gave it, and
// how its duplicates are recognised.
type Explanation struct {
	EventID  string       `json:"event_id"`
	Type     schemas.Type `json:"type"`
	Key      string       `json:"key"`
	Identity Identity     `json:"identity"`
	// Published are the records with the event's id, oldest first. There are several if
	// replicas published the event at the same time.
	Published []Found `json:"published"`
	// Webhooks are the archived webhooks that gave the event, oldest first: the
	// original and its redeliveries.
	Webhooks []Found `json:"webhooks"`

	event schemas.Event
}

// Found is a record of an event or of an archived webhook.
type Found struct {
	kafka.Receipt
	Time    time.Time `json:"time"`              // the record's timestamp
	Outcome string    `json:"outcome,omitempty"` // of a webhook

	webhook *webhook.Archived
}

// Identity says what an event's id is made from. Duplicates of the event give the same
// id.
type Identity string

// The identities.
const (
	IdentityFromProcessor Identity = "what the processor repeats: its id of the event or of its object, and the object's state"
	IdentityFromDigest    Identity = "a digest of the signed body: the processor signs no id"
	IdentityUnknown       Identity = "unknown: no archived webhook of the event is verified by this configuration"
)

// Explainer reads from Kafka why webhooks were duplicates. Reader and Names must be
// set.
type Explainer struct {
	Reader *consume.Reader
	Names  kafka.Names
	// Endpoints are used to verify archived webhooks again, which finds the identity of
	// their events.
	Endpoints []webhook.Endpoint
	// From skips records that were written before this time; zero reads from the
	// beginning.
	From time.Time
	// AllPartitions scans every partition of the archive. Otherwise only the partitions
	// of the events' possible keys are scanned; they may not have a batch, whose key is
	// that of its first event.
	AllPartitions bool
	// Progress is called with the number of records read so far and of all; it may be
	// nil.
	Progress func(done, all int64)
}

// Explain explains events, in their order. verdict is the verdict on the webhook that
// gave the events; nil if only their ids are known.
func (x Explainer) Explain(ctx context.Context, events []schemas.Event, verdict *webhook.Verdict) ([]*Explanation, error) {
	s := explaining{Explainer: x, keys: map[string]bool{}, byID: map[string]*Explanation{}}
	var all []*Explanation
	var topics []string
	for _, e := range events {
		one := &Explanation{EventID: e.ID, Type: e.Type, Key: e.Subject, Published: []Found{}, Webhooks: []Found{}, event: e}
		all, topics = append(all, one), append(topics, x.Names.Event(e.Type))
		for id := range e.IDs() {
			s.byID[id] = one
		}
		for _, key := range candidateKeys(e) {
			s.keys[key] = true
		}
	}
	slices.Sort(topics)
	if err := s.addReferencedKeys(ctx); err != nil {
		return nil, err
	}
	if err := s.addEvents(ctx, slices.Compact(topics)); err != nil {
		return nil, err
	}
	if err := s.addWebhooks(ctx); err != nil {
		return nil, err
	}
	for _, one := range all {
		for _, found := range [][]Found{one.Published, one.Webhooks} {
			slices.SortStableFunc(found, func(a, b Found) int { return a.Time.Compare(b.Time) })
		}
		one.Identity = s.identity(ctx, one, verdict)
	}
	return all, nil
}

// candidateKeys returns the Kafka keys that an event, and the webhooks that gave
// it, can have.
func candidateKeys(e schemas.Event) []string {
	keys := append(history.ReferenceKeys(e), e.Subject, e.Data.MerchantRefundID)
	return slices.DeleteFunc(keys, func(key string) bool { return key == "" })
}

// explaining is the state of one call of Explain.
type explaining struct {
	Explainer
	keys map[string]bool // the candidate keys of all events
	byID map[string]*Explanation
}

// addReferencedKeys adds the merchant's ids that references give for the keys.
func (s *explaining) addReferencedKeys(ctx context.Context) error {
	return s.read(ctx, false, []string{s.Names.References()}, func(r consume.Record) {
		if s.keys[string(r.Key)] && len(r.Value) > 0 {
			s.keys[string(r.Value)] = true
		}
	})
}

// addEvents adds the records of the events.
func (s *explaining) addEvents(ctx context.Context, topics []string) error {
	return s.read(ctx, false, topics, func(r consume.Record) {
		ids := append([]string{r.Header(schemas.HeaderEventID)}, strings.Split(r.Header(schemas.HeaderAlso), ",")...)
		for _, id := range ids {
			if x := s.byID[id]; x != nil {
				x.Published, x.Key, s.byID[ids[0]] = append(x.Published, Found{Receipt: r.Receipt(), Time: r.Time.UTC()}), string(r.Key), x
				break
			}
		}
	})
}

// addWebhooks adds the archived webhooks that gave the events.
func (s *explaining) addWebhooks(ctx context.Context) error {
	return s.read(ctx, s.AllPartitions, []string{s.Names.Received(), s.Names.Dead()}, func(r consume.Record) {
		i := Read(s.Names, r)
		if i == nil {
			return
		}
		for _, id := range i.Webhook.EventIDs {
			if x := s.byID[id]; x != nil {
				x.Webhooks = append(x.Webhooks, Found{r.Receipt(), i.Time, string(i.Webhook.Outcome), i.Webhook})
			}
		}
	})
}

// read calls f with the records of topics: those of all partitions, or of the
// partitions of the candidate keys. It always reads references from the beginning.
func (s *explaining) read(ctx context.Context, allPartitions bool, topics []string, f func(consume.Record)) error {
	partitions, err := s.Reader.Partitions(ctx, topics...)
	if err != nil {
		return err
	}
	if !allPartitions {
		partitions = PartitionsOf(partitions, slices.Collect(maps.Keys(s.keys))...)
	}
	ranges, err := s.Reader.Bounds(ctx, partitions)
	if err == nil && !s.From.IsZero() && topics[0] != s.Names.References() {
		ranges, err = s.Reader.Since(ctx, partitions, s.From)
	}
	if err != nil {
		return err
	}
	return Each(ctx, s.Reader, ranges, s.Progress, f)
}

// identity returns what the id of an event is made from. Without a verdict it
// verifies the archived webhooks of the event again, until one is verified.
func (s *explaining) identity(ctx context.Context, x *Explanation, verdict *webhook.Verdict) Identity {
	for i := 0; verdict == nil && i < len(x.Webhooks); i++ {
		archived := *x.Webhooks[i].webhook
		e, configured := EndpointOf(s.Endpoints, archived.Connector, archived.Endpoint)
		if !configured {
			continue
		}
		if again := e.JudgeArchived(ctx, new(verify.Keyring), archived); again.Err == nil {
			verdict = &again
		}
	}
	if verdict == nil {
		return IdentityUnknown
	}
	digest := sha256.Sum256(verdict.Payload)
	d := x.event.Data
	for item := range len(verdict.Events) + len(verdict.Skipped) {
		if schemas.ID(d.Connector, d.Endpoint, hex.EncodeToString(digest[:]), x.Type, item) == x.EventID {
			return IdentityFromDigest
		}
	}
	return IdentityFromProcessor
}

// EndpointOf returns the endpoint with this connector and name, or one without
// secrets if none is configured.
func EndpointOf(all []webhook.Endpoint, connector, name string) (e webhook.Endpoint, configured bool) {
	e = webhook.Endpoint{Connector: connector, Name: name}
	for _, one := range all {
		if one.Path() == e.Path() {
			return one, true
		}
	}
	return e, false
}
