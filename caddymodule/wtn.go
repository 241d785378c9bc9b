package caddymodule

import (
	"errors"
	"net/url"
	"strconv"

	"github.com/talwtn/caddy-wtn/relay"
)

var (
	errInvalidRID = errors.New("there is no such layer: leave RID out to get the one there is")
	errQuery      = errors.New("parameters that mute are true or false")
)

// muteJSON is what a WTN client posts to its resource. Absent fields leave
// things as they are.
type muteJSON struct {
	MuteAudio *bool
	MuteVideo *bool
	RID       *string
	Pub, Sub  *muteJSON // of a resource that publishes and plays
}

// apply does it to a session. RID is the layer to play; no track has more than
// one.
func (m *muteJSON) apply(s *relay.Session) {
	if m != nil {
		s.Mute(relay.Mute{Audio: m.MuteAudio, Video: m.MuteVideo})
	}
}

func (m *muteJSON) namesLayer() bool { return m != nil && m.RID != nil && *m.RID != "" }

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
	if c.namesLayer() || c.Sub.namesLayer() {
		return errInvalidRID
	}
	if twin := s.Twin(); twin != nil {
		c.Pub.apply(s)
		c.Sub.apply(twin)
	} else {
		c.apply(s)
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
	if q.Get("RID") != "" {
		return errInvalidRID
	}
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
