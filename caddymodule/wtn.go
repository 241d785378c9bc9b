package caddymodule

import (
	"errors"
	"net/url"
	"strconv"

	"github.com/talwtn/caddy-wtn/relay"
)

var (
	errQuery = errors.New("parameters that mute are true or false")
)

// muteJSON is what a WTN client posts to its resource. Absent fields leave
// things as they are.
type muteJSON struct {
	MuteAudio *bool
	MuteVideo *bool
	RID       *string
	Pub, Sub  *muteJSON // of a resource that publishes and plays
}

// apply does it to a session. RID is the layer to play; an empty one leaves the
// choice to the gateway. Nothing changes if there is no such layer.
func (m *muteJSON) apply(s *relay.Session) error {
	if m == nil {
		return nil
	}
	if m.RID != nil && (*m.RID != "" || s.Role() == relay.RoleSubscribe) {
		if err := s.SelectLayer(relay.LayerChoice{RID: *m.RID}); err != nil {
			return err
		}
	}
	s.Mute(relay.Mute{Audio: m.MuteAudio, Video: m.MuteVideo})
	return nil
}

// configure mutes, unmutes and chooses the layer of a WTN session.
func (x *exchange) configure() error {
	if x.face != faceWTN {
		x.w.Header().Set("Allow", x.route.allow())
		return errMethod
	}
	s, err := x.session()
	if err != nil {
		return err
	}
	c := new(muteJSON)
	if err := x.readJSON(c); err != nil {
		return err
	}
	if twin := s.Twin(); twin == nil {
		err = c.apply(s)
	} else if err = c.Sub.apply(twin); err == nil {
		err = c.Pub.apply(s)
	}
	if err != nil {
		return err
	}
	x.empty()
	return nil
}

// wtnQuery reads the parameters of a WTN POST that change what it does.
// SessionID, ClientIP and BusinessID are for the vendor's own network.
// Their names begin with side: nothing, or Pub or Sub where both are meant.
func wtnQuery(r *relay.OfferRequest, q url.Values, side string) (err error) {
	if r.MuteAudio, err = queryBool(q, side+"MuteAudio"); err != nil {
		return err
	}
	if r.MuteVideo, err = queryBool(q, side+"MuteVideo"); err != nil {
		return err
	}
	r.RID = q.Get("RID") // of what is played
	return nil
}

func queryBool(q url.Values, name string) (bool, error) {
	v := q.Get(name)
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, errQuery
	}
	return b, nil
}
