package history

// recent holds the rows of the store that were looked at last, since most payments
// are told of several times within a while. It holds between recentRows and twice
// as many.
type recent[T any] struct{ young, old map[string]T }

const recentRows = 20_000

// get returns a row.
func (r *recent[T]) get(key string) (row T, ok bool) {
	if row, ok = r.young[key]; ok {
		return row, true
	}
	if row, ok = r.old[key]; ok {
		r.put(key, row)
	}
	return row, ok
}

// put keeps a row.
func (r *recent[T]) put(key string, row T) {
	if len(r.young) >= recentRows {
		r.young, r.old = nil, r.young
	}
	if r.young == nil {
		r.young = make(map[string]T, recentRows/4)
	}
	r.young[key] = row
}

// change has a row be as the store has it now, if it is held.
func (r *recent[T]) change(key string, row func(T) T) {
	if was, ok := r.get(key); ok {
		r.put(key, row(was))
	}
}

// drop forgets a row.
func (r *recent[T]) drop(key string) {
	delete(r.young, key)
	delete(r.old, key)
}
