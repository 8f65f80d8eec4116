package history

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestBloomFilter: no layer gives a false negative, and false positives are rare.
func TestBloomFilter(t *testing.T) {
	f := newBloomFilter(maxFilterBytes)
	if !f.mayContain("1") {
		t.Error("an incomplete filter rules a key out")
	}
	const n = 400_000
	for i := range n {
		f.add([]byte(fmt.Sprint("e/", i)))
	}
	f.setComplete()
	if got := len(f.layers); got < 3 {
		t.Fatalf("%d layers, want several", got)
	}
	wrong := 0
	for i := range n {
		if !f.mayContain(fmt.Sprint("e/", i)) {
			t.Fatalf("%d was added but is ruled out", i)
		}
		if f.mayContain(fmt.Sprint("r/", i)) {
			wrong++
		}
	}
	if wrong > n/20 {
		t.Errorf("%d of %d keys are false positives", wrong, n)
	}
	t.Logf("%d of %d keys are false positives", wrong, n)
}

// TestBloomFilterTooLarge: a filter that would exceed its bound is disabled and rules
// nothing out.
func TestBloomFilterTooLarge(t *testing.T) {
	f := newBloomFilter(firstBlocks * blockBytes)
	for i := range firstBlocks * keysPerBlock {
		f.add([]byte(fmt.Sprint(i)))
	}
	f.setComplete()
	if f.mayContain("another") {
		t.Error("a key that was not added is a false positive")
	}
	f.add([]byte("another"))
	f.setComplete()
	if !f.mayContain("anything") || len(f.layers) != 0 {
		t.Error("a disabled filter rules a key out, or holds memory")
	}
}

// TestBloomFilterGrowsDuringLookup: there is no false negative in a look-up during
// which the filter grows and is then disabled.
func TestBloomFilterGrowsDuringLookup(t *testing.T) {
	key := strings.Repeat("k", 64<<20) // hashing it takes longer than disabling the filter
	f := newBloomFilter(3 * firstBlocks * blockBytes)
	f.add([]byte(key))
	f.setComplete()
	if !f.mayContain(key) {
		t.Fatal("a key that was added is ruled out")
	}
	result := make(chan bool)
	go func() {
		for there := true; there; {
			disabled := f.visible.Load() == nil
			if there = f.mayContain(key); disabled {
				result <- there
				return
			}
		}
		result <- false
	}()
	time.Sleep(5 * time.Millisecond)
	for i := range 4 * firstBlocks * keysPerBlock {
		f.add([]byte(fmt.Sprint(i)))
	}
	if !<-result {
		t.Error("a key that was added is ruled out: its event would be published twice")
	}
	if f.visible.Load() != nil {
		t.Error("the filter is not disabled")
	}
}
