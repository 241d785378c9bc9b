/**
 * A WHIP publisher and a WHEP player for browsers. Zero dependencies; import it from any page:
 *
 *     import { Publisher, Player } from 'https://live.example.com/live/wtn.js';
 *     const player = new Player({ url: 'https://live.example.com/live/whep/demo' });
 *     await player.play(document.querySelector('video'));
 *
 * Both are the same Session with a peer connection under it, and differ in what they offer and in what they take
 * for "live". A Session keeps itself alive: it waits for a stream that is not live yet, backs off with full jitter,
 * honours Retry-After, and makes a new peer connection when the old one fails, until close() or an error that no
 * retry can heal. An object is used once: after `ended`, make a new one.
 *
 * Events (all CustomEvent, the facts are in `detail`):
 *   state  {state, reason?, retryIn?}  connecting | live | waiting | reconnecting | ended; retryIn in milliseconds
 *   stats  SessionStats, every second while there is a connection
 *   error  {title, advice, detail, fatal, retryIn, error}: plain words, the problem detail, and the SessionError
 *   muted  (player) the browser allowed playing only without sound
 */

import { Session } from './session.js';
import { preferCodec } from './peer.js';

export { SessionError } from './signalling.js';
export { videoCodecs } from './peer.js';

const quietAfter = 4_000; // a player without any packet for so long says that it waits

/** @typedef {import("./session.js").SessionOptions} SessionOptions */
/** @typedef {import("./stats.js").SessionStats} SessionStats */

/**
 * Sends a MediaStream by WHIP.
 *
 * @typedef {SessionOptions & {maxBitrate?: number, degradationPreference?: RTCDegradationPreference}} PublisherOptions
 *   maxBitrate in bit/s for video, 0 or absent for no limit; degradationPreference says what a slow network may cost,
 *   size or smoothness
 */
export class Publisher extends Session {
  #tracks = [];
  #streams = [];
  #maxBitrate;

  /** @param {PublisherOptions} options */
  constructor(options) {
    super('publisher', options);
    this.#maxBitrate = options.maxBitrate || 0;
  }

  /** @param {MediaStream} mediaStream at most one audio and one video track are sent */
  publish(mediaStream) {
    this.#streams = [mediaStream];
    this.#tracks = [mediaStream.getAudioTracks()[0], mediaStream.getVideoTracks()[0]].filter(Boolean);
    if (!this.#tracks.length) throw new TypeError('the stream has no track to publish');
    return this._start();
  }

  /** Sends another track of the same kind from now on, without a new session. */
  async replaceTrack(track) {
    const index = this.#tracks.findIndex((old) => old.kind === track.kind);
    if (index < 0) throw new TypeError(`no ${track.kind} is being published: publish again to add it`);
    this.#tracks[index] = track;
    await this.#sender(track.kind)?.replaceTrack(track);
  }

  /** Changes the video limit while publishing. @param {number} bitsPerSecond 0 for no limit */
  async setMaxBitrate(bitsPerSecond) {
    this.#maxBitrate = bitsPerSecond;
    const sender = this.#sender('video');
    const parameters = sender?.getParameters();
    if (!parameters?.encodings?.length) return;
    if (bitsPerSecond) parameters.encodings[0].maxBitrate = bitsPerSecond;
    else delete parameters.encodings[0].maxBitrate;
    await sender.setParameters(parameters);
  }

  #sender(kind) {
    return this.peerConnection?.getTransceivers().find((t) => t.sender.track?.kind === kind)?.sender;
  }

  async _prepare(pc) {
    for (const track of this.#tracks) {
      const init = { direction: 'sendonly', streams: this.#streams };
      if (track.kind === 'video') init.sendEncodings = [this.#maxBitrate ? { maxBitrate: this.#maxBitrate } : {}];
      const transceiver = pc.addTransceiver(track, init);
      if (track.kind !== 'video') continue;
      preferCodec(transceiver, this._option('codec'), 'send');
      const degradationPreference = this._option('degradationPreference');
      if (degradationPreference) {
        await transceiver.sender.setParameters({ ...transceiver.sender.getParameters(), degradationPreference });
      }
    }
  }

  _connected() { this._live(); }

  /** A publisher that the server ended stays ended: it would otherwise fight the one that took over. */
  _mayRetry(error, everLive) { return error.status === 409 && everLive; }
}

/** Plays a WHEP stream. The options are SessionOptions. */
export class Player extends Session {
  #video = null;
  #stream = null;
  #soundOnly = 0; // seconds with sound and no picture
  #quietSince = 0;

  /** @param {SessionOptions} options */
  constructor(options) { super('player', options); }

  /** What is being received; replaced on every reconnection. @returns {MediaStream|null} */
  get stream() { return this.#stream; }

  /** @param {HTMLVideoElement} [video] shows the stream; without it, take `stream` */
  play(video) {
    this.#video = video ?? null;
    return this._start();
  }

  async _prepare(pc) {
    pc.addTransceiver('audio', { direction: 'recvonly' });
    preferCodec(pc.addTransceiver('video', { direction: 'recvonly' }), this._option('codec'), 'receive');
    const stream = new MediaStream();
    this.#soundOnly = this.#quietSince = 0;
    pc.addEventListener('track', ({ track }) => {
      stream.addTrack(track);
      // All tracks of the answer are announced in one go: attach when the stream is complete.
      if (stream.getTracks().length === 1) setTimeout(() => this.#attach(stream, pc));
    });
  }

  #attach(stream, pc) {
    if (this.peerConnection !== pc) return;
    this.#stream = stream;
    const video = this.#video;
    if (!video) return;
    video.srcObject = stream;
    this.#onFirstFrame(video, () => {
      if (this.peerConnection !== pc) return;
      this._joined();
      this._live();
      this._tellStats();
    });
    video.play().catch((error) => {
      if (error.name !== 'NotAllowedError' || video.muted) return;
      video.muted = true; // no gesture yet: without sound is better than not at all
      this._emit('muted', {});
      video.play().catch(() => {});
    });
  }

  /** Audio alone gives no frame: its clock tells. */
  #onFirstFrame(video, then) {
    const stream = video.srcObject;
    if (video.requestVideoFrameCallback && stream.getVideoTracks().length) {
      video.requestVideoFrameCallback(then);
      return;
    }
    const onTime = () => {
      if (video.srcObject === stream && !(video.currentTime > 0)) return;
      video.removeEventListener('timeupdate', onTime);
      if (video.srcObject === stream) then();
    };
    video.addEventListener('timeupdate', onTime);
  }

  /** Tells a stream that flows from a connection on which nothing comes. */
  _observe({ videoBitrate, audioBitrate, framesDecoded }) {
    const now = performance.now();
    if (videoBitrate + audioBitrate > 0) {
      this.#quietSince = 0;
      this.#soundOnly = videoBitrate ? 0 : this.#soundOnly + 1;
      if (!(framesDecoded && videoBitrate) && this.#soundOnly <= 2) return;
      if (!this.#video || document.hidden || this.#soundOnly) this._joined(); // no rendered frame tells it sooner
      this._live();
      return;
    }
    this.#quietSince ||= now;
    if (now - this.#quietSince > quietAfter) this._quiet();
  }

  /** 409: no publisher yet. 404 with Retry-After says the same in other servers. A player may always come back. */
  _mayRetry(error) {
    return error.kind === 'closed' || error.status === 409 || (error.status === 404 && error.retryAfter != null);
  }
}

