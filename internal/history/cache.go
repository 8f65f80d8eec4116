package history

import "cmp"

// cache holds the rows of the store that were used last: most payments have several
// webhooks within a short time. It has two generations. When the young one has most
// rows, or [generationRows] if most is 0, it becomes the old one, and the old one is
// dropped, so that a cache holds up to twice as many.
type cache[T any] struct {
	young, old map[string]T
	most       int
}

const (
	generationRows   = 20_000
	generationEvents = 2_000 // limit for events, which take a kilobyte or two each
)

// get returns a row, and false if it is not cached.
func (c *cache[T]) get(key string) (row T, ok bool) {
	if row, ok = c.young[key]; ok {
		return row, true
	}
	if row, ok = c.old[key]; ok {
		c.put(key, row)
	}
	return row, ok
}

// put caches a row.
func (c *cache[T]) put(key string, row T) {
	most := cmp.Or(c.most, generationRows)
	if len(c.young) >= most {
		c.young, c.old = nil, c.young
	}
	if c.young == nil {
		c.young = make(map[string]T, most/4)
	}
	c.young[key] = row
}

// update changes a row, if it is cached.
func (c *cache[T]) update(key string, change func(T) T) {
	if row, ok := c.get(key); ok {
		c.put(key, change(row))
	}
}

// remove removes a row.
func (c *cache[T]) remove(key string) {
	delete(c.young, key)
	delete(c.old, key)
}
