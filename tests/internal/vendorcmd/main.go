// Command vendorcmd is a small WHIP and WHEP server, a plain forwarder as
// vendors run them, that behaves badly on demand: POST /control takes a
// behaviour.Behaviour, GET /control tells a behaviour.State. It prints its
// addresses as one line of JSON when it is ready, and ends its sessions and
// itself at SIGTERM.
//
// What is published under /whip/NAME is forwarded to the players of
// /whep/NAME. Each player has SSRCs, sequence numbers and timestamps of its
// own; header extensions are taken off; there is no cache. A player of a
// stream nobody publishes is refused with 404. When a publisher goes, its
// players stay and get what the next one sends.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/talwtn/caddy-wtn/tests/internal/vendorcmd/behaviour"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vendorcmd:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:0", "address of WHIP and WHEP (TCP)")
	control := flag.String("control", "127.0.0.1:0", "address of the control endpoint (TCP)")
	media := flag.String("media", "127.0.0.1:0", "address of the media (UDP)")
	cert := flag.String("cert", "", "certificate file: serve WHIP and WHEP over HTTPS")
	key := flag.String("key", "", "file of the certificate's key")
	flag.Parse()

	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGTERM, os.Interrupt)

	public, err := net.Listen("tcp4", *listen)
	if err != nil {
		return err
	}
	private, err := net.Listen("tcp4", *control)
	if err != nil {
		return err
	}
	c := newControls()
	conn, err := listenMedia(*media, c)
	if err != nil {
		return err
	}
	h := newHub(c, conn)
	go h.synthesise()
	s := &server{controls: c, hub: h, scheme: "http", host: public.Addr().String()}
	failed := make(chan error, 2)
	web := &http.Server{Handler: s}
	if *cert != "" {
		s.scheme = "https"
		go func() { failed <- web.ServeTLS(public, *cert, *key) }()
	} else {
		go func() { failed <- web.Serve(public) }()
	}
	admin := &http.Server{Handler: &controlHandler{controls: c, hub: h}}
	go func() { failed <- admin.Serve(private) }()

	err = json.NewEncoder(os.Stdout).Encode(behaviour.Addresses{
		HTTP: s.host, Control: private.Addr().String(), Media: conn.LocalAddr().String(),
	})
	if err != nil {
		return err
	}
	select {
	case err = <-failed:
	case <-quit:
	}
	_ = web.Close()
	h.close()
	return errors.Join(err, admin.Close(), conn.Close())
}
