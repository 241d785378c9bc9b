package vendors

import (
	"compress/zlib"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/talwtn/caddy-wtn/relay"
)

var testNow = time.Unix(1800000000, 0)

func call(role relay.Role, stream string) Call {
	return Call{Role: role, Stream: stream, Session: "0123456789abcdef", Offer: []byte(testSDP), Now: testNow}
}

// TestURLs compares what is posted to with the documents of the vendors.
func TestURLs(t *testing.T) {
	const mapped = "live_room1_45b1a907e5e39cc0"
	for _, test := range []struct {
		name, config, stream string
		push, pull           string // "": not possible; up to a signature
		auth                 string // prefix, "": none
	}{
		{"whip", `{"whip":"https://h/a/{stream}/in?x={stream}","whep":"https://h/out?s={stream}","token":"tok"}`, "live/ro~om",
			"https://h/a/live/ro~om/in?x=live%2Fro~om", "https://h/out?s=live%2Fro~om", "Bearer tok"},
		{"whip", `{"whip":"https://bob:p%40w@h/{stream}","whep":"https://bob:p%40w@h/{stream}"}`, "a",
			"https://h/a", "https://h/a", "Basic Ym9iOnBAdw=="},
		{"wtn", `{"app_id":"app","app_key":"key"}`, "room1",
			"https://wtn.volcvideo.com/pub/app/room1?SessionID=0123456789abcdef", "https://wtn.volcvideo.com/sub/app/room1?SessionID=0123456789abcdef", "Bearer ey"},
		{"wtn", `{"urls":["https://h/base/"],"app_id":"a/b"}`, "live/room1",
			"https://h/base/pub/a%2Fb/" + mapped + "?SessionID=0123456789abcdef", "https://h/base/sub/a%2Fb/" + mapped + "?SessionID=0123456789abcdef", ""},
		{"wtn", `{"app_id":"app","streams":{"live/room1":"theirs"}}`, "live/room1",
			"https://wtn.volcvideo.com/pub/app/theirs?SessionID=0123456789abcdef", "https://wtn.volcvideo.com/sub/app/theirs?SessionID=0123456789abcdef", ""},
		{"tencent", `{"sdk_app_id":"14","secret_key":"k","codec":"vp8"}`, "room-1",
			"https://signaling.rtc.qcloud.com/v1/push/room-1?prefervcodec=vp8&sdkappid=14&userid=wtn_0123456789abcdef&usersig=",
			"https://signaling.rtc.qcloud.com/v1/play/room-1?sdkappid=14&userid=wtn_0123456789abcdef&usersig=", ""},
		{"agora", `{"region":"eu","stream_keys":{"a":"ka","*":"k"}}`, "a",
			"https://whip-rtcpush-prod-eu.agoramdn.com/whip", "", "Bearer ka"},
		{"agora", `{"url":"https://h/b","app_id":"app","app_certificate":"c"}`, "r@1",
			"https://h/b/pub/r@1?duplex=true&stringuid=wtn_0123456789abcdef", "https://h/b/sub/r@1?stringuid=wtn_0123456789abcdef", "Bearer ey"},
		{"millicast", `{"account":"acc","token":"pt","subscribe_token":"pt","codec":"vp9","source":"cam"}`, "r",
			"https://director.millicast.com/api/whip/r?codec=vp9&sourceId=cam", "https://director.millicast.com/api/whep/acc/r?sourceId=cam", "Bearer pt"},
		{"millicast", `{"app_id":"a.b","app_key":"k","codec":"h264"}`, "r",
			"https://director.millicast.com/api/rtcbackup/pub/a.b/r?Vcodec=h264", "https://director.millicast.com/api/rtcbackup/sub/a.b/r", "Bearer ey"},
		{"cloudflare", `{"customer":"code","secrets":{"r":"sec"}}`, "r",
			"https://customer-code.cloudflarestream.com/sec/webRTC/publish", "https://customer-code.cloudflarestream.com/r/webRTC/play", ""},
		{"cloudflare", `{"customer":"code","secrets":{"*":"sec"},"uids":{"r":"uid"}}`, "r",
			"https://customer-code.cloudflarestream.com/sec/webRTC/publish", "https://customer-code.cloudflarestream.com/uid/webRTC/play", ""},
		{"mediamtx", `{"url":"http://mtx:8889/","user":"bob","password":"p@w"}`, "live/room1",
			"http://mtx:8889/live/room1/whip", "http://mtx:8889/live/room1/whep", "Basic Ym9iOnBAdw=="},
		{"mediamtx", `{"url":"http://mtx:8889","token":"tok"}`, "r", "http://mtx:8889/r/whip", "http://mtx:8889/r/whep", "Bearer tok"},
		{"srs", `{"url":"http://srs:1985","secret":"s&"}`, "r",
			"http://srs:1985/rtc/v1/whip/?app=live&secret=s%26&stream=r", "http://srs:1985/rtc/v1/whep/?app=live&secret=s%26&stream=r", ""},
		{"srs", `{"url":"http://srs:1985","eip":"192.0.2.1","codec":"hevc"}`, "a/b/c",
			"http://srs:1985/rtc/v1/whip/?app=a%2Fb&codec=hevc&eip=192.0.2.1&stream=c", "http://srs:1985/rtc/v1/whep/?app=a%2Fb&eip=192.0.2.1&stream=c", ""},
		{"livekit", `{"url":"https://x.whip.livekit.cloud/w","stream_keys":{"*":"k"}}`, "r", "https://x.whip.livekit.cloud/w", "", "Bearer k"},
		{"gateway", `{"url":"https://h/live/","token":"tok"}`, "app/r", "https://h/live/whip/app/r", "https://h/live/sub/app/r", "Bearer tok"},
		{"gateway", `{"url":"https://h"}`, "a/b/c", "https://h/whip/a/b/c", "https://h/whep/a/b/c", ""},
	} {
		v := load(t, test.name, test.config)
		for role, want := range map[relay.Role]string{relay.RolePush: test.push, relay.RolePull: test.pull} {
			r, err := v.Request(call(role, test.stream))
			if want == "" {
				if err == nil {
					t.Errorf("%s %s: no error", test.name, role)
				}
				continue
			}
			if err != nil || len(r.URLs) != 1 {
				t.Errorf("%s %s: %v", test.name, role, err)
				continue
			}
			got := r.URLs[0].String()
			if i := strings.Index(got, "usersig="); i >= 0 {
				got = got[:i+len("usersig=")]
			}
			if got != want {
				t.Errorf("%s %s: %s, want %s", test.name, role, got, want)
			}
			if auth := r.Header.Get("Authorization"); !strings.HasPrefix(auth, test.auth) || (auth == "") != (test.auth == "") {
				t.Errorf("%s %s: Authorization is %q, want %q", test.name, role, auth, test.auth)
			}
		}
	}
}

