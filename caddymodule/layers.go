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

// layerJSON is one entry of the layers event. The lowest layer is the spatial
// layer 0; a track that comes in one encoding has no other, and no rid. Without a
// bitrate the layer is not sent now.
type layerJSON struct {
	RID            string  `json:"rid,omitempty"`
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
		out[key] = append(out[key], layerJSON{l.RID, l.Index, l.Bitrate, l.Width, l.Height})
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

// selectLayer answers the layer extension of WHEP.
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
	if err := s.SelectLayer(c.choice()); err != nil {
		return err
	}
	x.empty()
	return nil
}

// exists reports whether there is such a media section, and that no temporal
// layer is named: they are not told apart. Without a media id the video is meant.
func (c *layerChoice) exists(layers []relay.Layer) bool {
	if c.MediaID != nil {
		layers = slices.DeleteFunc(layers, func(l relay.Layer) bool { return strconv.Itoa(l.Media) != *c.MediaID })
	}
	return len(layers) > 0 && (c.TemporalLayerID == nil || *c.TemporalLayerID == 0)
}

// choice is what the relay is asked for.
func (c *layerChoice) choice() (out relay.LayerChoice) {
	for _, rid := range []*string{c.EncodingID, c.RID} {
		if rid != nil && *rid != "" {
			out.RID = *rid
		}
	}
	out.Spatial, out.MaxSpatial = c.SpatialLayerID, c.MaxSpatial
	if c.MaxWidth != nil {
		out.MaxWidth = *c.MaxWidth
	}
	if c.MaxHeight != nil {
		out.MaxHeight = *c.MaxHeight
	}
	return out
}
