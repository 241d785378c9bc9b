package vendors

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// blocks write everything that each vendor can be told.
var blocks = map[string]string{
	"whip":       "whip https://h/{stream}/whip\nwhep https://h/{stream}/whep\ntoken {env.T}\nheader X-A b\nheader X-B c\nhosts a.example *.b.example\nhosts c.example:1\nstream live/a b",
	"wtn":        "url https://a https://b\napp_id app\napp_key {env.K}\nttl 2h\nsub_auth off\ncapital_actions on",
	"tencent":    "url https://a\nsdk_app_id 14\nsecret_key k\nuser_prefix u\ncodec vp8\nttl 1h",
	"agora":      "region eu\nurl https://a\nstream_key k\nstream_key live/a ka\napp_id a\napp_certificate c\nttl 1h",
	"millicast":  "url https://a\naccount a\ntoken t\nsubscribe_token s\ncodec vp9\nsource c\napp_id i\napp_key k",
	"cloudflare": "customer c\nurl https://a\nsecret live/a s\nuid u",
	"mediamtx":   "url http://a\nuser u\npassword p\ntoken t",
	"srs":        "url http://a\napp a\nsecret s\ncodec hevc\neip 192.0.2.1",
	"livekit":    "url http://a\nstream_key k",
	"gateway":    "url http://a\ntoken t\nstream a/b c/d",
}

func lines(t *testing.T, block string) (*caddyfile.Dispenser, []caddyfile.Segment) {
	t.Helper()
	d := caddyfile.NewTestDispenser("upstream x {\n" + block + "\n}")
	d.Next()
	d.NextArg()
	var list []caddyfile.Segment
	for d.NextBlock(0) {
		list = append(list, d.NextSegment())
	}
	return d, list
}

// TestModules: all are registered, and what a Caddyfile says survives JSON.
func TestModules(t *testing.T) {
	if n := len(caddy.GetModules(Namespace)); n != len(blocks) {
		t.Errorf("%d modules, want %d", n, len(blocks))
	}
	for name, block := range blocks {
		info, err := caddy.GetModule(Namespace + "." + name)
		if err != nil {
			t.Error(err)
			continue
		}
		d, list := lines(t, block)
		raw, err := Unmarshal(d, name, list)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(raw, &fields); err != nil || string(fields[InlineKey]) != quote(name) {
			t.Errorf("%s: %s", name, raw)
		}
		delete(fields, InlineKey)
		config, _ := json.Marshal(fields)
		a, b := info.New().(Vendor), info.New().(Vendor)
		if err := caddy.StrictUnmarshalJSON(config, a); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		again, _ := json.Marshal(a)
		if err := caddy.StrictUnmarshalJSON(again, b); err != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s: %s became %s (%v)", name, config, again, err)
		}
		// Every setting of the type was in the block, those of Base once.
		typ := reflect.TypeOf(a).Elem()
		for i := range typ.NumField() {
			tag, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if tag != "" && fields[tag] == nil {
				t.Errorf("%s: %s cannot be written in a Caddyfile", name, tag)
			}
		}
		if Name(a) != name {
			t.Errorf("%s is called %s", name, Name(a))
		}
	}
}

func TestCaddyfileErrors(t *testing.T) {
	for _, test := range []struct{ vendor, block, want string }{
		{"nobody", "", "there is no vendor nobody: use agora, cloudflare"},
		{"livekit", "urls x", "vendor livekit has no option urls: use hosts, stream, stream_key, url"},
		{"livekit", "url", "url has one argument"},
		{"livekit", "url a b", "url has one argument"},
		{"livekit", "url a\nurl b", "url is given twice"},
		{"livekit", "url a {\n b\n}", "unexpected {"},
		{"livekit", "stream_key", "stream_key is written with a value"},
		{"livekit", "stream_key a\nstream_key b", "stream_key is given twice"},
		{"wtn", "ttl soon", "is not a time"},
		{"wtn", "ttl 1h\nttl 2h", "ttl is given twice"},
		{"wtn", "sub_auth maybe", "as on or off"},
		{"wtn", "sub_auth on\nsub_auth off", "as on or off"},
		{"wtn", "url", "wrong argument count"},
		{"whip", "header X", "header is written with its name and its value"},
	} {
		d, list := lines(t, test.block)
		if _, err := Unmarshal(d, test.vendor, list); err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(test.want)) {
			t.Errorf("%s %q: %v", test.vendor, test.block, err)
		}
	}
}

func TestProvisionErrors(t *testing.T) {
	for _, test := range []struct{ vendor, config, want string }{
		{"whip", `{}`, "whip or whep of vendor whip is missing"},
		{"whip", `{"whip":"ftp://h"}`, "whip of vendor whip is not usable"},
		{"whip", `{"whip":"https://{stream}.h/"}`, "is not usable"},
		{"whip", `{"whip":"https://h/","token":"a\nb"}`, "token of vendor whip holds characters"},
		{"whip", `{"whip":"https://h/","headers":{"a b":"c"}}`, "has a name that cannot be sent"},
		{"whip", `{"whip":"https://h/","hosts":["*"]}`, "hosts of vendor whip is not usable"},
		{"whip", `{"whip":"https://h/{oops}"}`, "cannot be resolved"},
		{"whip", `{"whip":"https://h/","streams":{"a":"b?c"}}`, "cannot be part of a URL"},
		{"wtn", `{}`, "app_id of vendor wtn is missing"},
		{"wtn", `{"app_id":"a","urls":["https://h?x=y"]}`, "url of vendor wtn is not usable"},
		{"wtn", `{"app_id":"a","urls":["https://u:p@h"]}`, "which are not used here"},
		{"wtn", `{"app_id":"a","ttl":"1s"}`, "ttl of vendor wtn is out of range"},
		{"tencent", `{"sdk_app_id":"x","secret_key":"k"}`, "is not a number"},
		{"tencent", `{"sdk_app_id":"1"}`, "secret_key of vendor tencent is missing"},
		{"tencent", `{"sdk_app_id":"1","secret_key":"k","codec":"av1"}`, "codec of vendor tencent"},
		{"tencent", `{"sdk_app_id":"1","secret_key":"k","user_prefix":"a-b"}`, "user_prefix of vendor tencent"},
		{"agora", `{}`, "stream_key or app_certificate"},
		{"agora", `{"stream_keys":{"*":"k"}}`, "region of vendor agora is missing"},
		{"agora", `{"stream_keys":{"*":"k"},"region":"mars"}`, "region of vendor agora is not known"},
		{"agora", `{"app_certificate":"c","app_id":"a"}`, "url of vendor agora is missing"},
		{"millicast", `{}`, "token or account of vendor millicast is missing"},
		{"millicast", `{"app_id":"a"}`, "app_key of vendor millicast is missing"},
		{"cloudflare", `{}`, "customer of vendor cloudflare is missing"},
		{"mediamtx", `{}`, "url of vendor mediamtx is missing"},
		{"mediamtx", `{"url":"http://h","user":"u","token":"t"}`, "use one of them"},
		{"srs", `{"url":"srs:1985"}`, "url of vendor srs is not usable"},
		{"livekit", `{"url":"http://h"}`, "stream_key of vendor livekit is missing"},
		{"gateway", `{}`, "url of vendor gateway is missing"},
	} {
		if _, err := tryLoad(test.vendor, test.config); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s: %v", test.vendor, test.config, err)
		}
	}
}
