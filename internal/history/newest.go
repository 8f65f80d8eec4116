package history

import (
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// newest is the event of a merchant_transaction_id with the latest time. An older
// event that is published after it is marked as late.
type newest struct {
	Time time.Time
	ID   string
}

// after returns the newest event after e is published.
func (n newest) after(e schemas.Event) newest {
	if !e.Time.Before(n.Time) {
		n.Time, n.ID = e.Time, e.ID
	}
	return n
}

// newestOf returns the newest event of a merchant's id: the later of the local one and
// the store's. Either can be later: the store may lack local events, and memory lacks
// the events of other replicas.
func (h *History) newestOf(merchant string) (newest, error) {
	n, ok := h.cachedNewest.get(merchant)
	if !ok {
		var err error
		if n, err = h.currentStore().newest(merchant); err != nil {
			return n, err
		}
		h.cachedNewest.put(merchant, n)
	}
	if own, ok := h.local.newest[merchant]; ok && !own.row.Time.Before(n.Time) {
		n = own.row
	}
	return n, nil
}
