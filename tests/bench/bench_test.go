package main

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The benchmark itself works: both servers carry a small load, and every
// figure of the table is measured. It does not judge how fast they are.
func TestSmoke(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var out bytes.Buffer
	rows, err := run(ctx, options{
		viewers: []int{2}, duration: time.Second, settle: 200 * time.Millisecond,
		gateway: os.Getenv("WTN_GATEWAY"), cores: 1, joinRate: 40,
	}, &out)
	t.Logf("\n%s", out.String())
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[0].server != "gateway" || rows[1].server != "plain" {
		t.Fatalf("got %d rows, want one of the gateway and one of the plain relay", len(rows))
	}
	for _, r := range rows {
		if r.joins.OK != 2 || r.joins.Err != nil || r.join(.5) <= 0 {
			t.Errorf("%s: %d of 2 viewers joined, in %v: %v", r.server, r.joins.OK, r.joins.Times, r.joins.Err)
		}
		if r.Undecryptable > 0 || r.Loss() > .05 || r.delivered() < 50 || r.delivered() > 150 {
			t.Errorf("%s: %d packets received of %d, %d not decrypted, %.0f%% of those sent",
				r.server, r.Received, r.Expected, r.Undecryptable, r.delivered())
		}
		if len(r.Latencies) == 0 || r.latency(.01) <= 0 || r.latency(.5) > 1000 {
			t.Errorf("%s: %d latencies, median %.2f ms", r.server, len(r.Latencies), r.latency(.5))
		}
		if r.perPacket() <= 0 || r.idle <= 0 || r.rss <= 0 {
			t.Errorf("%s: no CPU time or memory measured: %v, %d bytes, %d bytes", r.server, r.cpu, r.idle, r.rss)
		}
	}
	if n := bytes.Count(out.Bytes(), []byte("plain/gateway")); n != 1 {
		t.Errorf("%d rows of ratios in the table, want 1", n)
	}
}

func TestParseViewers(t *testing.T) {
	if got, err := parseViewers("10, 50"); err != nil || len(got) != 2 || got[0] != 10 || got[1] != 50 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, s := range []string{"", "0", "10,", "-1", "5001", "x"} {
		if got, err := parseViewers(s); err == nil {
			t.Errorf("%q is taken as %v", s, got)
		}
	}
}
