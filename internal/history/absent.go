package history

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// absent tells of most keys that are not in the store that they are not, without
// a look at it: nearly every webhook is new, and asks for five. It is a Bloom
// filter that grows by further layers, each twice as large as the one before.
//
// One layer is blocks of 512 bits, a cache line, of which a key has one and in it
// [absentBits] bits: https://doi.org/10.1145/1498698.1594230.
type absent struct {
	seed   maphash.Seed
	most   int64 // bytes; beyond it the filter says nothing any more
	adding sync.Mutex
	filled bool     // every key of the store is in it
	layers []*layer // replaced, never changed, since shown may be these

	// shown is the layers that look-ups read, nil while the filter says nothing. It
	// is one pointer: a look-up reads all of a filter that is complete, or none.
	shown atomic.Pointer[[]*layer]
}

// layer has room for a number of keys.
type layer struct {
	blocks [][8]atomic.Uint64
	room   int
}

const (
	absentBits     = 6
	absentBlock    = 40       // keys of a block: about one in a hundred that are not there seems to be
	absentFirst    = 1 << 11  // blocks of the first layer: 128 KiB, some 80,000 keys
	absentMost     = 96 << 20 // bytes in all: some 60 million keys, ten million webhooks
	absentBlockLen = 64
)

func newAbsent(most int64) *absent { return &absent{seed: maphash.MakeSeed(), most: most} }

// has reports whether the store may have a key.
func (a *absent) has(key string) bool {
	shown := a.shown.Load()
	if shown == nil {
		return true
	}
	h := maphash.String(a.seed, key)
	for _, l := range *shown {
		if l.has(h) {
			return true
		}
	}
	return false
}

// add tells of a key that the store has, or will have.
func (a *absent) add(key string) {
	a.adding.Lock()
	defer a.adding.Unlock()
	if len(a.layers) == 0 || a.layers[len(a.layers)-1].room == 0 {
		if !a.grow() {
			return
		}
	}
	h := maphash.String(a.seed, key)
	last := len(a.layers) - 1
	for _, l := range a.layers[:last] {
		if l.has(h) {
			return
		}
	}
	a.layers[last].add(h)
}

// grow adds a layer, or ends the filter if that would be beyond its bound.
func (a *absent) grow() bool {
	blocks := absentFirst << len(a.layers)
	if a.most == 0 || int64(2*blocks-absentFirst)*absentBlockLen > a.most { // all layers
		a.most, a.layers = 0, nil
	} else {
		a.layers = append(slices.Clip(a.layers), &layer{make([][8]atomic.Uint64, blocks), blocks * absentBlock})
	}
	a.show()
	return a.most > 0
}

// fill tells that every key of the store is in it.
func (a *absent) fill() {
	a.adding.Lock()
	defer a.adding.Unlock()
	a.filled = true
	a.show()
}

// show has look-ups read the layers as they are, if they tell of every key.
func (a *absent) show() {
	if a.most == 0 || !a.filled {
		a.shown.Store(nil)
		return
	}
	layers := a.layers
	a.shown.Store(&layers)
}

// block returns a hash's block, and the hash of its bits there.
func (l *layer) block(h uint64) (*[8]atomic.Uint64, uint64) {
	at, _ := bits.Mul64(h, uint64(len(l.blocks)))
	return &l.blocks[at], h * 0x9e3779b97f4a7c15
}

func (l *layer) has(h uint64) bool {
	b, g := l.block(h)
	for range absentBits {
		if b[g>>61].Load()&(1<<(g>>55&63)) == 0 {
			return false
		}
		g = bits.RotateLeft64(g, 9)
	}
	return true
}

func (l *layer) add(h uint64) {
	b, g := l.block(h)
	for range absentBits {
		b[g>>61].Or(1 << (g >> 55 & 63))
		g = bits.RotateLeft64(g, 9)
	}
	l.room--
}
