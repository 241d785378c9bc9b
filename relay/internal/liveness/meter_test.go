package liveness

import (
	"math/rand/v2"
	"testing"
	"time"
)

const ms = int64(time.Millisecond)

// player feeds a meter with frames of a camera.
type player struct {
	Meter
	now int64
	ts  uint32
}

func play() *player { return &player{now: 1_000_000, ts: ^uint32(0) - 9000} }

// frames sends n frames of packets packets each, one every step of arrival,
// media of media long.
func (p *player) frames(n int, step, media time.Duration) *player {
	for range n {
		p.now += int64(step)
		p.ts += uint32(int64(media) * 90000 / int64(time.Second))
		for range 3 {
			p.Video(p.now, p.ts, true)
		}
	}
	return p
}

func (p *player) camera(n int) *player { return p.frames(n, 33*time.Millisecond, 33*time.Millisecond) }
func (p *player) slow(n int) *player   { return p.frames(n, time.Second, time.Second) }
func (p *player) pause(d time.Duration) *player {
	p.now += int64(d)
	p.ts += uint32(int64(d) * 90000 / int64(time.Second))
	return p
}

func TestRhythm(t *testing.T) {
	const frame = 33 * time.Millisecond
	tests := []struct {
		name          string
		p             *player
		interval, gap time.Duration
	}{
		{"nothing", play(), 0, 0},
		{"one frame", play().camera(1), 0, 0},
		{"two frames", play().slow(2), time.Second, time.Second},
		{"camera", play().camera(100), frame, frame},
		{"slow screen", play().slow(100), time.Second, time.Second},
		{"one freeze is no rhythm", play().camera(100).pause(2 * time.Second).camera(2), frame, frame},
		{"camera turns slow, first frame", play().camera(100).slow(1), frame, frame},
		{"camera turns slow, second frame", play().camera(100).slow(2), frame, time.Second},
		{"slow turns camera", play().slow(100).camera(64), frame, frame},
		{"burst of a cache", play().frames(60, time.Millisecond/2, frame).camera(3), frame, frame},
		{"an hour away", play().camera(3).pause(time.Hour).camera(1), frame, 10 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.p.Interval(); got != tt.interval {
				t.Errorf("interval %v, want %v", got, tt.interval)
			}
			if got := tt.p.Gap(); got != tt.gap {
				t.Errorf("gap %v, want %v", got, tt.gap)
			}
		})
	}
}

func TestJitterDoesNotMakeNervous(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	p := play()
	worst := time.Duration(0)
	for range 10000 {
		p.frames(1, time.Duration(20+rnd.IntN(27))*time.Millisecond, 33*time.Millisecond)
		worst = max(worst, p.Gap())
	}
	if worst > 50*time.Millisecond || p.Gap() < 40*time.Millisecond {
		t.Errorf("gap %v, at most %v", p.Gap(), worst)
	}
	if i := p.Interval(); i < 30*time.Millisecond || i > 36*time.Millisecond {
		t.Errorf("interval %v", i)
	}
}

func TestFlows(t *testing.T) {
	const frame = 33 * time.Millisecond
	tests := []struct {
		name string
		p    *player
		wait time.Duration
		want bool
	}{
		{"nothing", play(), 0, false},
		{"two frames", play().camera(2), 0, false},
		{"over less than 100 ms", play().camera(3), 0, false},
		{"camera", play().camera(5), 0, true},
		{"camera stopped", play().camera(50), 251 * time.Millisecond, false},
		{"slow screen", play().slow(3), 1900 * time.Millisecond, true},
		{"slow screen stopped", play().slow(3), 2100 * time.Millisecond, false},
		{"cache at once", play().frames(60, 0, frame), 0, false},
		{"cache over 300 ms", play().frames(60, 5*time.Millisecond, frame), 0, false},
		{"cache over 1 s", play().frames(60, 16*time.Millisecond, frame), 0, false},
		{"cache, then live", play().frames(60, 5*time.Millisecond, frame).camera(5), 0, true},
		{"cache, then freeze, then live", play().frames(60, 0, frame).pause(time.Second).camera(2), 0, true},
		{"catching up after a stall", play().camera(20).frames(1, 400*time.Millisecond, frame).frames(11, 9*time.Millisecond, frame), 0, true},
		{"clock four times too fast", play().frames(200, frame, 4*frame), 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.p.Flows(tt.p.now + int64(tt.wait)); got != tt.want {
				t.Errorf("flows %v, want %v", got, tt.want)
			}
		})
	}
}

