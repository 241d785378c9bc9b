package caddymodule

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/talwtn/caddy-wtn/relay"
)

// Whatever JSON a client posts to its session, it is taken or refused with one
// of the errors that clients are told of.
func FuzzSessionJSON(f *testing.F) {
	for _, s := range []string{
		`{"MuteAudio":true,"MuteVideo":false,"RID":"h"}`, `{"Pub":{"MuteAudio":true},"Sub":{"MuteVideo":null}}`,
		`{"mediaId":"0","rid":"f","encodingId":null,"spatialLayerId":1,"maxWidth":1e3}`,
		`[]`, `{`, `{} {}`, `{"Pub":{"Pub":{"Pub":{}}}}`, "\xff", `{"MuteAudio":"yes"}`, `{"mediaId":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []any{new(muteJSON), new(layerChoice)} {
			r := httptest.NewRequest(http.MethodPost, "/session/x/layer", bytes.NewReader(b))
			r.Header.Set("Content-Type", jsonType)
			x := &exchange{h: &Handler{}, w: httptest.NewRecorder(), r: r, route: layerRoute}
			err := x.readJSON(v)
			if err != nil {
				if p, _, known := problemOf(err); !known || p.status/100 != 4 {
					t.Fatalf("%q: %v is a %d", b, err, p.status)
				}
				continue
			}
			switch v := v.(type) {
			case *layerChoice:
				_ = v.exists([]relay.Layer{{Media: 0}, {Media: 1}})
				_ = v.choice()
			case *muteJSON:
				_ = v.RID != nil || v.Sub != nil
			}
		}
	})
}
