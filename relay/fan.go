package relay

import (
	"sync/atomic"

	"github.com/talwtn/caddy-wtn/relay/internal/codec"
)

// fan is one program on one sending loop: the cursors into its tracks and the
// down tracks that follow them. It belongs to the loop's goroutine but for
// dirty.
type fan struct {
	prog    *program
	worker  *worker
	dirty   atomic.Bool // the program wrote; any goroutine
	users   int         // subscribers
	tracks  [lanes]fanTrack
	choseAt int64 // when layers were chosen last
}

// fanTrack is one track of it.
type fanTrack struct {
	cursor  uint64       // arrival index to go on from
	burstAt int64        // when the last burst left
	live    []*downTrack // those at the cursor
	behind  []*downTrack // newcomers on their way to it, each with its own cursor
	coming  []*downTrack // followers of other lanes, to go on here at the next key frame
	share   share        // how many of the live are served
}

// wake tells the loop that the program wrote. Safe from any goroutine.
func (f *fan) wake() {
	if !f.dirty.Swap(true) {
		f.worker.wake()
	}
}

// start follows the program from now on.
func (f *fan) start() {
	for l := codec.Audio; int(l) < lanes; l++ {
		f.tracks[l].cursor = f.prog.tracks[l].ring.Next()
	}
	f.prog.addFan(f)
}

func (f *fan) stop() { f.prog.removeFan(f) }

func (f *fan) remove(d *downTrack) {
	f.leave(d)
	if d.next != 0 {
		f.tracks[d.next].coming = without(f.tracks[d.next].coming, d)
	}
}

// send sends what is new: audio first, it is small and its lateness is heard.
func (f *fan) send(w *worker, now int64) {
	f.dirty.Store(false)
	f.sendTrack(w, codec.Audio, now)
	end := codec.Video + lane(f.prog.videoLanes())
	if end > codec.Video+1 {
		f.chooseLayers(w, now)
	}
	for l := codec.Video; l < end; l++ {
		f.sendTrack(w, l, now)
		f.catchUp(w, l, now)
	}
}

// sendTrack brings the live down tracks of one lane to the head of the program,
// in bursts.
func (f *fan) sendTrack(w *worker, l lane, now int64) {
	t, r := &f.tracks[l], f.prog.tracks[l].ring
	head := r.Next()
	if len(t.live)+len(t.coming) == 0 {
		t.cursor = head
		return
	}
	for t.cursor < head {
		if next := t.burstAt + burstGap; next > now {
			w.later(next)
			return
		}
		next, missed := r.Read(t.cursor, head, w.batch)
		t.cursor = next
		if missed {
			for _, d := range t.live {
				d.skip(now)
			}
		}
		pkts := w.batch.Packets()
		if len(pkts) == 0 {
			return // overwritten just now
		}
		w.batch.Level()
		lag := w.load.lag(now - pkts[0].Arrival)
		served := len(t.live)
		if l != codec.Audio || !f.pictures() {
			served = f.admit(l, lag, now)
		}
		for _, d := range t.live[:served] {
			d.send(w, pkts, now)
		}
		for _, d := range t.live[served:] {
			d.sitOut()
			w.stats.shed.Add(uint64(len(pkts)))
		}
		if len(t.coming) > 0 {
			f.welcome(w, l, pkts, now)
		}
		if !w.batch.Full() {
			return
		}
		t.burstAt = now
	}
}

// pictures tells whether anybody follows a lane of video.
func (f *fan) pictures() bool {
	for i := range f.tracks[codec.Video:] {
		if len(f.tracks[codec.Video+lane(i)].live) > 0 {
			return true
		}
	}
	return false
}

// catchUp sends newcomers what was cached for them, a burst each at a time,
// until they are where the others are.
func (f *fan) catchUp(w *worker, l lane, now int64) {
	t, r := &f.tracks[l], f.prog.tracks[l].ring
	for i := 0; i < len(t.behind); {
		d := t.behind[i]
		if d.burstAt+burstGap > now {
			w.later(d.burstAt + burstGap)
			i++
			continue
		}
		next, missed := r.Read(d.cursor, t.cursor, w.batch)
		d.cursor, d.burstAt = next, now
		if missed {
			d.skip(now)
		}
		w.batch.Level()
		d.send(w, w.batch.Packets(), now)
		if d.cursor < t.cursor {
			w.later(now + burstGap)
			i++
			continue
		}
		t.behind = append(t.behind[:i], t.behind[i+1:]...)
		t.live = append(t.live, d)
	}
}

// addFan makes the program wake f. The loops' goroutines call it.
func (g *program) addFan(f *fan) {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := append([]*fan{f}, *g.fans.Load()...)
	g.fans.Store(&list)
}

func (g *program) removeFan(f *fan) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []*fan
	for _, x := range *g.fans.Load() {
		if x != f {
			list = append(list, x)
		}
	}
	g.fans.Store(&list)
}
