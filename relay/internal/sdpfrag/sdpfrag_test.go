package sdpfrag

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const (
	host = "candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1"
	tcp  = "candidate:3471623853 1 tcp 1518280447 198.51.100.2 9 typ host tcptype active"
	mdns = "candidate:1 1 UDP 2113937151 6a0c2f7e-1b77-4f07-9d2c-1f4c2f8d5f10.local 51472 typ host"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, body string
		want       Fragment
	}{
		{"RFC 9725 trickle",
			"a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=" + host + "\r\na=" + tcp + "\r\na=end-of-candidates\r\n",
			Fragment{Ufrag: "EsAw", Pwd: "P2uYro0UCOQ4zxjKXaWCBui1", Bundle: []string{"0", "1"}, EndOfCandidates: true,
				Candidates: []Candidate{{"0", host}, {"0", tcp}}}},
		{"RFC 9725 restart answer",
			"a=ice-lite\r\na=ice-options:trickle ice2\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\na=" + host + "\r\na=end-of-candidates\r\n",
			Fragment{Ufrag: "ysXw", Pwd: "vw5LmwG4y/e6dPP/zAP9Gp5k", Lite: true, Options: []string{"trickle", "ice2"}, Bundle: []string{"0", "1"},
				EndOfCandidates: true, Candidates: []Candidate{{"0", host}}}},
		{"Q-JS-1 medooze: credentials at session level",
			"a=ice-ufrag:EsAw\r\na=ice-pwd:P2uY\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:1\r\na=" + mdns + "\r\n",
			Fragment{Ufrag: "EsAw", Pwd: "P2uY", Candidates: []Candidate{{"1", mdns}}}},
		{"Q-JS-2 Eyevinn: one candidate repeated for each mid",
			"m=audio 9 RTP/AVP 0\na=mid:0\na=" + host + "\nm=audio 9 RTP/AVP 0\na=mid:1\na=" + host + "\n",
			Fragment{Candidates: []Candidate{{"0", host}, {"1", host}}}},
		{"GStreamer: no group, mids with names, old CR",
			"a=ice-ufrag:u\ra=ice-pwd:p\rm=audio 9 RTP/AVP 0\ra=mid:audio0\ra=" + tcp + "\r",
			Fragment{Ufrag: "u", Pwd: "p", Candidates: []Candidate{{"audio0", tcp}}}},
		{"WHIP-93: no m-line and no mid", "a=ice-ufrag:u\na=ice-pwd:p\na=" + host + "\na=end-of-candidates",
			Fragment{Ufrag: "u", Pwd: "p", EndOfCandidates: true, Candidates: []Candidate{{"", host}}}},
		{"mid after the candidate", "m=audio 9 RTP/AVP 0\na=" + host + "\na=mid:0\nm=video 9 RTP/AVP 0\na=" + tcp + "\n",
			Fragment{Candidates: []Candidate{{"0", host}, {"", tcp}}}},
		{"candidate of the event", host + "\na=" + "candidate:" + tcp + "\n",
			Fragment{Candidates: []Candidate{{"", host}, {"", tcp}}}},
		{"empty candidate ends the list", "m=audio 9 RTP/AVP 0\na=mid:0\na=candidate:\n", Fragment{EndOfCandidates: true}},
		{"unknown attributes and lines", "v=0\ns=-\na=ice-pacing:50\na=foo\na=group:LS 0 1\nc=IN IP4 0.0.0.0\na=rtcp-mux\n", Fragment{}},
		{"same credentials twice", "m=a\na=ice-ufrag:u\na=ice-pwd:p\nm=v\na=ice-ufrag:u\na=ice-pwd:p\n", Fragment{Ufrag: "u", Pwd: "p"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", *got, tt.want)
			}
		})
	}
}

func candidates(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "a=candidate:%d 1 udp 1 192.0.2.1 9 typ host\r\n", i)
	}
	return b.String()
}

