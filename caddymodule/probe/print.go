package probe

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Print writes the profile for people.
func (p *Profile) Print(out io.Writer) {
	verdict := "well"
	if !p.OK() {
		verdict = "FAILING"
	}
	fmt.Fprintf(out, "upstream %s (%s), stream %s: %s\n", p.Upstream, p.Vendor, p.Stream, verdict)
	for _, s := range p.Problems {
		fmt.Fprintln(out, "  problem:", s)
	}
	for _, s := range p.Notes {
		fmt.Fprintln(out, "  note:", s)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer t.Flush()
	row := func(name string, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintln(t, "service")
	if p.Server != "" {
		row("server", "%s", p.Server)
	}
	row("OPTIONS", "%s (health checks want less than 500)", p.Options)
	p.Push.print(t, row, "push")
	p.Pull.print(t, row, "pull")
	if k := p.Keyframes; k != nil {
		fmt.Fprintln(t, "key frames")
		if k.Asked > 0 {
			row("requests passed on", "%d of %d", k.Passed, k.Asked)
		}
		row("asked for by itself", "%.0f a minute", k.PerMinute)
	}
	p.Video.print(t, row, "video")
	p.Audio.print(t, row, "audio")
	if p.Skew != nil {
		row("video after audio", "%+.1f ms", *p.Skew)
	}
}

func (s *Session) print(t io.Writer, row func(string, string, ...any), name string) {
	if s == nil {
		return
	}
	fmt.Fprintln(t, name)
	tries := ""
	if s.Tries > 1 {
		tries = fmt.Sprintf(", the %d. time", s.Tries)
	}
	row("POST", "%s%s, %s, %s", &s.Post, tries, either(s.Located, "Location", "no Location"), either(s.ETag, "ETag", "no ETag"))
	if s.Error != "" {
		row("error", "%s", s.Error)
	}
	if s.DTLS == 0 {
		return
	}
	row("connected", "ICE %.0f ms, DTLS %.0f ms after the answer", s.ICE, s.DTLS)
	row("codecs", "%s", strings.Join(append(append([]string{}, s.Audio...), s.Video...), " "))
	if s.Trickle != nil {
		row("PATCH candidate", "%s", s.Trickle)
	}
	if s.Restart != nil {
		row("PATCH ICE restart", "%s", s.Restart)
	}
	switch d := s.Delete; {
	case d == nil:
		row("DELETE", "not possible")
	case name == "pull" && s.StoppedIn != nil:
		row("DELETE", "%s, media stopped after %.0f ms", d, *s.StoppedIn)
	case name == "pull":
		row("DELETE", "%s, media went on", d)
	default:
		row("DELETE", "%s", d)
	}
}

// payloadWords say what a service does to payloads.
var payloadWords = map[string]string{
	PayloadIdentical:  "packets are identical",
	PayloadDescriptor: "packets are identical but for the codec's descriptor",
	PayloadRepacked:   "frames are identical, packed anew",
	PayloadOther:      "encoded anew",
	PayloadNone:       "nothing came",
	PayloadUnknown:    "not compared, somebody else's stream",
}

func (m *Media) print(t io.Writer, row func(string, string, ...any), name string) {
	if m == nil {
		return
	}
	fmt.Fprintln(t, name)
	row("codec", "%s", m.Codec)
	row("payload", "%s (%.1f %% of packets)", payloadWords[m.Payload], m.IdenticalPercent)
	if m.PacketsReceived == 0 {
		return
	}
	if m.FirstFrame > 0 {
		row("first frame", "%.0f ms after the POST", m.FirstFrame)
	}
	if m.FramesSent > 0 {
		row("lost", "%.2f %% (%d of %d frames came)", m.LossPercent, m.FramesReceived, m.FramesSent)
		row("latency", "p50 %.1f ms, p99 %.1f ms", m.LatencyP50, m.LatencyP99)
	}
	row("timestamps", "%s", m.Timestamps)
	gaps := ""
	if m.GapsClosed != nil {
		gaps = either(*m.GapsClosed, ", gaps closed", ", gaps kept")
	}
	row("sequence numbers", "%s%s", m.Sequence, gaps)
	row("sender reports", "%d", m.SenderReports)
}

func either(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}
