package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var (
	buildOnce sync.Once
	buildDir  string
	buildPath string
	buildErr  error
)

// Binary returns the path of the gateway under test: WTN_GATEWAY, or one that
// is built once for this test run.
func Binary(t testing.TB) string {
	t.Helper()
	buildOnce.Do(func() {
		if p := os.Getenv("WTN_GATEWAY"); p != "" {
			buildPath, buildErr = filepath.Abs(p)
			if buildErr == nil {
				_, buildErr = os.Stat(buildPath)
			}
			return
		}
		if buildDir, buildErr = os.MkdirTemp("", "wtn-gateway-"); buildErr != nil {
			return
		}
		buildPath = filepath.Join(buildDir, "gateway")
		cmd := exec.Command("go", "build", "-o", buildPath, "github.com/talwtn/caddy-wtn/tests/internal/gatewaycmd")
		if out, err := cmd.CombinedOutput(); err != nil {
			buildErr = fmt.Errorf("build the gateway: %w\n%s", err, out)
		}
	})
	if buildErr != nil {
		t.Fatalf("no gateway to test: %v", buildErr)
	}
	return buildPath
}

// RemoveBinary deletes what Binary built. TestMain calls it at the end.
func RemoveBinary() {
	if buildDir != "" {
		_ = os.RemoveAll(buildDir)
	}
}
