/** The life of a WHIP or WHEP session, with all its reconnections. See wtn.js for the model. */

import { SessionError, Trickle, deleteSession, postOffer } from './signalling.js';
import { connectionOver, withStereo } from './peer.js';
import { StatsReader } from './stats.js';
import { describeFailure } from './messages.js';

const steadyAfter = 5_000; // live for so long: the next failure starts the back-off anew
const backoffBase = 500;
const backoffCap = 10_000;

/**
 * @typedef {object} SessionOptions
 * @property {string|URL} url           WHIP or WHEP endpoint
 * @property {string} [token]           bearer token
 * @property {RTCIceServer[]} [iceServers]  replaces the servers that the gateway names
 * @property {"H264"|"VP8"|"VP9"|"AV1"|"H265"} [codec]  publisher: the only one offered; player: the first choice
 */

/** What Publisher and Player share. Not made by itself. */
export class Session extends EventTarget {
  #role; #options;
  #state = 'idle';
  #started = false;
  #closed = false;
  #everLive = false;
  #liveSince = 0;
  #postedAt = 0;
  #joinMs = null;
  #pc = null;
  #stats = null;
  #resource = null;
  #wake = () => {};
  #over = new AbortController();
  #settle;
  #firstLive = new Promise((resolve, reject) => { this.#settle = { resolve, reject }; });

  /** @param {"publisher"|"player"} role @param {SessionOptions} options */
  constructor(role, options) {
    super();
    if (!options?.url) throw new TypeError('url is missing: give the WHIP or WHEP endpoint');
    this.#role = role;
    this.#options = { ...options, url: new URL(options.url, globalThis.location?.href).href };
    this.#firstLive.catch(() => {}); // the `error` event tells it too
  }

