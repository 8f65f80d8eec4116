package fetch

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// flights lets one request for an object run at a time. Package singleflight does not do:
// it gives a caller the answer of a request that was sent before the caller came. Such an
// answer can be older than the change that the caller's webhook reports, and the change
// would be lost. Here a caller only gets the answer of a request that starts after it
// came: callers that come during a request share the next one.
type flights struct {
	mu   sync.Mutex
	keys map[string]*flight
}

// flight is what runs for one key.
type flight struct {
	next *answer // of the request after the running one; nil if nobody waits for it
}

// answer is the result of one request.
type answer struct {
	done     chan struct{} // closed when the fields below are set
	document schemas.Fetched
	err      error
	ask      func() (schemas.Fetched, error)
}

// do returns the result of ask, or of another caller's ask for the same key that starts
// after the call of do. It returns early with ctx's error; ask then goes on.
func (f *flights) do(ctx context.Context, key string, ask func() (schemas.Fetched, error)) (schemas.Fetched, error) {
	f.mu.Lock()
	if f.keys == nil {
		f.keys = map[string]*flight{}
	}
	running := f.keys[key]
	var mine *answer
	switch {
	case running == nil:
		mine = &answer{done: make(chan struct{}), ask: ask}
		f.keys[key] = &flight{}
		go f.run(key, mine)
	case running.next == nil:
		running.next = &answer{done: make(chan struct{}), ask: ask}
		mine = running.next
	default:
		mine = running.next
	}
	f.mu.Unlock()
	select {
	case <-mine.done:
		return mine.document, mine.err
	case <-ctx.Done():
		return schemas.Fetched{}, ctx.Err()
	}
}

// run sends the request, and after it the next one until nobody waits.
func (f *flights) run(key string, a *answer) {
	for a != nil {
		a.document, a.err = a.recovered()
		close(a.done)
		f.mu.Lock()
		running := f.keys[key]
		a, running.next = running.next, nil
		if a == nil {
			delete(f.keys, key)
		}
		f.mu.Unlock()
	}
}

// recovered calls ask, and turns a panic into an error: it runs outside of the goroutine
// of a webhook, whose server would recover.
func (a *answer) recovered() (d schemas.Fetched, err error) {
	defer func() {
		if recover() != nil {
			d, err = schemas.Fetched{}, fmt.Errorf("%w: the connector panicked", ErrUnavailable)
		}
	}()
	return a.ask()
}

// memory remembers since when names are unknown. The zero memory is empty.
type memory struct {
	mu    sync.Mutex
	names map[string]time.Time
}

// add remembers a name, and returns when it was added first. Names that were added
// longer than life ago are forgotten once the memory is full, and then the oldest.
func (m *memory) add(name string, now time.Time, life time.Duration) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if first, ok := m.names[name]; ok && now.Sub(first) < life {
		return first
	}
	if m.names == nil {
		m.names = map[string]time.Time{}
	}
	if len(m.names) >= maxRemembered {
		oldest, at := "", now
		for n, first := range m.names {
			if now.Sub(first) >= life {
				delete(m.names, n)
			} else if !first.After(at) {
				oldest, at = n, first
			}
		}
		if len(m.names) >= maxRemembered {
			delete(m.names, oldest)
		}
	}
	m.names[name] = now
	return now
}

// since returns when the name was added, if that was less than life ago.
func (m *memory) since(name string, now time.Time, life time.Duration) (time.Time, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first, ok := m.names[name]
	return first, ok && now.Sub(first) < life
}

// forget forgets a name.
func (m *memory) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.names, name)
}
