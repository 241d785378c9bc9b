package harness

import (
	"encoding/json"
	"net/http"
	"testing"
)

// Streams is the console's list of live streams.
type Streams struct {
	Streams []struct {
		Name      string `json:"name"`
		Viewers   int    `json:"viewers"`
		Width     int    `json:"width"`
		Height    int    `json:"height"`
		Publisher *struct {
			Connected bool     `json:"connected"`
			Codecs    []string `json:"codecs"`
			Bitrate   float64  `json:"bitrate"`
		} `json:"publisher"`
	} `json:"streams"`
	Viewers int `json:"viewers"`
}

// Streams asks the gateway what is live.
func (g *Gateway) Streams(t testing.TB) (s Streams) {
	t.Helper()
	r := Do(t, g.client, http.MethodGet, g.URL("console/streams"), "")
	if r.Status != http.StatusOK {
		t.Fatalf("console/streams: status %d: %s", r.Status, r.Body)
	}
	if err := json.Unmarshal([]byte(r.Body), &s); err != nil {
		t.Fatalf("console/streams: %v in %.200q", err, r.Body)
	}
	return s
}
