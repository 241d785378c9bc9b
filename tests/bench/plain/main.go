// Command plain is the relay one writes first with pion: a TrackLocalStaticRTP
// for each track of the publisher, added to a PeerConnection for each viewer,
// everything else as pion comes. It is what the benchmark compares the gateway
// with, and nothing more: one stream, no access control, no reconnects.
//
//	plain -listen 127.0.0.1:8080
//
// Publish to /whip, watch at /whep. All sessions share one UDP socket, as in
// the gateway; that is cheaper than pion's default of a socket each.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address of the HTTP server")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "plain:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen string) error {
	r, err := newRelay()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /whip", r.publish)
	mux.HandleFunc("POST /whep", r.watch)
	mux.HandleFunc("DELETE /session/{id}", r.remove)
	srv := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return srv.Close()
	}
}