// claimsOf verifies a token with another implementation.
func claimsOf(t *testing.T, h http.Header, key string) map[string]any {
	t.Helper()
	raw, ok := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
	tok, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.HS256})
	if !ok || err != nil {
		t.Fatal(err)
	}
	padded := make([]byte, 32) // HMAC fills short keys with zeros by itself
	copy(padded, key)
	claims := make(map[string]any)
	if err := tok.Claims(padded, &claims); err != nil {
		t.Fatal(err)
	}
	if err := tok.Claims([]byte("another key, as long as they must"), new(map[string]any)); err == nil {
		t.Fatal("any key verifies")
	}
	return claims
}

func TestTokens(t *testing.T) {
	exp := func(d time.Duration) float64 { return float64(testNow.Add(d).Unix()) }
	for _, test := range []struct {
		name, config string
		push, pull   map[string]any
	}{
		{"wtn", `{"app_id":"app","app_key":"key"}`,
			map[string]any{"version": "1.0", "appID": "app", "streamID": "r", "action": "pub", "exp": exp(24 * time.Hour), "enableSubAuth": true},
			map[string]any{"version": "1.0", "appID": "app", "streamID": "r", "action": "sub", "exp": exp(24 * time.Hour)}},
		{"wtn", `{"app_id":"app","app_key":"key","ttl":"10m","sub_auth":false,"capital_actions":true}`,
			map[string]any{"version": "1.0", "appID": "app", "streamID": "r", "action": "Pub", "exp": exp(10 * time.Minute)},
			map[string]any{"version": "1.0", "appID": "app", "streamID": "r", "action": "Sub", "exp": exp(10 * time.Minute)}},
		{"agora", `{"url":"https://h","app_id":"app","app_certificate":"key"}`,
			map[string]any{"version": "1.0", "appID": "app", "streamID": "r", "action": "pub", "exp": exp(24 * time.Hour), "enableSubAuth": true},
			map[string]any{"version": "1.0", "appID": "app", "streamID": "r", "action": "sub", "exp": exp(24 * time.Hour)}},
		{"millicast", `{"app_id":"app","app_key":"key"}`,
			map[string]any{"version": "1.0", "appId": "app", "streamId": "r", "action": "pub", "exp": exp(time.Minute), "enableSubAuth": false},
			map[string]any{"version": "1.0", "appId": "app", "streamId": "r", "action": "sub", "exp": exp(time.Minute), "enableSubAuth": false}},
	} {
		v := load(t, test.name, test.config)
		for role, want := range map[relay.Role]map[string]any{relay.RolePush: test.push, relay.RolePull: test.pull} {
			r, err := v.Request(call(role, "r"))
			if err != nil {
				t.Fatal(err)
			}
			if got := claimsOf(t, r.Header, "key"); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %v, want %v", test.name, got, want)
			}
			head, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
			text, _ := base64.RawURLEncoding.DecodeString(head)
			want := `{"alg":"HS256","typ":"JWT"}`
			if test.name == "millicast" {
				want = `{"alg":"HS256","type":"JWT"}`
			}
			if string(text) != want {
				t.Errorf("%s: header %s", test.name, text)
			}
		}
	}
}

