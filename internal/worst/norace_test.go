//go:build !race

package worst

// raceDetector reports whether the race detector is built in.
const raceDetector = false
