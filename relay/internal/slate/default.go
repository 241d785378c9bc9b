package slate

import (
	"embed"
	"sync"

	"github.com/talwtn/caddy-wtn/relay/internal/payload"
)

// assets has the same still in each codec, see assets/make.sh.
//
//go:embed assets/default.*
var assets embed.FS

var defaults = map[string]func() *Clip{
	payload.H264: builtIn("default.h264"),
	payload.H265: builtIn("default.h265"),
	payload.VP8:  builtIn("default.vp8.ivf"),
	payload.VP9:  builtIn("default.vp9.ivf"),
	payload.AV1:  builtIn("default.av1.ivf"),
}

// Default returns the built-in still for a video codec: "H264" (constrained
// baseline 3.1), "H265" (main), "VP8", "VP9" (profile 0) or "AV1" (main). Any
// goroutine may call it.
func Default(codec string) (*Clip, bool) {
	read, ok := defaults[codec]
	if !ok {
		return nil, false
	}

	return read(), true
}

// builtIn reads a file when it is first needed. It is part of the program: that
// it is in order is a matter of the tests.
func builtIn(name string) func() *Clip {
	return sync.OnceValue(func() *Clip {
		f, err := assets.Open("assets/" + name)
		if err != nil {
			panic(err)
		}
		defer f.Close()

		c, err := Read(name, f)
		if err != nil {
			panic(err)
		}

		return c
	})
}
