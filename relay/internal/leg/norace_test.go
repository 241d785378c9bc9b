//go:build !race

package leg

const raceDetector = false
