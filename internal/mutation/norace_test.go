//go:build !race

package mutation

// raceDetector reports whether the race detector is on, which makes everything slower.
const raceDetector = false
