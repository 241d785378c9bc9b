/** Small helpers around RTCPeerConnection: codec order, SDP details, and knowing when a connection is over. */

import { SessionError } from './signalling.js';

const connectTimeout = 15_000;  // ICE and DTLS together
const disconnectGrace = 6_000;  // ICE often comes back by itself

/** Video codecs that this browser can send or receive, best known first. @param {"send"|"receive"} direction */
export function videoCodecs(direction) {
  const side = direction === 'send' ? globalThis.RTCRtpSender : globalThis.RTCRtpReceiver;
  const found = new Set((side?.getCapabilities?.('video')?.codecs ?? []).map(codecName));
  return ['H264', 'VP8', 'VP9', 'AV1', 'H265'].filter((name) => found.has(name));
}

const codecName = ({ mimeType }) => mimeType.split('/')[1].toUpperCase();

/**
 * Puts one video codec first, or leaves only that one (and what repairs losses) in the offer.
 * @param {RTCRtpTransceiver} transceiver
 * @param {string|undefined} codec
 * @param {"send"|"receive"} direction
 */
export function preferCodec(transceiver, codec, direction) {
  const side = direction === 'send' ? RTCRtpSender : RTCRtpReceiver;
  const all = side.getCapabilities?.('video')?.codecs;
  if (!codec || !all || !transceiver.setCodecPreferences) return;
  const chosen = all.filter((c) => codecName(c) === codec.toUpperCase()).sort((a, b) => rank(b) - rank(a));
  if (!chosen.length) throw new TypeError(`this browser has no ${codec} encoder or decoder`);
  const repair = ['RTX', 'RED', 'ULPFEC', 'FLEXFEC-03'];
  const rest = all.filter((c) => !chosen.includes(c) && (direction === 'receive' || repair.includes(codecName(c))));
  transceiver.setCodecPreferences([...chosen, ...rest]);
}

/** Constrained baseline in packetisation mode 1 is the H.264 that everybody plays. */
const rank = ({ sdpFmtpLine = '' }) => (sdpFmtpLine.includes('packetization-mode=1') ? 2 : 0)
  + (/profile-level-id=42[ec]0/i.test(sdpFmtpLine) ? 1 : 0);

/**
 * Asks for Opus in stereo (RFC 7587): browsers mix down to mono unless their own SDP says otherwise.
 * @param {string} sdp @param {"publisher"|"player"} role
 */
export function withStereo(sdp, role) {
  const payload = sdp.match(/^a=rtpmap:(\d+) opus\/48000\/2/mi)?.[1];
  if (!payload) return sdp;
  const wanted = role === 'publisher' ? 'stereo=1;sprop-stereo=1' : 'stereo=1';
  return sdp.replace(new RegExp(`^(a=fmtp:${payload} (?!.*stereo=1).*?)(\r?)$`, 'm'), `$1;${wanted}$2`);
}

/**
 * Watches a connection whose descriptions are set.
 * @param {RTCPeerConnection} pc
 * @param {AbortSignal} signal gives up watching
 * @param {() => void} up called once when ICE and DTLS are there
 * @returns {Promise<SessionError>} why it is over: "ice" (never came up), "lost", or "closed" by the server
 */
export function connectionOver(pc, signal, up) {
  return new Promise((resolve) => {
    let connected = false;
    let timer = setTimeout(() => over('ice'), connectTimeout);
    const over = (kind) => {
      clearTimeout(timer);
      resolve(new SessionError(kind));
    };
    const look = () => {
      const dtls = pc.getTransceivers().map((t) => dtlsOf(t)?.state);
      const state = pc.connectionState;
      if (state === 'failed' || dtls.includes('failed')) return over(connected ? 'lost' : 'ice');
      // A server ends a session by closing DTLS, which leaves connectionState as it was.
      if (state === 'closed' || dtls.includes('closed')) return over('closed');
      if (state === 'connected') {
        clearTimeout(timer);
        if (!connected) up();
        connected = true;
      } else if (state === 'disconnected') {
        clearTimeout(timer);
        timer = setTimeout(() => over('lost'), disconnectGrace);
      }
    };
    signal.addEventListener('abort', () => over('closed'), { once: true });
    pc.addEventListener('connectionstatechange', look);
    pc.getTransceivers().forEach((t) => dtlsOf(t)?.addEventListener('statechange', look));
    look();
  });
}

const dtlsOf = (transceiver) => transceiver.sender.transport ?? transceiver.receiver.transport;
