/** Small tools that all three pages use: elements, states, notices, numbers in words, and the access token. */

/** The prefix that the console is served under, always with a slash at the end. */
export const base = new URL('.', document.baseURI).href.split('#')[0];

/** A stream name may have slashes, which stay as they are. */
export const inPath = (stream) => stream.split('/').map(encodeURIComponent).join('/');
export const endpoint = (kind, stream) => new URL(`${kind}/${inPath(stream)}`, base).href;
export const watchLink = (stream) => `${base}#watch/${inPath(stream)}`;

/** @returns {any} */
export const $ = (id) => document.getElementById(id);

/** Makes an element; children are nodes or strings, never HTML. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Says something to screen readers without moving the focus. */
export function announce(text) { $('announcer').textContent = text; }

/** Shows a session state in a pill; the text is the state itself. */
export function showState(pill, state) {
  pill.textContent = state;
  pill.dataset.state = state;
}

/**
 * Shows a message, or hides the notice when there is none.
 * @param {HTMLElement} box
 * @param {(import("./messages.js").Message & {level?: "error"|"warn"|"info"})|null} message
 */
export function showNotice(box, message) {
  box.hidden = !message;
  if (!message) return box.replaceChildren();
  const { title, advice, detail, level = 'error' } = message;
  box.className = `notice ${level}`;
  box.replaceChildren(make('p', { className: 'notice-title' }, title));
  if (advice) box.append(make('p', {}, advice));
  if (detail) box.append(make('p', { className: 'notice-detail' }, `Server: ${detail}`));
  announce(`${title} ${advice}`);
}

/** Wires a "copy" button to the field it names. */
export function wireCopyButton(button) {
  const field = $(button.dataset.copy);
  button.addEventListener('click', async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      document.execCommand('copy'); // pages without https have no clipboard API
    }
    button.classList.add('done');
    announce('Copied.');
    setTimeout(() => button.classList.remove('done'), 1500);
  });
}

/** 1 234 567 → "1.23 Mbit/s" */
export function bitrate(bits) {
  if (!bits) return '0 kbit/s';
  if (bits < 1e6) return `${Math.round(bits / 1000)} kbit/s`;
  return `${(bits / 1e6).toFixed(bits < 1e7 ? 2 : 1)} Mbit/s`;
}

/** Time since then, coarse: "12 s", "4 min", "2 h 05 min", "3 d 4 h". */
export function since(iso) {
  const s = Math.max(0, Math.round((Date.now() - Date.parse(iso)) / 1000));
  if (!Number.isFinite(s)) return '–';
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, '0')} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor(s / 3600) % 24} h`;
}

/** sessionStorage and localStorage throw when the browser blocks them. */
export function remember(storage, key, value) {
  try {
    if (value === undefined) return globalThis[storage].getItem(key) ?? '';
    if (value) globalThis[storage].setItem(key, value);
    else globalThis[storage].removeItem(key);
  } catch { /* then it is forgotten with the page */ }
  return value ?? '';
}

let token = remember('sessionStorage', 'wtn-token');

/** The bearer token: in this tab's session storage, never in an address. */
export const accessToken = () => token;
export function setAccessToken(value) { token = remember('sessionStorage', 'wtn-token', value.trim()); }