func TestParseErrors(t *testing.T) {
	tests := []struct {
		name, body string
		want       error
	}{
		{"empty", "", ErrMalformed},
		{"blank", " \r\n\r\n", ErrMalformed},
		{"Q-JS-6 JSON", `{"candidate":"` + host + `"}`, ErrMalformed},
		{"text", "hello", ErrMalformed},
		{"short candidate", "a=candidate:1 1 udp 1 192.0.2.1 9\r\n", ErrMalformed},
		{"no typ", "a=candidate:1 1 udp 1 192.0.2.1 9 host typ\r\n", ErrMalformed},
		{"two ufrags", "m=a\na=ice-ufrag:a\nm=v\na=ice-ufrag:b\n", ErrMalformed},
		{"two pwds", "a=ice-pwd:a\na=ice-pwd:b\n", ErrMalformed},
		{"two mids in one section", "m=a\na=mid:a\na=mid:b\n", ErrMalformed},
		{"empty ufrag", "a=ice-ufrag:\n", ErrMalformed},
		{"ufrag of two words", "a=ice-ufrag:a b\n", ErrMalformed},
		{"long pwd", "a=ice-pwd:" + strings.Repeat("x", 257), ErrMalformed},
		{"65 candidates", candidates(65), ErrTooLarge},
		{"large", "a=" + strings.Repeat("x", MaxSize), ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Parse([]byte(tt.body))
			if !errors.Is(err, tt.want) || f != nil {
				t.Errorf("got %+v, %v, want %v", f, err, tt.want)
			}
		})
	}
	if f, err := Parse([]byte(candidates(64))); err != nil || len(f.Candidates) != 64 {
		t.Errorf("64 candidates: %v", err)
	}
}

func TestFormat(t *testing.T) {
	got := Format(&Fragment{
		Ufrag: "u", Pwd: "p", Lite: true, Options: []string{"trickle"}, Bundle: []string{"0", "1"},
		EndOfCandidates: true, Candidates: []Candidate{{"0", host}, {"1", tcp}, {"0", mdns}},
	})
	want := "a=ice-lite\r\na=ice-options:trickle\r\na=group:BUNDLE 0 1\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n" +
		"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=" + host + "\r\na=" + mdns + "\r\n" +
		"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:1\r\na=" + tcp + "\r\na=end-of-candidates\r\n"
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := string(Format(&Fragment{EndOfCandidates: true})); got != "a=end-of-candidates\r\n" {
		t.Errorf("only the end: %q", got)
	}
}

// What is parsed can be written, and reads the same again once its candidates
// are grouped by mid.
func FuzzParse(f *testing.F) {
	f.Add("a=ice-ufrag:u\r\na=ice-pwd:p\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=" + host + "\r\na=end-of-candidates\r\n")
	f.Add("m=audio 9 RTP/AVP 0\na=" + host + "\na=mid:0\nm=video 9 RTP/AVP 0\na=mid:1\na=" + tcp + "\n" + mdns)
	f.Add("a=ice-lite\na=ice-options:trickle ice2\na=group:BUNDLE 0 1\na=candidate:\n")
	f.Add(candidates(65))
	f.Add(`{"candidate":""}`)
	f.Fuzz(func(t *testing.T, body string) {
		first, err := Parse([]byte(body))
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("unknown error %v", err)
			}
			return
		}
		text := Format(first)
		if len(text) == 0 || len(text) > MaxSize {
			return // nothing to say, or grown over the limit by the m-lines
		}
		second, err := Parse(text)
		if err != nil {
			t.Fatalf("%v\n%q\n%q", err, body, text)
		}
		if len(second.Candidates) != len(first.Candidates) || second.Ufrag != first.Ufrag || second.Pwd != first.Pwd {
			t.Fatalf("%+v became %+v", first, second)
		}
		third, err := Parse(Format(second))
		if err != nil || !reflect.DeepEqual(second, third) {
			t.Fatalf("%+v became %+v, %v", second, third, err)
		}
	})
}
