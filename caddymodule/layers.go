package caddymodule

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/talwtn/caddy-wtn/relay"
)

var (
	errJSONType = errors.New("the body must be JSON: send it with Content-Type: " + jsonType)
	errJSON     = errors.New("the body must be one JSON object of the form this URL takes")
	errNoLayer  = errors.New("the session has no such media section or layer: the layers event lists those there are")
)

var layerRoute = &route{
	action:  "session",
	methods: map[string]func(*exchange) error{http.MethodPost: (*exchange).selectLayer},
}

// layerJSON is one entry of the layers event. A track that comes as it was
// published has one layer, the spatial layer 0.
type layerJSON struct {
	SpatialLayerID int     `json:"spatialLayerId"`
	Bitrate        float64 `json:"bitrate,omitempty"`
	Width          int     `json:"width,omitempty"`
	Height         int     `json:"height,omitempty"`
}

// layersJSON is the data of the layers event, keyed by the index of the m-line.
func layersJSON(list []relay.Layer) map[string][]layerJSON {
	out := make(map[string][]layerJSON)
	for _, l := range list {
		key := strconv.Itoa(l.Media)
		out[key] = append(out[key], layerJSON{len(out[key]), l.Bitrate, l.Width, l.Height})
	}
	return out
}

// layerChoice is what a player asks for. Absent means automatic, or no bound.
type layerChoice struct {
	MediaID         *string `json:"mediaId"`
	RID             *string `json:"rid"`
	EncodingID      *string `json:"encodingId"` // what Broadcast Box calls the rid
	SpatialLayerID  *int    `json:"spatialLayerId"`
	TemporalLayerID *int    `json:"temporalLayerId"`
	MaxSpatial      *int    `json:"maxSpatialLayerId"`
	MaxTemporal     *int    `json:"maxTemporalLayerId"`
	MaxWidth        *int    `json:"maxWidth"`
	MaxHeight       *int    `json:"maxHeight"`
}

// selectLayer answers the layer extension of WHEP. With one layer to each track
// every choice of what exists is in force already.
func (x *exchange) selectLayer() error {
	s, err := x.player()
	if err != nil {
		return err
	}
	c := new(layerChoice)
	if err := x.readJSON(c); err != nil {
		return err
	}
	if !c.exists(s.Layers()) {
		return errNoLayer
	}
	x.empty()
	return nil
}

// exists reports whether there is such a layer. Without a media id the first
// video section is meant.
func (c *layerChoice) exists(layers []relay.Layer) bool {
	if c.MediaID != nil {
		layers = slices.DeleteFunc(layers, func(l relay.Layer) bool { return strconv.Itoa(l.Media) != *c.MediaID })
	}
	named := func(s *string) bool { return s != nil && *s != "" }
	above := func(n *int) bool { return n != nil && *n != 0 }
	return len(layers) > 0 && !named(c.RID) && !named(c.EncodingID) && !above(c.SpatialLayerID) && !above(c.TemporalLayerID)
}
