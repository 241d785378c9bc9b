/**
 * Turns getStats() reports into the few numbers a person wants to see.
 *
 * @typedef {object} SessionStats
 * @property {string} resolution  "1280×720", or "" while there is no picture
 * @property {number} width
 * @property {number} height
 * @property {number|null} fps      null in the first moments of a picture, when no rate can be told yet
 * @property {number} videoBitrate  bit/s over the last interval
 * @property {number} audioBitrate  bit/s over the last interval
 * @property {number|null} rtt      milliseconds
 * @property {number|null} loss     percent of packets over the last interval
 * @property {number|null} jitter   milliseconds (of video, else of audio)
 * @property {{video: string, audio: string}} codec  such as "H264", "opus"
 * @property {{local: string, remote: string, protocol: string, type: string}|null} candidatePair
 * @property {number|null} joinMs   from the POST to the first rendered frame (player) or to connected (publisher)
 * @property {number} framesDecoded  player
 * @property {number} framesEncoded  publisher
 * @property {number} freezes        player: times the picture stood still
 * @property {string} limitedBy      publisher: "cpu", "bandwidth" or ""
 */

/**
 * The browser's frame rate is that of the last second. A player begins with a group of pictures that was cached for it
 * and is decoded in one go: until this is more than a second ago, the rate would be far too high.
 */
const burstOver = 1_500;

/** Keeps the last counters, so that rates can be told. One reader per peer connection. */
export class StatsReader {
  #pc;
  #pictureSince = null;
  #last = { at: performance.now(), videoBytes: 0, audioBytes: 0, received: 0, lost: 0 };

  /** @param {RTCPeerConnection} pc */
  constructor(pc) { this.#pc = pc; }

  /**
   * @param {boolean} [advance] make this reading the start of the next interval
   * @returns {Promise<Omit<SessionStats, "joinMs">>}
   */
  async read(advance = false) {
    const report = [...(await this.#pc.getStats()).values()];
    const now = totals(report);
    const before = this.#last;
    if (advance) this.#last = now;
    if (now.width) this.#pictureSince ??= now.at;
    const steady = now.width && now.at - this.#pictureSince > burstOver;

    const seconds = Math.max((now.at - before.at) / 1000, 0.001);
    const rate = (key) => Math.max(0, Math.round(((now[key] - before[key]) * 8) / seconds));
    return {
      resolution: now.width ? `${now.width}×${now.height}` : '',
      width: now.width,
      height: now.height,
      fps: steady ? Math.round(now.fps) : null,
      videoBitrate: rate('videoBytes'),
      audioBitrate: rate('audioBytes'),
      rtt: now.rtt,
      loss: lossPercent(now, before),
      jitter: now.jitter,
      codec: now.codec,
      candidatePair: now.pair,
      framesDecoded: now.framesDecoded,
      framesEncoded: now.framesEncoded,
      freezes: now.freezes,
      limitedBy: now.limitedBy,
    };
  }
}

function totals(report) {
  const byId = new Map(report.map((entry) => [entry.id, entry]));
  const streams = report.filter((s) => s.type === 'inbound-rtp' || s.type === 'outbound-rtp');
  const sum = (kind, key) => streams.filter((s) => s.kind === kind).reduce((n, s) => n + (s[key] ?? 0), 0);
  const video = streams.find((s) => s.kind === 'video') ?? {};
  const audio = streams.find((s) => s.kind === 'audio') ?? {};
  const fromPeer = report.filter((s) => s.type === 'remote-inbound-rtp');
  const codecOf = (s) => byId.get(s.codecId)?.mimeType?.split('/')[1] ?? '';
  const pair = selectedPair(report, byId);
  const seconds = pair?.currentRoundTripTime ?? fromPeer.find((s) => s.roundTripTime != null)?.roundTripTime;
  const jitter = video.jitter ?? audio.jitter ?? fromPeer.find((s) => s.jitter != null)?.jitter;
  return {
    at: performance.now(),
    width: video.frameWidth ?? 0,
    height: video.frameHeight ?? 0,
    fps: video.framesPerSecond ?? 0,
    videoBytes: sum('video', 'bytesReceived') + sum('video', 'bytesSent'),
    audioBytes: sum('audio', 'bytesReceived') + sum('audio', 'bytesSent'),
    received: sum('video', 'packetsReceived') + sum('audio', 'packetsReceived'),
    lost: sum('video', 'packetsLost') + sum('audio', 'packetsLost'),
    fractionLost: fromPeer.length ? Math.max(...fromPeer.map((s) => s.fractionLost ?? 0)) : null,
    rtt: seconds == null ? null : Math.round(seconds * 10_000) / 10,
    jitter: jitter == null ? null : Math.round(jitter * 10_000) / 10,
    codec: { video: codecOf(video), audio: codecOf(audio) },
    pair: describePair(pair, byId),
    framesDecoded: sum('video', 'framesDecoded'),
    framesEncoded: video.framesEncoded ?? 0,
    freezes: sum('video', 'freezeCount'),
    limitedBy: ['cpu', 'bandwidth'].includes(video.qualityLimitationReason) ? video.qualityLimitationReason : '',
  };
}

/** A player counts its own losses; a publisher is told them by the receiver. */
function lossPercent(now, before) {
  if (now.fractionLost != null) return Math.round(now.fractionLost * 1000) / 10;
  const lost = Math.max(0, now.lost - before.lost);
  const expected = lost + now.received - before.received;
  if (expected <= 0) return now.received ? 0 : null;
  return Math.round((lost / expected) * 1000) / 10;
}

function selectedPair(report, byId) {
  const transport = report.find((s) => s.type === 'transport' && s.selectedCandidatePairId);
  if (transport) return byId.get(transport.selectedCandidatePairId);
  const pairs = report.filter((s) => s.type === 'candidate-pair');
  return pairs.find((s) => s.selected) ?? pairs.find((s) => s.nominated && s.state === 'succeeded');
}

function describePair(pair, byId) {
  const local = byId.get(pair?.localCandidateId);
  const remote = byId.get(pair?.remoteCandidateId);
  if (!local || !remote) return null;
  return {
    local: endpoint(local),
    remote: endpoint(remote),
    protocol: local.relayProtocol || local.protocol,
    type: local.candidateType,
  };
}

function endpoint({ address, ip, port }) {
  const host = address || ip;
  if (!host) return 'hidden'; // browsers keep local addresses from pages without camera permission
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
