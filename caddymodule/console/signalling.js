/**
 * The HTTP side of WHIP and WHEP: one POST makes a session, PATCH brings it ICE candidates, DELETE ends it.
 * Nothing here knows a peer connection.
 */

/**
 * One HTTP exchange, or the connection it set up, that did not work.
 * `kind` says which: "http" (the server answered with a status), "network" (no answer), "answer" (an answer that
 * is no WHIP/WHEP answer), "browser" (this browser cannot do what was asked of it), "ice" (media cannot get through),
 * "lost" (it got through and then stopped), "closed" (the server ended it).
 */
export class SessionError extends Error {
  /**
   * @param {"http"|"network"|"answer"|"browser"|"ice"|"lost"|"closed"} kind
   * @param {{status?: number, title?: string, detail?: string, retryAfter?: number|null, cause?: unknown}} [facts]
   *   retryAfter is in milliseconds.
   */
  constructor(kind, facts = {}) {
    super(facts.detail || facts.title || kind, { cause: facts.cause });
    this.name = 'SessionError';
    this.kind = kind;
    this.status = facts.status ?? 0;
    this.title = facts.title ?? '';
    this.detail = facts.detail ?? '';
    this.retryAfter = facts.retryAfter ?? null;
  }
}

const requestTimeout = 20_000;
const maxErrorBody = 16_384;
const maxIceServers = 16;

const authorization = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

/**
 * Posts the offer.
 * @param {string} url endpoint
 * @param {string} offer SDP
 * @param {string} [token] bearer token
 * @returns {Promise<{location: string, etag: string|null, answer: string, iceServers: RTCIceServer[]}>}
 * @throws {SessionError}
 */
export async function postOffer(url, offer, token) {
  const response = await request(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/sdp', Accept: 'application/sdp', ...authorization(token) },
    body: offer,
    signal: AbortSignal.timeout(requestTimeout),
  });
  if (response.status !== 201) throw await refusal(response);

  const location = response.headers.get('Location');
  const answer = await response.text();
  if (!location) throw new SessionError('answer', { status: 201, detail: 'the answer names no session (no Location header)' });
  if (!answer.startsWith('v=0')) throw new SessionError('answer', { status: 201, detail: 'the answer is not SDP' });
  return {
    location: new URL(location, response.url || url).href,
    etag: response.headers.get('ETag'),
    answer,
    iceServers: parseIceServers(response.headers.get('Link')),
  };
}

/** Ends a session. Never throws: a session that cannot be reached ends by itself when consent expires. */
export async function deleteSession(location, token) {
  try {
    await fetch(location, { method: 'DELETE', keepalive: true, headers: authorization(token) });
  } catch { /* see above */ }
}

/**
 * Sends ICE candidates as they are found, several per PATCH. Give it a session only if its 201 had an ETag:
 * without one the server takes no PATCH, and finds the browser by its connectivity checks.
 */
export class Trickle {
  #pc; #location; #etag; #token;
  #waiting = [];
  #timer = 0;
  #sending = false;
  #refused = false;

  /** @param {RTCPeerConnection} pc @param {{location: string, etag: string}} resource @param {string} [token] */
  constructor(pc, { location, etag }, token) {
    this.#pc = pc;
    this.#location = location;
    this.#etag = etag;
    this.#token = token;
    pc.addEventListener('icecandidate', ({ candidate }) => this.#add(candidate));
  }

  #add(candidate) {
    if (this.#refused) return;
    this.#waiting.push(candidate?.candidate ? `a=${candidate.candidate}` : 'a=end-of-candidates');
    if (!this.#timer) this.#timer = setTimeout(() => this.#flush(), candidate ? 40 : 0);
  }

  async #flush() {
    this.#timer = 0;
    const local = this.#pc.localDescription?.sdp;
    if (this.#sending || !local || !this.#waiting.length || this.#pc.signalingState === 'closed') return;
    const lines = this.#waiting.splice(0);
    this.#sending = true;
    try {
      const response = await fetch(this.#location, {
        method: 'PATCH',
        headers: {
          'Content-Type': 'application/trickle-ice-sdpfrag',
          'If-Match': this.#etag,
          ...authorization(this.#token),
        },
        body: fragment(local, lines),
        signal: AbortSignal.timeout(requestTimeout),
      });
      this.#refused = !response.ok;
    } catch {
      this.#refused = true; // the connection may still come up without the rest
    }
    this.#sending = false;
    if (this.#waiting.length && !this.#refused) this.#flush();
  }
}

/** An SDP fragment (RFC 8840) for the first, bundle-carrying section of the local description. */
function fragment(sdp, lines) {
  const first = (pattern) => sdp.match(pattern)?.[1] ?? '';
  return [
    `a=ice-ufrag:${first(/^a=ice-ufrag:(\S+)/m)}`,
    `a=ice-pwd:${first(/^a=ice-pwd:(\S+)/m)}`,
    `m=${first(/^m=(\w+)/m)} 9 UDP/TLS/RTP/SAVPF 0`,
    `a=mid:${first(/^a=mid:(\S+)/m)}`,
    ...lines,
    '',
  ].join('\r\n');
}

/**
 * Reads rel="ice-server" entries of a Link header (RFC 9725 section 4.6). Other relations are ignored.
 * @param {string|null} header all Link headers, joined by commas as fetch does
 * @returns {RTCIceServer[]}
 */
export function parseIceServers(header) {
  const servers = [];
  const link = /<([^>]*)>((?:\s*;\s*[\w-]+\s*(?:=\s*(?:"(?:[^"\\]|\\.)*"|[^",;\s]*))?)*)/g;
  for (const [, target, tail] of (header ?? '').matchAll(link)) {
    const params = {};
    for (const [, name, quoted, bare] of tail.matchAll(/;\s*([\w-]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^",;\s]*)))?/g)) {
      params[name.toLowerCase()] ??= quoted?.replace(/\\(.)/g, '$1') ?? bare ?? '';
    }
    if (!(params.rel ?? '').split(/\s+/).includes('ice-server')) continue;
    if (/^turns?:/i.test(target)) {
      if (!params.username || !params.credential) continue; // a peer connection would refuse the whole list
      servers.push({ urls: target, username: params.username, credential: params.credential });
    } else if (/^stuns?:/i.test(target)) {
      servers.push({ urls: target });
    }
  }
  return servers.slice(0, maxIceServers);
}

async function request(url, init) {
  try {
    return await fetch(url, init);
  } catch (cause) {
    throw new SessionError('network', { detail: cause.name === 'TimeoutError' ? 'no answer in time' : '', cause });
  }
}

/** Turns an error reply into a SessionError; application/problem+json (RFC 9457) or plain text. */
async function refusal(response) {
  const facts = { status: response.status, retryAfter: retryAfter(response.headers.get('Retry-After')) };
  const type = response.headers.get('Content-Type') ?? '';
  const body = (await response.text().catch(() => '')).slice(0, maxErrorBody);
  if (/[/+]json\b/.test(type)) {
    try {
      const problem = JSON.parse(body);
      facts.title = String(problem.title ?? '');
      facts.detail = String(problem.detail ?? '');
    } catch { /* a broken body says no more than the status */ }
  } else if (type.startsWith('text/plain')) {
    facts.detail = body.trim();
  }
  return new SessionError('http', facts);
}

/** @returns {number|null} milliseconds; the header has seconds or an HTTP date */
function retryAfter(value) {
  if (!value) return null;
  const ms = /^\d+$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), 600_000) : null;
}
