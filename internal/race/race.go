//go:build race

// Package race tells tests whether the race detector is on. It slows some code down
// twentyfold, so tests that it can find nothing in try less; make mutations tries all.
package race

// Enabled reports whether the race detector is on.
const Enabled = true
