package history

import (
	"fmt"
	"testing"
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
	a.filled()
	if got := len(*a.layers.Load()); got < 3 {
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
	a.filled()
	if a.has("another") {
		t.Error("it says that another may be there")
	}
	a.add("another")
	a.filled()
	if !a.has("anything") || len(*a.layers.Load()) != 0 {
		t.Error("beyond its bound it says that something is not there, or holds memory")
	}
}
