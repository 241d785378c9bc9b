package caddymodule

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseMedia(t *testing.T) {
	t.Setenv("WTN_TEST_MEDIA", "udp/127.0.0.1:6000")
	cases := []struct {
		in   []string
		want string // or, after "error: ", a part of the error
	}{
		{nil, "[udp/:5004 tcp/:5004]"},
		{[]string{"udp/:5004-5006"}, "[udp/:5004 udp/:5005 udp/:5006]"},
		{[]string{"tcp4/10.0.0.1:7", "udp6/[::1]:0"}, "[tcp4/10.0.0.1:7 udp6/[::1]:0]"},
		{[]string{":6000"}, "[udp/:6000]"},
		{[]string{"udp/"}, "[udp/:5004]"},
		{[]string{"{env.WTN_TEST_MEDIA}"}, "[udp/127.0.0.1:6000]"},
		{[]string{"{env.WTN_TEST_UNSET}"}, "error: WTN_TEST_UNSET"},
		{[]string{"udp/:5004", "udp/:5003-5005"}, "error: udp/:5004 is given twice"},
		{[]string{"unix//tmp/x"}, "error: cannot carry media"},
		{[]string{"udp/:1-65535"}, "error: at most 64"},
		{[]string{"udp/:1-60", "udp/:61-120"}, "error: at most 64"},
		{[]string{"udp/:70000"}, "error: media address"},
	}
	for _, c := range cases {
		got, err := parseMedia(c.in)
		if part, ok := strings.CutPrefix(c.want, "error: "); ok {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%v: error %v, want %q in it", c.in, err, part)
			}
			continue
		}
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%v: %v, %v; want %s", c.in, got, err, c.want)
		}
	}
}

// Two processes on one port would each get a part of every session's packets.
// Binding twice from one process meets the same rule of the kernel.
func TestMediaSocketIsExclusive(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		first, err := openMedia(mediaAddress{network, "127.0.0.1", 0})
		if err != nil {
			t.Fatal(err)
		}
		defer first.close()
		var port uint
		if _, err := fmt.Sscanf(first.bound(), network+"/127.0.0.1:%d", &port); err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"127.0.0.1", ""} {
			second, err := openMedia(mediaAddress{network, host, port})
			if err == nil {
				second.close()
				t.Fatalf("%s port %d was opened twice, the second time on host %q", network, port, host)
			}
			for _, want := range []string{"address already in use", "stop that process", "media option"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
		}
	}
	if _, err := openMedia(mediaAddress{"udp", "192.0.2.77", 0}); err == nil || !strings.Contains(err.Error(), "public_address") {
		t.Errorf("a foreign address: %v", err)
	}
}
