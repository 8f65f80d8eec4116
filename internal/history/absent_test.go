package history

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestAbsent: what was added is never said to be absent, through all layers, and
// hardly anything else is said to be there.
func TestAbsent(t *testing.T) {
	a := newAbsent(absentMost)
	if !a.has("1") {
		t.Error("before it is filled it says that something is not there")
	}
	const n = 400_000
	for i := range n {
		a.add(fmt.Sprint("e/", i))
	}
	a.fill()
	if got := len(a.layers); got < 3 {
		t.Fatalf("%d layers, want several", got)
	}
	wrong := 0
	for i := range n {
		if !a.has(fmt.Sprint("e/", i)) {
			t.Fatalf("%d is said to be absent", i)
		}
		if a.has(fmt.Sprint("r/", i)) {
			wrong++
		}
	}
	if wrong > n/20 {
		t.Errorf("%d of %d that are not there seem to be", wrong, n)
	}
	t.Logf("%d of %d that are not there seem to be", wrong, n)
}

// TestAbsentBounded: a filter that would grow beyond its bound says nothing.
func TestAbsentBounded(t *testing.T) {
	a := newAbsent(absentFirst * absentBlockLen)
	for i := range absentFirst * absentBlock {
		a.add(fmt.Sprint(i))
	}
	a.fill()
	if a.has("another") {
		t.Error("it says that another may be there")
	}
	a.add("another")
	a.fill()
	if !a.has("anything") || len(a.layers) != 0 {
		t.Error("beyond its bound it says that something is not there, or holds memory")
	}
}

// TestAbsentOverflow: a key that was added is never said to be absent, not by a
// look-up that is under way while the filter grows and then ends.
func TestAbsentOverflow(t *testing.T) {
	key := strings.Repeat("k", 64<<20) // hashing it takes long enough to be overtaken
	a := newAbsent(3 * absentFirst * absentBlockLen)
	a.add(key)
	a.fill()
	if !a.has(key) {
		t.Fatal("what was added is said to be absent")
	}
	told := make(chan bool)
	go func() {
		for there := true; there; {
			silent := a.shown.Load() == nil
			if there = a.has(key); silent {
				told <- there
				return
			}
		}
		told <- false
	}()
	time.Sleep(5 * time.Millisecond)
	for i := range 4 * absentFirst * absentBlock {
		a.add(fmt.Sprint(i))
	}
	if !<-told {
		t.Error("a key that was added is said to be absent: its event would be published twice")
	}
	if a.shown.Load() != nil {
		t.Error("the filter did not end")
	}
}