  /** @returns {"idle"|"connecting"|"live"|"waiting"|"reconnecting"|"ended"} */
  get state() { return this.#state; }

  /** The present peer connection, or null between two. */
  get peerConnection() { return this.#pc; }

  /** @returns {Promise<import("./stats.js").SessionStats|null>} null while there is no connection */
  async getStats() {
    return this.#stats ? { ...(await this.#stats.read()), joinMs: this.#joinMs } : null;
  }

  /** Ends the session here and on the server. Safe to call at any time and more than once. */
  close() { this.#end(); }

  /** Runs the session. @returns {Promise<void>} when it is live for the first time; rejects if it never will be */
  _start() {
    if (this.#started) throw new Error('this session was used already: make a new one');
    this.#started = true;
    globalThis.addEventListener?.('pagehide', this.#onPageHide);
    this.#loop();
    return this.#firstLive;
  }

  _option(name) { return this.#options[name]; }

  _emit(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }

  /** Media flows (or a publisher is connected). */
  _live() {
    if (this.#closed || this.#state === 'live') return;
    this.#everLive = true;
    this.#liveSince ||= performance.now();
    this.#enter('live');
    this.#settle.resolve();
  }

  _quiet() { if (this.#state !== 'waiting') this.#enter('waiting', { reason: 'no-media' }); }

  _joined() { this.#joinMs ??= Math.round(performance.now() - this.#postedAt); }

  /** Does not wait for the next full second. */
  _tellStats() { if (this.#stats) this.#tick(this.#stats); }

  // What a kind of session has to say for itself:
  /** @param {RTCPeerConnection} _pc add transceivers */
  async _prepare(_pc) {}
  /** @param {RTCPeerConnection} _pc ICE and DTLS are up */
  _connected(_pc) {}
  /** @param {import("./stats.js").SessionStats} _stats */
  _observe(_stats) {}
  /** @param {SessionError} _error @param {boolean} _everLive */
  _mayRetry(_error, _everLive) { return false; }

  #onPageHide = () => this.close();

  async #loop() {
    let attempt = 0;
    this.#enter('connecting');
    while (!this.#closed) {
      const error = await this.#connectOnce().catch(asSessionError);
      this.#drop(error.kind !== 'closed');
      if (this.#closed) return;
      if (!this.#retryable(error)) {
        this.#end(error);
        return;
      }
      if (this.#liveSince && performance.now() - this.#liveSince > steadyAfter) attempt = 0;
      this.#liveSince = 0;
      const retryIn = backoff(attempt++, error.retryAfter);
      this.#report(error, false, retryIn);
      this.#enter(this.#everLive && error.status !== 409 ? 'reconnecting' : 'waiting', { reason: reasonOf(error), retryIn });
      await this.#sleep(retryIn);
    }
  }

  #retryable(error) {
    if (['network', 'ice', 'lost'].includes(error.kind)) return true;
    if ([408, 425, 429, 500, 502, 503, 504].includes(error.status)) return true;
    return this._mayRetry(error, this.#everLive);
  }

  /** One POST and the connection it makes. @returns {Promise<SessionError>} why that connection is over */
  async #connectOnce() {
    const { url, token, iceServers } = this.#options;
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require', iceServers: iceServers ?? [] });
    this.#pc = pc;
    this.#joinMs = null;
    await this._prepare(pc);
    const offer = await pc.createOffer();
    offer.sdp = withStereo(offer.sdp, this.#role);

    this.#postedAt = performance.now();
    const resource = await postOffer(url, offer.sdp, token);
    this.#resource = resource;
    if (this.#closed) {
      this.#drop(true); // close() came while the POST was under way
      return new SessionError('closed');
    }
    if (this.#state === 'waiting') this.#enter('connecting');
    // The offer goes out before gathering starts, so that the TURN servers of the reply are there for it.
    if (!iceServers) useServers(pc, resource.iceServers);
    if (resource.etag) new Trickle(pc, resource, token);
    await pc.setLocalDescription(offer);
    await pc.setRemoteDescription({ type: 'answer', sdp: resource.answer });

    const stats = new StatsReader(pc);
    this.#stats = stats;
    const timer = setInterval(() => this.#tick(stats), 1000);
    try {
      return await connectionOver(pc, this.#over.signal, () => {
        if (this.#role === 'publisher') this._joined();
        this._connected(pc);
      });
    } finally {
      clearInterval(timer);
    }
  }

  async #tick(reader) {
    const stats = await reader.read(true).catch(() => null);
    if (!stats || this.#stats !== reader || this.#closed) return;
    stats.joinMs = this.#joinMs;
    this._observe(stats);
    this._emit('stats', stats);
  }

  /** Lets go of the present connection. */
  #drop(tellServer) {
    this.#pc?.close();
    if (this.#resource && tellServer) deleteSession(this.#resource.location, this.#options.token);
    this.#pc = this.#stats = this.#resource = null;
  }

  #end(error) {
    if (this.#closed) return;
    this.#closed = true;
    globalThis.removeEventListener?.('pagehide', this.#onPageHide);
    this.#drop(error?.kind !== 'closed');
    this.#over.abort();
    this.#wake();
    if (error) this.#report(error, true, null);
    this.#enter('ended', { reason: error ? reasonOf(error) : 'closed' });
    this.#settle.reject(error ?? new DOMException('the session was closed', 'AbortError'));
  }

  #report(error, fatal, retryIn) {
    this._emit('error', { ...describeFailure(error, this.#role), fatal, retryIn, error });
  }

  #enter(state, more = {}) {
    this.#state = state;
    this._emit('state', { state, ...more });
  }

  /** Waits, but not longer than until close() or until the network is back. */
  #sleep(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake(), ms);
      this.#wake = () => {
        clearTimeout(timer);
        globalThis.removeEventListener?.('online', this.#wake);
        resolve();
      };
      globalThis.addEventListener?.('online', this.#wake);
    });
  }
}

/** Full jitter over a growing span; a Retry-After is waited for in full first. */
function backoff(attempt, retryAfter) {
  const span = Math.min(backoffCap, backoffBase * 2 ** Math.min(attempt, 10));
  return Math.round((retryAfter ?? 0) + Math.random() * (retryAfter == null ? span : Math.min(span, retryAfter || span)));
}

/** A server that this browser cannot use is no reason to fail: the direct way may be open. */
function useServers(pc, iceServers) {
  if (!iceServers.length) return;
  try {
    pc.setConfiguration({ ...pc.getConfiguration(), iceServers });
  } catch { /* see above */ }
}

function asSessionError(error) {
  if (error instanceof SessionError) return error;
  return new SessionError('browser', { detail: error.message, cause: error });
}

function reasonOf(error) {
  if (error.status === 409) return 'not-live';
  if (error.status === 503 || error.status === 429) return 'busy';
  return error.kind === 'http' ? 'refused' : error.kind;
}