// TestUserSig unpacks the signature and computes it again.
func TestUserSig(t *testing.T) {
	v := load(t, "tencent", `{"sdk_app_id":"1400000000","secret_key":"key","user_prefix":"edge1","ttl":"1h"}`)
	r, err := v.Request(call(relay.RolePull, "r"))
	if err != nil {
		t.Fatal(err)
	}
	q := r.URLs[0].Query()
	b, err := base64.StdEncoding.DecodeString(strings.NewReplacer("*", "+", "-", "/", "_", "=").Replace(q.Get("usersig")))
	if err != nil {
		t.Fatal(err)
	}
	z, err := zlib.NewReader(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte("key"))
	_, _ = io.WriteString(mac, "TLS.identifier:edge1_0123456789abcdef\nTLS.sdkappid:1400000000\nTLS.time:1800000000\nTLS.expire:3600\n")
	want := map[string]any{
		"TLS.ver": "2.0", "TLS.identifier": "edge1_0123456789abcdef", "TLS.sdkappid": 1400000000.0,
		"TLS.time": 1800000000.0, "TLS.expire": 3600.0, "TLS.sig": base64.StdEncoding.EncodeToString(mac.Sum(nil)),
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || q.Get("userid") != want["TLS.identifier"] {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestStreamID(t *testing.T) {
	for name, want := range map[string]string{
		"room1": "room1", "a_b": "a_b", strings.Repeat("a", 64): strings.Repeat("a", 64),
	} {
		if got := StreamID(name, "_", 64); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	seen := make(map[string]string)
	for _, name := range []string{
		"live/room1", "live_room1", "live-room1", "live.room1", "live~room1", strings.Repeat("a", 65), strings.Repeat("a", 66),
		StreamID("live/room1", "_", 64), StreamID("live.room1", "_", 64), "_0123456789abcdef", "x_0123456789abcdeg",
	} {
		id := StreamID(name, "_", 64)
		if len(id) > 64 || strings.Trim(id, "_abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			t.Errorf("%s became %s", name, id)
		}
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s are both %s", name, other, id)
		}
		seen[id] = name
	}
}

func TestSRSCodec(t *testing.T) {
	v := load(t, "srs", `{"url":"http://srs"}`)
	for offer, want := range map[string]string{
		"a=rtpmap:96 H265/90000\r\n":                             "hevc",
		"a=rtpmap:96 H265/90000\r\na=rtpmap:97 rtx/90000\r\n":    "hevc",
		"a=rtpmap:96 H265/90000\r\na=rtpmap:102 H264/90000\r\n":  "",
		"a=rtpmap:102 H264/90000\r\na=rtpmap:111 opus/48000/2\r": "",
	} {
		c := call(relay.RolePush, "r")
		c.Offer = []byte(offer)
		r, err := v.Request(c)
		if err != nil || r.URLs[0].Query().Get("codec") != want {
			t.Errorf("%q: %v %v", offer, r.URLs, err)
		}
	}
}
