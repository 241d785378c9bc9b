"""Publishes over WHIP and plays over WHEP with GStreamer's webrtcbin, which has
its own ICE (libnice), DTLS (OpenSSL) and SRTP (libsrtp): nothing of a browser.

    webrtcbin.py publish URL ENCODING           until SIGINT
    webrtcbin.py play    URL ENCODING FRAMES    until so many pictures and sounds are decoded

Both end their session by DELETE and say in a line of JSON what happened.
"""
import json
import signal
import sys
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

LIMIT = {"publish": 90, "play": 30}  # seconds

ENCODERS = {
    "VP8": "vp8enc deadline=1 keyframe-max-dist=60 ! rtpvp8pay pt=96 picture-id-mode=15-bit",
    "H264": "openh264enc gop-size=60 ! h264parse ! "
            "rtph264pay pt=96 config-interval=-1 aggregate-mode=zero-latency",
}
SOURCES = """
webrtcbin name=bin bundle-policy=max-bundle
videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1
  ! videoconvert ! queue ! {encoder}
  ! application/x-rtp,media=video,encoding-name={encoding},payload=96 ! queue ! bin.
audiotestsrc is-live=true wave=ticks ! audioconvert ! audioresample ! queue ! opusenc ! rtpopuspay pt=100
  ! application/x-rtp,media=audio,encoding-name=OPUS,payload=100 ! queue ! bin.
"""
WANTED = {
    "VP8": "application/x-rtp,media=video,encoding-name=VP8,clock-rate=90000,payload=97",
    "H264": "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=98,"
            "packetization-mode=(string)1,profile-level-id=(string)42e01f",
    "OPUS": "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,"
            "encoding-params=(string)2,payload=111",
}


class Peer:
    """One session: the exchange of HTTP, and the main loop it runs in."""

    def __init__(self, url, pipe):
        self.url, self.pipe, self.session, self.posted = url, pipe, None, False
        self.seen = {"status": 0, "ended": 0, "error": ""}
        self.loop, self.bin = GLib.MainLoop(), pipe.get_by_name("bin")
        self.bin.connect("on-negotiation-needed", self.offer)
        self.bin.connect("notify::ice-gathering-state", self.gathered)
        bus = self.pipe.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, m: self.end(m.parse_error().gerror.message))

    def end(self, why=""):
        self.seen["error"] = self.seen["error"] or str(why)
        GLib.idle_add(self.loop.quit)

    def offer(self, _):
        def created(promise):
            reply = promise.get_reply()  # owns the description: it has to outlive the call
            self.bin.emit("set-local-description", reply.get_value("offer"), Gst.Promise.new())
        self.bin.emit("create-offer", None, Gst.Promise.new_with_change_func(created))

    def gathered(self, *_):
        if self.bin.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            GLib.idle_add(self.post)

    def request(self, method, url, body=None):
        headers = {"Content-Type": "application/sdp"} if body else {}
        return urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=10)

    def post(self):
        if self.posted:
            return
        self.posted = True
        try:
            text = self.bin.get_property("local-description").sdp.as_text()
            with self.request("POST", self.url, text.encode()) as reply:
                self.seen["status"] = reply.status
                self.session = urllib.parse.urljoin(self.url, reply.headers["Location"])
                _, sdp = GstSdp.SDPMessage.new_from_text(reply.read().decode())
        except (OSError, ValueError) as e:
            self.end(e)
            return
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
        self.bin.emit("set-remote-description", answer, Gst.Promise.new())

    def run(self, limit):
        GLib.timeout_add_seconds(limit, self.end, f"not done in {limit} seconds")
        self.pipe.set_state(Gst.State.PLAYING)
        self.loop.run()
        try:
            if self.session:
                with self.request("DELETE", self.session) as reply:
                    self.seen["ended"] = reply.status
        except OSError as e:
            self.seen["error"] = self.seen["error"] or str(e)
        self.pipe.set_state(Gst.State.NULL)
        print(json.dumps(self.seen))


class Publisher(Peer):
    def __init__(self, url, encoding):
        super().__init__(url, Gst.parse_launch(SOURCES.format(encoder=ENCODERS[encoding], encoding=encoding)))
        for sig in (signal.SIGINT, signal.SIGTERM):
            GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, sig, self.end)


class Player(Peer):
    def __init__(self, url, encoding, frames):
        pipe = Gst.Pipeline.new()
        b = Gst.ElementFactory.make("webrtcbin", "bin")
        b.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        pipe.add(b)
        super().__init__(url, pipe)
        self.frames = int(frames)
        self.seen.update(video=0, audio=0, width=0)
        for kind in (encoding, "OPUS"):
            b.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(WANTED[kind]))
        b.connect("pad-added", self.incoming)

    def incoming(self, _, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        decoder = Gst.ElementFactory.make("decodebin")
        decoder.connect("pad-added", self.decoded)
        self.pipe.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def decoded(self, _, pad):
        shape = pad.get_current_caps().get_structure(0)
        kind = "video" if shape.get_name().startswith("video") else "audio"
        if kind == "video":
            self.seen["width"] = shape.get_value("width")
        sink = Gst.ElementFactory.make("fakesink")
        sink.set_property("signal-handoffs", True)
        sink.set_property("async", False)
        sink.connect("handoff", self.arrived, kind)
        self.pipe.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def arrived(self, _sink, _buffer, _pad, kind):
        self.seen[kind] += 1
        if min(self.seen["video"], self.seen["audio"]) >= self.frames:
            self.end()


Gst.init(None)
way = sys.argv[1]
{"publish": Publisher, "play": Player}[way](*sys.argv[2:]).run(LIMIT[way])
