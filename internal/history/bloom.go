package history

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// bloomFilter answers most look-ups of keys that are not in the store without
// reading the store: nearly every webhook is new, and looks up five keys. It grows
// by further layers, each twice as large as the one before.
//
// A layer is an array of blocks of 512 bits, one cache line each. A key sets
// [keyBits] bits in one block: https://doi.org/10.1145/1498698.1594230.
//
// mayContain is safe for concurrent use, together with one another and with add.
type bloomFilter struct {
	seed     maphash.Seed
	maxBytes int64 // if the filter would become larger, it is disabled, and maxBytes is 0
	adding   sync.Mutex
	complete bool     // every key of the store has been added
	layers   []*layer // replaced and never changed in place, because look-ups may be reading it

	// visible holds the layers that look-ups read; nil while the filter is incomplete
	// or disabled. It is one pointer, so that a look-up reads either every layer of a
	// complete filter, or none.
	visible atomic.Pointer[[]*layer]
}

// layer has room for a fixed number of keys.
type layer struct {
	blocks [][8]atomic.Uint64
	room   int
}

const (
	keyBits        = 6
	keysPerBlock   = 40       // about 1 % false positives
	firstBlocks    = 1 << 11  // blocks of the first layer: 128 KiB, some 80,000 keys
	maxFilterBytes = 96 << 20 // of all layers: some 60 million keys, ten million webhooks
	blockBytes     = 64
)

func newBloomFilter(maxBytes int64) *bloomFilter {
	return &bloomFilter{seed: maphash.MakeSeed(), maxBytes: maxBytes}
}

// mayContain returns false only if the store does not have the key, which may be given
// in parts.
func (f *bloomFilter) mayContain(parts ...string) bool {
	layers := f.visible.Load()
	if layers == nil {
		return true
	}
	var room [128]byte // most keys are shorter
	key := room[:0]
	for _, part := range parts {
		key = append(key, part...)
	}
	h := maphash.Bytes(f.seed, key)
	for _, l := range *layers {
		if l.mayContain(h) {
			return true
		}
	}
	return false
}

// add adds a key that is in the store or is about to be written to it.
func (f *bloomFilter) add(key []byte) {
	f.adding.Lock()
	defer f.adding.Unlock()
	if len(f.layers) == 0 || f.layers[len(f.layers)-1].room == 0 {
		if !f.grow() {
			return
		}
	}
	h := maphash.Bytes(f.seed, key)
	last := len(f.layers) - 1
	for _, l := range f.layers[:last] {
		if l.mayContain(h) {
			return
		}
	}
	f.layers[last].add(h)
}

// grow adds a layer. If the filter would be larger than maxBytes it disables the
// filter and returns false.
func (f *bloomFilter) grow() bool {
	blocks := firstBlocks << len(f.layers)
	if f.maxBytes == 0 || int64(2*blocks-firstBlocks)*blockBytes > f.maxBytes { // the sum of all layers, with the new one
		f.maxBytes, f.layers = 0, nil
	} else {
		f.layers = append(slices.Clip(f.layers), &layer{make([][8]atomic.Uint64, blocks), blocks * keysPerBlock})
	}
	f.publish()
	return f.maxBytes > 0
}

// setComplete enables the filter, once every key of the store has been added.
func (f *bloomFilter) setComplete() {
	f.adding.Lock()
	defer f.adding.Unlock()
	f.complete = true
	f.publish()
}

// publish makes the layers visible to look-ups, if the filter is complete and enabled.
func (f *bloomFilter) publish() {
	if f.maxBytes == 0 || !f.complete {
		f.visible.Store(nil)
		return
	}
	layers := f.layers
	f.visible.Store(&layers)
}

// block returns the block of a key's hash, and a second hash that selects the bits
// in it.
func (l *layer) block(h uint64) (*[8]atomic.Uint64, uint64) {
	at, _ := bits.Mul64(h, uint64(len(l.blocks)))
	return &l.blocks[at], h * 0x9e3779b97f4a7c15
}

func (l *layer) mayContain(h uint64) bool {
	b, g := l.block(h)
	for range keyBits {
		if b[g>>61].Load()&(1<<(g>>55&63)) == 0 {
			return false
		}
		g = bits.RotateLeft64(g, 9)
	}
	return true
}

func (l *layer) add(h uint64) {
	b, g := l.block(h)
	for range keyBits {
		b[g>>61].Or(1 << (g >> 55 & 63))
		g = bits.RotateLeft64(g, 9)
	}
	l.room--
}
