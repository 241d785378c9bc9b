// Package relay forwards live WebRTC media: one publisher sends a stream, any
// number of subscribers watch it, and nobody is transcoded. It knows SDP, RTP
// and sockets, but neither HTTP nor Caddy: those who do call a [Hub].
//
// # The model
//
//	publisher           ─ source ┐             ┌ sink ─ subscriber
//	backup publisher    ─ source ┤             ├ sink ─ subscriber
//	pull of upstream a  ─ source ┼ ▶ program ▶ ┼ sink ─ push to upstream a
//	pull of upstream b  ─ source ┤             └ sink ─ push to upstream b
//	slate               ─ source ┘
//
// A stream is a name. Behind it stands a program: one audio and one video track
// in one timeline that never breaks. Sources come and go behind the program and
// are rewritten into it (sequence numbers, timestamps, picture ids), once for
// all sinks. A sink is a subscriber as the sending side sees it: one down track
// of each kind, with an SSRC and numbers of its own. So there are two places
// where numbers change, and each has one duty: outTrack hides changes of the
// source, downTrack hides what one subscriber was not sent.
//
// Simulcast video (several encodings of one picture, told apart by RID) is several
// tracks of the program, each in a lane of its own (lane.go), with numbers, ring
// and key frame requests of its own. A down track follows one lane. It goes over to
// another at a key frame there, and gets the old one until then (layers.go); what
// the subscriber sees stays one stream: its numbers go on, its timestamps are
// moved by what the two lanes' clocks differ by, its picture ids continue. So
// downTrack hides changes of the layer, too. Which layer a viewer gets is looked
// at ten times a second: the one it chose, or the highest that its path carries
// (afford.go), of those that flow. High and low are measured (ladder.go). When
// publishers with different layers follow each other nobody is dropped: a choice
// that cannot be met counts as none until it can.
//
// A pull is a session of ours at an upstream (a vendor, another gateway) that
// sends us the stream: a publisher in all but who made the connection. A push is
// one that receives it: a subscriber likewise. Both use the same legs and the
// same way of a packet.
//
// A second publisher of a stream replaces the first, is refused, or waits as its
// backup ([PublishPolicy]). Which source has the program is chosen in choose.go,
// by internal/choice from the pulse of each (internal/liveness): sources of the
// same media are compared with each other, others are judged by their own
// rhythm, and silence alone is never death. The program goes over at a key frame
// of the new source, and the old one is forwarded until then. If the old one is
// dead there is nothing to wait with: a source in wait keeps what it sent since
// its last key frame (standby.go), and viewers get that at once. When all sources
// are gone there is the slate.
//
// # The way of a packet
//
//	internal/udpio, leg    a read takes what has arrived, finds the leg of each
//	                       datagram, authenticates and decrypts it
//	inbound.go             which layer it is of, where there are several
//	publisher.go           parses the header, follows the numbers, writes down
//	                       what is missing (NACK), undoes RTX
//	program.go             lets it in if its source has the track, or may take it
//	outtrack.go, clock.go  new numbers, parameter sets, padding left out; relates
//	                       timestamps to our clock for the sender reports
//	internal/ring          stored once, in order of arrival
//	worker.go, fan.go      a sending loop wakes, copies what is new, and goes
//	                       through its viewers; shed.go says how many it has
//	                       time for
//	downtrack.go           number, SSRC and payload type of this viewer; sealed
//	                       straight into the batch of its socket
//	internal/udpio         one system call for many packets and viewers
//
// Nothing on this way allocates, logs, or takes a lock of the control plane.
// What goes back is nack.go (resends from the ring), sink.go (sender reports)
// and source.go (key frame requests: however many viewers ask, a source hears
// one per half second, repeated until it answers).
//
// Resends without RTX repeat the very packet, byte for byte: an SRTP index must
// never protect two different ones (RFC 7714 section 9.1). That is why such
// viewers get neither padding nor a send time, and why a number is never given
// back once it was sealed.
//
// # Newcomers and those who fall behind
//
// A newcomer starts at the newest key frame in the ring and catches up in paced
// bursts, or asks the source if that answers at once (program.cached). Who
// cannot follow (full connection, no path, loop without time) is left out up to
// a key frame and goes on without a gap in the numbers. Under overload the
// newest sit out, so that those who came first keep a smooth picture; hub and
// negotiate refuse newcomers before that.
//
// # Goroutines
//
//	who runs                        what it does             who waits for it
//	leg: one reader per socket      Handle* of all sessions  leg.Transport.Close
//	leg: DTLS of a session          HandleReady, HandleEnd   leg.Transport.Close
//	publisher.run, one each         NACK, reports, PLI       publisher.closed
//	worker.run, one per core        sends, resends, reports  Hub.Close
//	Hub.patrol                      timeouts, checks of      Hub.Close (task)
//	                                upstreams
//	Hub.direct                      chooses sources          Hub.Close (task)
//	docks.run, one for each stream  opens and ends sessions  Hub.Close (task)
//	  that is pulled, or pushed     at upstreams
//	docks.dial, one for each        waits for the answer     Hub.Close (task)
//	  session there                 and for the end
//	slateSource.run                 plays                    Hub.Close (task)
//	Hub.task                        ends sessions, takes     Hub.Close (task)
//	                                notice of takeovers
//
// A down track belongs to its loop, and so do sink and fan; others reach them
// through worker.post, the queue of NACKs, and atomics. Handlers run under the
// receive lock of their leg and never end a session themselves: they hand that
// to Hub.task.
//
// # Locks
//
// In this order, each for a short time:
//
//	Hub.mu ▶ docks.mu ▶ Session.endMu ▶ publisher.mu ▶ program.mu ▶ Ring.mu, outTrack.refMu
//
// worker.mu, Hub.taskMu and upstream.mu are leaves: taken under any of these, and nothing is
// taken under them. No Observer, no Close of a leg and no End runs under a lock.
// Requests for key frames leave from any goroutine and take publisher.mu; so
// nobody asks for one while holding program.mu.
//
// # What survives what
//
//	                         stream       subscribers          publisher
//	reload of the config     goes on      notice nothing       notices nothing
//	publisher's network      goes on      last picture, then   may come back
//	lost, DTLS closed                     it goes on           within grace
//	another one publishes    goes on      next key frame is    the old one ends
//	                                      of the new source    (takeover), or waits
//	                                                           (backup)
//	upstream dies            goes on      next picture is of   notices nothing
//	                                      another upstream
//	all sources die          goes on      slate, or the last   may come back
//	                         for a while  picture
//	source changes codec     goes on      go on, or end where  goes on
//	                                      they cannot decode
//	sender starts anew       goes on      next key frame       goes on
//	last publisher ends      ends         end                  -
//	ICE restart, NAT moves   goes on      notice nothing       notices nothing
//
// A session ends once, with one [Reason], by Session.End: it leaves the hub's
// maps, then its stream, then the leg closes, then its loop lets go. A session
// may end while its offer is still being answered; then the answer is an error
// and nobody else hears of it (Session.unlessEnded guards what must not follow
// the end).
//
// # Where to find the rest
//
// negotiate.go: from offer to answer, limits. stream.go: publishers and
// subscribers of a name. rivals.go: several publishers. choose.go: who is wanted.
// session.go: identity and end. upstream.go, upstreams.go: what an upstream is
// and what is known of it; dock.go: a stream's place there, pull.go, push.go:
// which of them it needs. routing.go: what a stream does beside its sessions.
// slate.go, quality.go, control.go: what the names say.
// subscriber.go: feedback of viewers. restart.go: ICE restarts and trickle.
// lane.go, inbound.go, layers.go, ladder.go, afford.go: simulcast. hold.go:
// subscribers before any publisher. mute.go, watch.go, events.go: what sessions
// may change and hear. hop.go: media through a relay in this process.
// candidates.go: addresses. snapshot.go, stats.go, meter.go, load.go: numbers.
package relay
