package history

import (
	"bytes"
	"errors"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// Place is what [History.Where] knows about ids.
type Place struct {
	// Keys are further ids of the same payments: reference keys
	// (connector:account:id), and the merchant_transaction_id that one maps to.
	Keys   []string  `json:"keys"`
	Events []Located `json:"events"`
}

// Located is the id of an event, and where the event is.
type Located struct {
	ID string `json:"id"`
	kafka.Receipt
}

// Where returns the events and the further ids of the payments that have one of the
// ids. An id may be a merchant_transaction_id, an event id, connector:account:id, or a
// processor's id of a payment, refund, dispute or payout; a processor's id matches
// every connector and account. Unknown ids are ignored. Events are found for
// [Config.Remember], and only once the store has them. The error wraps [ErrNotReady]
// while the state is being restored.
func (h *History) Where(ids ...string) (p Place, err error) {
	if err := h.Ready(); err != nil {
		return p, err
	}
	for _, id := range ids {
		one, err := h.currentStore().where(id)
		if err != nil {
			return p, err
		}
		if len(one.Events)+len(one.Keys) == 0 {
			one.Keys = h.unstoredReferences(id)
		}
		p.Keys, p.Events = append(p.Keys, one.Keys...), append(p.Events, one.Events...)
	}
	return p, nil
}

// unstoredReferences is [store.referencesByID] for references that the store does not have
// yet. It also finds one by its whole key.
func (h *History) unstoredReferences(id string) (keys []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, merchant := range h.local.references {
		if key == id || strings.HasSuffix(key, ":"+id) {
			keys = append(keys, key, merchant)
		}
	}
	return keys
}

func (s *store) where(id string) (p Place, err error) {
	event, ok, err := s.event(id)
	if err != nil {
		return p, err
	}
	if p.Events, err = s.eventsOf(id); err != nil {
		return p, err
	}
	if ok {
		p.Events = append(p.Events, Located{event.id, event.Receipt})
	}
	merchant, err := s.reference(id)
	if err != nil {
		return p, err
	}
	if merchant != "" {
		p.Keys = append(p.Keys, merchant)
	}
	if len(p.Events)+len(p.Keys) == 0 {
		p.Keys, err = s.referencesByID(id)
	}
	return p, err
}

// keyRow returns the prefix of the rows of the events of a merchant_transaction_id.
func keyRow(merchant string) string { return rowKey + merchant + "\x00" }

// eventsOf returns the events of a merchant_transaction_id.
func (s *store) eventsOf(merchant string) (all []Located, err error) {
	prefix := keyRow(merchant)
	err = s.each(prefix, func(key, _ []byte) error {
		id := unpackID(key[len(prefix):])
		event, ok, err := s.event(id) // false if the row is of a longer merchant_transaction_id with a NUL
		if ok {
			all = append(all, Located{id, event.Receipt})
		}
		return err
	})
	return all, err
}

// referencesByID returns the reference keys with a processor's id, and the merchant's
// ids that they map to. There are few connectors and accounts, so it steps from one to
// the next and looks the id up in each.
func (s *store) referencesByID(id string) (keys []string, err error) {
	rows, err := s.NewIter(&pebble.IterOptions{LowerBound: []byte(rowReference), UpperBound: []byte(afterPrefix(rowReference))})
	if err != nil {
		return nil, err
	}
	for more := rows.First(); more && err == nil; {
		account := accountPrefix(rows.Key())
		for _, kind := range []string{"", "refund:", "dispute:", "payout:"} {
			key := strings.TrimPrefix(account, rowReference) + kind + id
			merchant, e := s.reference(key)
			if err = errors.Join(err, e); merchant != "" {
				keys = append(keys, key, merchant)
			}
		}
		more = rows.SeekGE([]byte(afterPrefix(account)))
	}
	return keys, errors.Join(err, rows.Close())
}

// accountPrefix returns the key of a row up to the id: connector:account:.
func accountPrefix(key []byte) string {
	end := len(key) // skip only a key without two colons, which is not tollbridge's
	if connector := bytes.IndexByte(key, ':'); connector >= 0 {
		if account := bytes.IndexByte(key[connector+1:], ':'); account >= 0 {
			end = connector + 1 + account + 1
		}
	}
	return string(key[:end])
}

// afterPrefix returns the first key after all keys with a prefix.
func afterPrefix(prefix string) string {
	end := []byte(prefix)
	end[len(end)-1]++
	return string(end)
}
