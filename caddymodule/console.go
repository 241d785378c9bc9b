package caddymodule

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/talwtn/caddy-wtn/relay"
)

//go:embed console
var consoleFS embed.FS

// consoleFile is a file of the console, ready to serve.
type consoleFile struct {
	content     []byte
	contentType string
	etag        string
}

// consoleFiles reads the embedded folder once, by path below the prefix.
var consoleFiles = sync.OnceValue(func() map[string]consoleFile {
	files := make(map[string]consoleFile)
	err := fs.WalkDir(consoleFS, "console", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := consoleFS.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		files[strings.TrimPrefix(name, "console")] = consoleFile{content, fileType(name), `"` + hex.EncodeToString(sum[:8]) + `"`}
		return nil
	})
	if err != nil {
		panic(err) // of an embedded folder: not possible in a binary that was built
	}
	if index, ok := files["/index.html"]; ok {
		files["/"] = index
	}
	return files
})

// fileType does not trust the machine's type table with what browsers refuse to
// run under a wrong type.
func fileType(name string) string {
	switch ext := path.Ext(name); ext {
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".html":
		return "text/html; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	default:
		return mime.TypeByExtension(ext)
	}
}

// console serves a file of the console; false if there is none of that name.
// The prefix without its slash is redirected, so that the page's relative links
// lead below it.
func (x *exchange) console() bool {
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		return false
	}
	if x.rest == "" {
		http.Redirect(x.w, x.r, x.externalURL("/"), http.StatusPermanentRedirect)
		return true
	}
	f, ok := consoleFiles()[x.rest]
	if !ok {
		return false
	}
	x.note("wtn_action", "console")
	h := x.w.Header()
	setCORS(h) // the library among the files is there for pages of other sites too
	if f.contentType != "" {
		h.Set("Content-Type", f.contentType)
	}
	h.Set("ETag", f.etag)
	h.Set("Cache-Control", "no-cache") // revalidated, so that an upgrade is seen at once
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(x.w, x.r, x.rest, time.Time{}, bytes.NewReader(f.content))
	return true
}

// consoleStream is one line of the console's list.
type consoleStream struct {
	Name      string            `json:"name"`
	Since     time.Time         `json:"since"`
	Publisher *consolePublisher `json:"publisher"` // null while nobody publishes
	Viewers   int               `json:"viewers"`
	Pulled    bool              `json:"pulled,omitempty"`  // it comes from an upstream
	Standby   int               `json:"standby,omitempty"` // other sources that could take over now
	Pushed    int               `json:"pushed,omitempty"`  // upstreams that get it
	Width     int               `json:"width"`
	Height    int               `json:"height"`
}

type consolePublisher struct {
	Connected bool     `json:"connected"`
	Codecs    []string `json:"codecs"`
	Bitrate   float64  `json:"bitrate"` // bits/s
}

// streams answers the console's poll. It shows no address, id or secret.
func (x *exchange) streams() error {
	out := struct {
		Streams []consoleStream `json:"streams"`
		Viewers int             `json:"viewers"`
	}{Streams: []consoleStream{}}
	for _, s := range x.h.gateway.Streams() {
		out.Streams = append(out.Streams, consoleStreamOf(s))
		out.Viewers += s.Subscribers
	}
	body, err := json.Marshal(out)
	if err != nil {
		return err
	}
	h := x.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.w.Write(body)
	return nil
}

func consoleStreamOf(s relay.StreamStats) consoleStream {
	c := consoleStream{Name: s.Name, Since: s.Since, Viewers: s.Subscribers}
	for _, src := range s.Sources {
		if src.Connected && !src.Program && !src.Held {
			c.Standby++
		}
	}
	for _, d := range s.Pushes {
		if d.State == "connected" {
			c.Pushed++
		}
	}
	p := consolePublisher{Codecs: []string{}}
	for _, t := range s.Tracks {
		p.Bitrate += t.Bitrate
		if t.RID == "" || !slices.Contains(p.Codecs, t.Codec) { // layers have one codec
			p.Codecs = append(p.Codecs, t.Codec)
		}
		if t.Kind == "video" && t.Width >= c.Width {
			c.Width, c.Height = t.Width, t.Height
		}
	}
	if s.Publisher != nil {
		p.Connected = !s.Publisher.Connected.IsZero()
		c.Pulled = s.Publisher.Role == relay.RolePull
		c.Publisher = &p
	}
	return c
}
