package history

import (
	"bytes"
	"errors"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tollbridge/tollbridge/internal/kafka"
)

// Place is where the events are that an id stands for.
type Place struct {
	// Keys are other ids of the same payment: connector:account:id, and the
	// merchant_transaction_id that it is a reference to.
	Keys   []string  `json:"keys"`
	Events []Located `json:"events"`
}

// Located is an event, and where it is.
type Located struct {
	ID string `json:"id"`
	kafka.Receipt
}

// Where looks ids up: each may be a merchant_transaction_id, an event's, or
// connector:account:id, and what is none of these the processor's id of a
// payment, refund, dispute or payout, with any connector and account. What
// nobody knows is left out. Events are known for [Config.Remember], and once
// they are read back. The error wraps [ErrNotReady] until all of them are.
func (s *History) Where(ids ...string) (p Place, err error) {
	if err := s.Ready(); err != nil {
		return p, err
	}
	for _, id := range ids {
		one, err := s.stored().where(id)
		if err != nil {
			return p, err
		}
		p.Keys, p.Events = append(p.Keys, one.Keys...), append(p.Events, one.Events...)
	}
	return p, nil
}

func (s *store) where(id string) (p Place, err error) {
	at, ok, err := s.receipt(id)
	if err != nil {
		return p, err
	}
	if p.Events, err = s.under(id); err != nil {
		return p, err
	}
	if ok {
		p.Events = append(p.Events, Located{id, at})
	}
	merchant, err := s.reference(id)
	if err != nil {
		return p, err
	}
	if merchant != "" {
		p.Keys = append(p.Keys, merchant)
	}
	if len(p.Events)+len(p.Keys) == 0 {
		p.Keys, err = s.named(id)
	}
	return p, err
}

// keyRow is what the rows of a merchant_transaction_id's events begin with.
func keyRow(merchant string) string { return rowKey + merchant + "\x00" }

// under returns the events of a merchant_transaction_id.
func (s *store) under(merchant string) (all []Located, err error) {
	prefix := keyRow(merchant)
	err = s.each(prefix, func(key, _ []byte) error {
		id := string(key[len(prefix):])
		at, ok, err := s.receipt(id) // not if it is of a longer merchant_transaction_id
		if ok {
			all = append(all, Located{id, at})
		}
		return err
	})
	return all, err
}

// named returns the references that end in a processor's id, and what they refer
// to. There are few connectors and accounts, so that it steps from one to the
// next and looks for the id in each.
func (s *store) named(id string) (keys []string, err error) {
	rows, err := s.NewIter(&pebble.IterOptions{LowerBound: []byte(rowReference), UpperBound: []byte(after(rowReference))})
	if err != nil {
		return nil, err
	}
	for more := rows.First(); more && err == nil; {
		account := accountOf(rows.Key())
		for _, kind := range []string{"", "refund:", "dispute:", "payout:"} {
			key := strings.TrimPrefix(account, rowReference) + kind + id
			merchant, e := s.reference(key)
			if err = errors.Join(err, e); merchant != "" {
				keys = append(keys, key, merchant)
			}
		}
		more = rows.SeekGE([]byte(after(account)))
	}
	return keys, errors.Join(err, rows.Close())
}

// accountOf is the row's key up to the id: connector:account:.
func accountOf(key []byte) string {
	end := len(key) // a row that is not ours is a step of its own
	if connector := bytes.IndexByte(key, ':'); connector >= 0 {
		if account := bytes.IndexByte(key[connector+1:], ':'); account >= 0 {
			end = connector + 1 + account + 1
		}
	}
	return string(key[:end])
}

// after is the first key that does not begin with prefix.
func after(prefix string) string {
	end := []byte(prefix)
	end[len(end)-1]++
	return string(end)
}
