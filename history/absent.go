package history

import (
	"hash/maphash"
	"math/bits"
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
	most   int64       // bytes; beyond it the filter says nothing any more
	ready  atomic.Bool // every key of the store is in it
	layers atomic.Pointer[[]*layer]
	adding sync.Mutex
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

func newAbsent(most int64) *absent {
	a := &absent{seed: maphash.MakeSeed(), most: most}
	a.layers.Store(&[]*layer{})
	return a
}

// has reports whether the store may have a key.
func (a *absent) has(key string) bool {
	if !a.ready.Load() {
		return true
	}
	h := maphash.String(a.seed, key)
	for _, l := range *a.layers.Load() {
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
	layers := *a.layers.Load()
	if len(layers) == 0 || layers[len(layers)-1].room == 0 {
		if a.most == 0 {
			return
		}
		blocks := absentFirst << len(layers)
		if int64(2*blocks-absentFirst)*absentBlockLen > a.most { // all layers
			a.most = 0
			a.ready.Store(false)
			a.layers.Store(&[]*layer{})
			return
		}
		layers = append(layers[:len(layers):len(layers)], &layer{make([][8]atomic.Uint64, blocks), blocks * absentBlock})
		a.layers.Store(&layers)
	}
	h := maphash.String(a.seed, key)
	for _, l := range layers[:len(layers)-1] {
		if l.has(h) {
			return
		}
	}
	layers[len(layers)-1].add(h)
}

// filled tells that every key of the store is in it.
func (a *absent) filled() {
	a.adding.Lock()
	defer a.adding.Unlock()
	a.ready.Store(a.most > 0)
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
