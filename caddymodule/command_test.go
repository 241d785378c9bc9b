package caddymodule

import (
	"slices"
	"testing"

	"github.com/spf13/cobra"
)

// Every command that the documentation names is there.
func TestCommands(t *testing.T) {
	group := &cobra.Command{Use: "wtn"}
	command().CobraFunc(group)
	var names []string
	for _, c := range group.Commands() {
		names = append(names, c.Name())
	}
	slices.Sort(names)
	if want := []string{"drill", "probe", "status", "token", "turn-credentials", "upstreams"}; !slices.Equal(names, want) {
		t.Errorf("commands %v, want %v", names, want)
	}
}
