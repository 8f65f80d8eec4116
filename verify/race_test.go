//go:build race

package verify

func init() { raceDetector = true }
