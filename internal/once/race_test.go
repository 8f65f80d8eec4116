//go:build race

package once_test

func init() { raceDetector = true }
