/**
 * Failures in plain words: what happened, and what to do about it.
 *
 * @typedef {object} Message
 * @property {string} title   one sentence
 * @property {string} advice  what the reader can do; may be empty
 * @property {string} detail  the server's own words; may be empty
 */

const byStatus = {
  400: ['The server did not understand the request.', 'Reload the page. If it stays, tell the operator.'],
  401: ['This stream asks for an access token.', 'Open “Access”, enter the token you were given and try again.'],
  403: ['Your access token is not valid for this stream.', 'Check the stream name, or ask for a token that covers it.'],
  404: ['This address does not exist on the server.', 'Check the stream name for a typing error.'],
  413: ['The request is larger than the server takes.', 'Choose a single codec and try again.'],
  415: ['This server does not speak WHIP or WHEP at this address.', 'Check the address.'],
  429: ['Too many attempts in a short time.', 'Wait a moment; the next attempt is made for you.'],
  502: ['The service behind this gateway does not answer.', 'Nothing to do here; the next attempt is made for you.'],
  503: ['The server is full or about to restart.', 'Nothing to do here; the next attempt is made for you.'],
  504: ['The service behind this gateway is too slow to answer.', 'Nothing to do here; the next attempt is made for you.'],
};

const byRole = {
  publisher: {
    405: ['This server does not take streams at this address.', 'Check the address.'],
    406: ['The server cannot take what this browser offers.', 'Choose another codec and start again.'],
    409: ['Somebody else is publishing this stream.', 'Choose another name, or stop the other publisher first.'],
    422: ['The server does not accept this codec or this mix of tracks.', 'Choose another codec, for example H264, and start again.'],
    closed: ['The server ended this session.', 'Another publisher may have taken over, or an administrator stopped it. Press Start to publish again.'],
    lost: ['The connection to the server broke.', 'It is being set up again.'],
  },
  player: {
    405: ['This server has no streams to watch at this address.', 'Check the address.'],
    406: ['The stream uses a codec this browser cannot play.', 'Try another browser, or ask the publisher for another codec.'],
    409: ['This stream is not live yet.', 'Stay on this page: it starts by itself as soon as the publisher does.'],
    422: ['The stream uses a codec this browser cannot play.', 'Try another browser, or ask the publisher for another codec.'],
    closed: ['The server ended this session.', 'It is being set up again.'],
    lost: ['The connection to the server broke.', 'It is being set up again.'],
  },
};

const byKind = {
  network: ['The server cannot be reached.', 'Check your network connection; the next attempt is made for you.'],
  answer: ['The server gave an answer that makes no sense.', 'The address may not be a WHIP or WHEP endpoint.'],
  browser: ['This browser cannot do what was asked of it.', 'Choose another codec or another browser.'],
  ice: ['The server answers, but audio and video cannot get through.', 'A firewall may block the media port. Try another network, or ask the operator to enable TURN.'],
};

/**
 * @param {import("./signalling.js").SessionError} error
 * @param {"publisher"|"player"} role
 * @returns {Message}
 */
export function describeFailure(error, role) {
  const [title, advice] = byRole[role][error.status || error.kind]
    ?? byStatus[error.status]
    ?? byKind[error.kind]
    ?? [error.status ? `The server refused (status ${error.status}).` : 'Something unexpected went wrong.', ''];
  return { title, advice, detail: sentence(error.detail || (error.kind === 'http' ? error.title : '')) };
}

const capture = {
  NotAllowedError: ['The browser did not allow access.', 'Allow camera and microphone for this site in the address bar, then start again.'],
  NotFoundError: ['No camera or microphone was found.', 'Plug one in, choose “None” for the missing one, or use the test picture.'],
  NotReadableError: ['The camera or microphone is in use or does not answer.', 'Close other programs that use it and start again.'],
  OverconstrainedError: ['The chosen device cannot deliver this picture size.', 'Choose a smaller size or another device.'],
  AbortError: ['The device stopped while it was being opened.', 'Start again.'],
};

/**
 * Why there is no camera, microphone or screen.
 * @param {DOMException|Error} error
 * @param {"camera"|"screen"|"test"} source
 * @returns {Message}
 */
export function describeCapture(error, source) {
  if (!globalThis.isSecureContext && source !== 'test') {
    return {
      title: 'Browsers open the camera and the screen only over https.',
      advice: 'Open this page with https:// (or on localhost). The test picture works without.',
      detail: '',
    };
  }
  if (source === 'screen' && error.name === 'NotAllowedError') {
    return { title: 'No screen was shared.', advice: 'Press Start and choose a screen, window or tab.', detail: '' };
  }
  const [title, advice] = capture[error.name] ?? ['The picture or sound source could not be opened.', ''];
  return { title, advice, detail: capture[error.name] ? '' : sentence(error.message) };
}

/** Server details are lower-case fragments by custom; make one a sentence. */
function sentence(text) {
  const trimmed = (text ?? '').trim().slice(0, 400);
  if (!trimmed) return '';
  return trimmed[0].toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? '' : '.');
}
