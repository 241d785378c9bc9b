package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/talwtn/caddy-wtn/caddymodule/probe"
)

// flags parses a command line of `caddy wtn probe`.
func probeFlags(t *testing.T, args ...string) caddycmd.Flags {
	t.Helper()
	c := probeCommand()
	if err := c.Flags().Parse(args); err != nil {
		t.Fatal(err)
	}
	return caddycmd.Flags{FlagSet: c.Flags()}
}

// The gateway is probed as an upstream of its own kind: it passes everything on.
func TestProbeGateway(t *testing.T) {
	for _, codec := range []string{"VP8", "H264"} {
		t.Run(codec, func(t *testing.T) { probeGateway(t, codec) })
	}
}

func probeGateway(t *testing.T, codec string) {
	s := newSite(t)
	s.mustLoad(loopbackMedia, "\twtn {\n codecs opus "+codec+"\n}")
	u, name, err := probedUpstream(probeFlags(t, "--vendor", "gateway", "--option", "url "+s.url("")))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := probeUpstream(ctx, u, probe.Config{Name: name, Stream: "probe", Duration: probe.MinDuration})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := printProfile(&out, p, false); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + out.String())
	if !p.OK() || p.Vendor != "gateway" {
		t.Errorf("problems %q", p.Problems)
	}
	if p.Push.Trickle.Status != 204 || p.Push.Restart.Status != 200 || p.Push.Delete.Status != 200 || p.Pull.Delete.Status != 200 || p.Pull.StoppedIn == nil {
		t.Errorf("candidate %s, restart %s, delete %s and %s", p.Push.Trickle, p.Push.Restart, p.Push.Delete, p.Pull.Delete)
	}
	if p.Video == nil || p.Audio == nil || p.Video.Codec != codec || p.Video.LossPercent > 2 || p.Video.SenderReports == 0 {
		t.Fatalf("%+v %+v", p.Video, p.Audio)
	}
	if p.Video.Payload != probe.PayloadIdentical && p.Video.Payload != probe.PayloadDescriptor || p.Audio.Payload != probe.PayloadIdentical {
		t.Errorf("video %s, audio %s", p.Video.Payload, p.Audio.Payload)
	}
	out.Reset()
	if err := printProfile(&out, p, true); err != nil || !json.Valid(out.Bytes()) {
		t.Errorf("%v %s", err, out.String())
	}
}

func TestProbedUpstream(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	file := filepath.Join(dir, "gateway.caddyfile")
	text := "{\nwtn {\nupstream a {\nvendor livekit\nurl https://x.example/w\nstream_key {env.KEY}\n}\n}\n}\n:80 {\nwtn\n}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	u, name, err := probedUpstream(probeFlags(t, "--config", file, "--adapter", "caddyfile", "a"))
	if err != nil || name != "a" || !strings.Contains(string(u.VendorRaw), "livekit") {
		t.Errorf("%v %s %+v", err, name, u)
	}
	for _, c := range []struct{ args, says string }{
		{fmt.Sprintf("--config %s --adapter caddyfile b", file), "upstream b is not configured: there are a"},
		{"", "say which upstream"},
		{"a", "there is no configuration here"},
		{"--option x a", "--vendor"},
		{"--vendor nobody", "there is no vendor nobody: use"},
		{"--vendor whip --option nothing", "vendor whip has no option nothing"},
	} {
		if _, _, err := probedUpstream(probeFlags(t, strings.Fields(c.args)...)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.args, err)
		}
	}
	if _, err := describedUpstream("whip", []string{"whip https://a\nwhep https://b"}); err == nil {
		t.Error("an option of two lines")
	}
	for args, says := range map[string]string{
		"--vendor whip --pull-only":              "say the stream",
		"--vendor whip --duration 1s":            "--duration is 1s",
		"--vendor livekit --option url":          "url has one argument",
		"--vendor whip --duration 2s --option x": "no option x",
	} {
		if status, err := runProbe(probeFlags(t, strings.Fields(args)...)); err == nil || status == 0 || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %d %v", args, status, err)
		}
	}
}