func TestFlowsAudio(t *testing.T) {
	var m Meter
	for i := range int64(5) {
		m.Audio(i * 20 * ms)
	}
	if m.Flows(81 * ms) {
		t.Error("80 ms of sound flow")
	}
	m.Audio(100 * ms)
	if !m.Flows(700*ms) || m.Flows(701*ms) {
		t.Error("sound is fresh for 600 ms")
	}
	// comfort noise
	for i := int64(1); i < 10; i++ {
		m.Audio((100 + i*400) * ms)
	}
	if !m.Flows(m.LastAudio() + 790*ms) {
		t.Error("comfort noise does not flow")
	}
	if m.AudioInterval() != 20*time.Millisecond && m.AudioInterval() != 400*time.Millisecond {
		t.Errorf("interval %v", m.AudioInterval())
	}
	if m.HasVideo() || m.FlowsVideo(m.LastAudio()) {
		t.Error("video out of sound")
	}
}

func TestFramesAndLateness(t *testing.T) {
	p := play().camera(4)
	if p.Frames() != 4 || p.FirstAt() != 1_000_000+33*ms {
		t.Fatalf("frames %d first %d", p.Frames(), p.FirstAt())
	}
	p.Video(p.now+10*ms, p.ts-3000, false)
	if p.Frames() != 4 || p.LastVideo() != p.now+10*ms {
		t.Error("a late packet is a sign of life and no frame")
	}
	p.Video(p.now+20*ms, p.ts, true)
	if p.Frames() != 4 || p.LastVideo() != p.now+20*ms {
		t.Error("one more packet of a frame is no frame")
	}
	p.Video(p.now+1001*ms, p.ts, true)
	if p.LastVideo() != p.now+20*ms {
		t.Error("padding keeps a source alive")
	}
	if v, a := p.Silence(p.now + 30*ms); v != 10*time.Millisecond || a != 0 {
		t.Errorf("silence %v %v", v, a)
	}
	p.Reset()
	if p.Frames() != 0 || p.HasVideo() || p.FirstAt() != 0 {
		t.Error("reset remembers")
	}
}

func TestVideoAfter(t *testing.T) {
	p := play().camera(10)
	start := p.now
	if n, _ := p.VideoAfter(start); n != 0 {
		t.Errorf("%d frames after the last", n)
	}
	p.camera(3)
	if n, first := p.VideoAfter(start); n != 3 || first != start+33*ms {
		t.Errorf("%d frames, first %d ms later", n, (first-start)/ms)
	}
	p.pause(2 * time.Second)
	resumed := p.now
	p.camera(2)
	if n, first := p.VideoAfter(start); n != 2 || first != resumed+33*ms {
		t.Errorf("a pause does not break the run: %d", n)
	}
	if n, _ := p.camera(200).VideoAfter(start); n != Window {
		t.Errorf("%d frames, want all remembered", n)
	}
	// a cache that is emptied just before the publisher goes on
	p = play().frames(60, 2*time.Millisecond, 33*time.Millisecond)
	p.now += 140 * ms
	p.ts += 2 * 90000
	resumed = p.now
	p.camera(4)
	if n, first := p.VideoAfter(0); n != 4 || first != resumed+33*ms {
		t.Errorf("cached frames count: %d", n)
	}
	// the network catches up
	p = play().camera(10).frames(1, 150*time.Millisecond, 33*time.Millisecond).frames(5, 0, 33*time.Millisecond)
	if n, _ := p.VideoAfter(0); n != 16 {
		t.Errorf("a stall hides frames: %d", n)
	}
	// two slow frames are a rhythm, no pause
	if n, _ := play().camera(50).slow(3).VideoAfter(0); n < 4 {
		t.Errorf("%d frames of a slow run", n)
	}
}

func TestNoAllocs(t *testing.T) {
	p := play().camera(100)
	sink := false
	if n := testing.AllocsPerRun(1000, func() {
		p.camera(1)
		p.Audio(p.now)
		_, first := p.VideoAfter(p.now - 100*ms)
		sink = p.Flows(p.now) && p.Gap() > p.Interval() && first > 0
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	_ = sink
}

func BenchmarkVideo(b *testing.B) {
	var m Meter
	b.ReportAllocs()
	for i := range b.N {
		m.Video(int64(i)*8*ms, uint32(i/4)*3000, true)
	}
}

func BenchmarkAudio(b *testing.B) {
	var m Meter
	b.ReportAllocs()
	for i := range b.N {
		m.Audio(int64(i) * 20 * ms)
	}
}

func BenchmarkFlows(b *testing.B) {
	p := play().camera(100)
	b.ReportAllocs()
	for range b.N {
		if !p.Flows(p.now) {
			b.Fatal("does not flow")
		}
	}
}

func BenchmarkInterval(b *testing.B) {
	p := play().camera(100)
	b.ReportAllocs()
	for range b.N {
		p.Interval()
	}
}
