package relay

import (
	"slices"
	"time"
)

const (
	// silentPull is how long a pull may take from its connection to its first
	// packet before another upstream is tried as well, and stalledPull how long
	// it may then be silent while another one delivers.
	silentPull  = 2 * time.Second
	stalledPull = 5 * time.Second
	// needFor is how long a suspicion keeps a cold standby open.
	needFor = 3 * time.Second
)

// puller pulls one stream from its upstreams, for all of its viewers.
type puller struct {
	*docks
	st *stream

	// Guarded by the hub's lock.
	waiting   int           // viewers whose offers wait for the first answer
	first     chan struct{} // closed when there is one, or none is to be expected
	err       error         // why not
	needUntil int64         // a cold standby is needed
	over      bool

	// The goroutine's own.
	idleAt, goneAt int64
}

// view is what the puller knows of its stream at one moment.
type view struct {
	routing *Routing
	viewers int
	holder  *publisher // has the program
	local   bool       // somebody publishes here, and has the program
	need    bool
	answer  bool // somebody waits for one
}

// look takes a view of the stream.
func (p *puller) look(now int64) view {
	h := p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	routing := p.st.routing
	v := view{
		routing: &routing.Routing, viewers: len(p.st.subs) + p.waiting, holder: p.st.publisher,
		need: now < p.needUntil, answer: p.waiting > 0,
	}
	for _, q := range p.st.all() {
		if q.local() && p.st.prog.live.Load() == q.src && !q.quiet.Load() {
			v.local = true
		}
	}
	return v
}

// plan decides about the sessions at the upstreams; false when it is over.
func (p *puller) plan(now int64) bool {
	v := p.look(now)
	p.route(v.routing.Pull)
	linger := v.routing.PullLinger
	if linger == 0 {
		linger = 10 * time.Second
	}
	idle := v.viewers == 0 || v.local
	if !idle {
		p.idleAt = 0
	} else if p.idleAt == 0 {
		p.idleAt = now
	}
	if idle && now-p.idleAt > int64(linger) {
		return !p.finish(v.local)
	}
	p.mu.Lock()
	live, tried, wrong := p.attend(v, now), true, error(nil)
	there := false
	for _, d := range p.list {
		there = there || d.session != nil && d.session.connected()
		tried = tried && (d.tried || !d.u.usable(now, false)) && !d.trying
		wrong = worse(wrong, d.err)
	}
	if len(p.list) == 0 {
		tried, wrong = true, &UpstreamError{Action: UpstreamBroken, Detail: "none of the upstreams of this stream is configured"}
	}
	p.mu.Unlock()
	if there {
		p.goneAt = 0
	} else if p.goneAt == 0 {
		p.goneAt = now // attempts that fail do not prolong the wait
	}
	if live {
		return true
	}
	return !p.hopeless(v, now, tried, wrong)
}

// attend opens and ends sessions. It returns whether there is one, or will be
// soon. Needs p.mu.
func (p *puller) attend(v view, now int64) (live bool) {
	want := 1
	if s := v.routing.Standby; s == StandbyWarm || s == StandbyHot {
		want = 2
	}
	if v.need {
		want = max(want, 2)
	}
	active, delivering := 0, false
	for _, d := range p.list {
		if d.session == nil {
			continue
		}
		q := d.session.owner.(*pull)
		flowing := q.flowing(now)
		d.flows(now, flowing)
		delivering = delivering || flowing
	}
	for _, d := range p.list {
		switch {
		case d.trying:
			active++
			live = true
		case d.session == nil:
		case p.useless(d, now, delivering):
			p.hub.endLater(d.session, ReasonUpstreamLost)
		default:
			live = true
			if !p.mute(d, now) {
				active++
			}
		}
	}
	for i, d := range p.list {
		last := len(p.list) == 1 || active == 0 && !p.others(i, now)
		better := i == 0 && p.failback(d, v, now)
		if (active < want || better) && p.ready(d, now, last) {
			p.dial(d, last)
			active++
			live = true
		}
	}
	p.trim(v, now, active-want)
	if v.routing.Standby == StandbyWarm {
		p.rest(v, now)
	}
	return live
}

// others tells whether another upstream than number i could be asked now.
func (p *puller) others(i int, now int64) bool {
	for j, d := range p.list {
		if j != i && now >= d.nextAt && d.u.usable(now, false) {
			return true
		}
	}
	return false
}

// failback tells whether the preferred upstream should be tried again although
// another one delivers.
func (p *puller) failback(d *dock, v view, now int64) bool {
	delay := v.routing.Failover.FailbackDelay
	if delay == 0 {
		delay = 30 * time.Second
	}
	return !v.routing.Failover.FailbackManual && d.session == nil && now-d.lostAt > int64(delay)
}

// mute tells that a session has been connected for a while and has not sent
// anything: another one is worth a try.
func (p *puller) mute(d *dock, now int64) bool {
	q := d.session.owner.(*pull)
	ready := q.readyAt.Load()
	return ready != 0 && now-ready > int64(silentPull) && q.packets.Load() == 0
}

// useless tells that a session delivers nothing while another one does.
func (p *puller) useless(d *dock, now int64, delivering bool) bool {
	q := d.session.owner.(*pull)
	since := max(q.readyAt.Load(), q.heardAt())
	return delivering && !q.asked.Load() && q.readyAt.Load() != 0 && now-since > int64(stalledPull)
}

// trim ends what a cold standby left over: sessions that are worse than the one
// which has the program, once that has settled.
func (p *puller) trim(v view, now int64, extra int) {
	if extra <= 0 || v.need || v.holder == nil || v.holder.local() {
		return
	}
	at := p.find(v.holder)
	if at == nil || at.wellAt == 0 || now-at.wellAt < int64(needFor) {
		return
	}
	for _, d := range slices.Backward(p.list) {
		spare := d.order > at.order || d != at && v.routing.Failover.FailbackManual // else it may be gone back to
		if extra > 0 && d.session != nil && spare {
			p.hub.endLater(d.session, ReasonUnused)
			extra--
		}
	}
}

func (p *puller) find(q *publisher) *dock {
	for _, d := range p.list {
		if d.session == q.Session {
			return d
		}
	}
	return nil
}

// rest has warm standbys wait without media while the one with the program is
// well, and go on when they are needed. Better ones than that do not wait, for
// they have to show that they are well before the stream goes back to them.
// Needs p.mu.
func (p *puller) rest(v view, now int64) {
	well := v.holder != nil && !v.holder.local() && v.holder.flowing(now) && !v.need
	for _, d := range p.list {
		if d.session == nil {
			continue
		}
		q := d.session.owner.(*pull)
		better := well && !v.routing.Failover.FailbackManual && compareRank(q.publisher, v.holder) < 0
		wait := well && !better && q.publisher != v.holder && (d.wellAt != 0 || q.asked.Load())
		if q.asked.Swap(wait) != wait {
			p.hub.task(q.pause)
		}
	}
}
