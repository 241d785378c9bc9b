package caddymodule

import (
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// The example is valid as it is, and with all that it says about upstreams.
func TestExample(t *testing.T) {
	raw, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("A_TOKEN", "t")
	var with strings.Builder
	inside, routes := false, 0
	for line := range strings.Lines(string(raw)) {
		bare := strings.Replace(line, "# ", "", 1)
		trimmed := strings.TrimSpace(bare)
		inside = inside || strings.HasPrefix(trimmed, "upstream ")
		if inside || strings.HasPrefix(trimmed, "push a") || strings.HasPrefix(trimmed, "pull hot") {
			routes++
			line = bare
		}
		if trimmed == "}" {
			inside = false
		}
		with.WriteString(line)
	}
	if routes < 10 {
		t.Fatalf("%d lines about upstreams", routes)
	}
	for _, text := range []string{string(raw), with.String()} {
		out, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%v %v in\n%s", err, warnings, text)
		}
		var config caddy.Config
		if err := caddy.StrictUnmarshalJSON(out, &config); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(&config); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
}
