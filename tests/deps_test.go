package tests

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/talwtn/caddy-wtn"

// The arrows of the architecture: caddymodule may know everybody, relay and
// turnsvc know neither Caddy nor each other, and what is internal to relay
// does not reach up.
func TestPackagesKeepTheArrows(t *testing.T) {
	const caddy = "github.com/caddyserver/"
	rules := []struct {
		packages string
		not      []string
	}{
		{"relay", []string{caddy, module + "/turnsvc", module + "/caddymodule", module + "/tests", "github.com/prometheus/"}},
		{"relay/internal", []string{caddy, module + "/relay!", module + "/turnsvc", module + "/caddymodule"}},
		{"turnsvc", []string{caddy, module + "/relay", module + "/caddymodule", module + "/tests", "github.com/pion/webrtc/"}},
		{"tests/internal/harness", []string{caddy, module + "/relay", module + "/turnsvc", module + "/caddymodule"}},
	}
	for _, rule := range rules {
		for _, pkg := range list(t, rule.packages) {
			for _, dep := range goList(t, "-deps", pkg) {
				for _, bad := range rule.not {
					exact, isExact := strings.CutSuffix(bad, "!")
					if isExact && dep == exact || !isExact && strings.HasPrefix(dep+"/", strings.TrimSuffix(bad, "/")+"/") {
						t.Errorf("%s depends on %s", pkg, dep)
					}
				}
			}
		}
	}
}

// list names the packages in a folder and below; a folder that is not there
// yet has none.
func list(t *testing.T, folder string) []string {
	t.Helper()
	prefix := module + "/" + folder
	var out []string
	for _, pkg := range goList(t, module+"/...") {
		below := strings.HasPrefix(pkg, prefix+"/") && (folder == "relay/internal" || !strings.Contains(pkg[len(prefix):], "/internal/"))
		if pkg == prefix || below {
			out = append(out, pkg)
		}
	}
	return out
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", args, err, stderr.String())
	}
	return strings.Fields(string(out))
}
