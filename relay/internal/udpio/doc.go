// Package udpio is one UDP socket with batched input and output, made for a relay
// that sends the same few packets to many peers.
//
// A [Socket] is read by one loop: [Socket.Read] waits in Go's netpoller for the
// first datagram and returns with all that are there, up to [ReadBatch], so batches
// grow by themselves with load. Each datagram comes with a [Peer]: where it came
// from and which of our addresses it was sent to. An answer to a Peer leaves from
// that address, as it must on a host with several.
//
// A [Sender] belongs to one worker. It collects the packets for one peer after
// another in one piece of memory and hands them to the kernel with as few messages
// and system calls as it can: consecutive packets of equal size to one peer travel
// as one message that the kernel, or the network card, cuts up (UDP_SEGMENT, since
// Linux 4.18), and up to 64 messages go with one sendmmsg. The message is where the
// gain is: the way through the kernel's stack is walked once for it instead of once
// per packet. The last packet of a message may be shorter than the others, and it
// ends the message; one that is longer begins a new one. Senders who want long runs
// make their packets of one size.
//
// Sending never waits for long and takes no lock: any number of senders and
// [Socket.WriteTo] calls use a socket at a time. If the socket's buffer is full a
// flush waits once, for some milliseconds, and then drops and counts the rest: late
// media is of no use, and one full queue must not hold up all peers. Errors that
// belong to one peer (no route, refused, filtered) cost that peer its packet and
// are counted.
//
// A message with UDP_SEGMENT can fail where single packets would pass, because the
// route's device cannot do checksums or the path is narrower than the packets. It is
// then sent again packet by packet, and if segmentation itself is what the system
// refuses it is switched off for the socket.
//
// On systems other than Linux the same API sends and receives datagram by datagram
// and does not know local addresses of sockets bound to a wildcard address.
package udpio
