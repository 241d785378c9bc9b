//go:build race

package leg

const raceDetector = true
