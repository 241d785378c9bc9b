/** Ties the console together: tabs, addresses, theme and access token. The pages are in publish.js, watch.js, live.js. */

import { $, accessToken, announce, inPath, remember, setAccessToken, wireCopyButton } from './ui.js';
import { openLivePage } from './live.js';
import { openPublishPage } from './publish.js';
import { openWatchPage } from './watch.js';

const names = ['publish', 'watch', 'live'];
const tabs = names.map((name) => $(`tab-${name}`));
const pages = {
  publish: openPublishPage({ onActive: (on) => mark('publish', on), onAddress: address }),
  watch: openWatchPage({ onActive: (on) => mark('watch', on), onAddress: address }),
  live: openLivePage({ onWatch: (stream) => go('watch', stream), onPublish: () => go('publish') }),
};
let current = '';

/** Shows a page; the stream, if given, is handed to it. */
function go(name, stream = '', { focus = false } = {}) {
  if (current !== name) {
    pages[current]?.hide?.();
    current = name;
    names.forEach((n, i) => {
      tabs[i].setAttribute('aria-selected', String(n === name));
      tabs[i].tabIndex = n === name ? 0 : -1;
      $(`panel-${n}`).hidden = n !== name;
    });
    pages[name].show?.();
  }
  if (focus) tabs[names.indexOf(name)].focus();
  if (stream) pages[name].open?.(stream);
  address(name, pages[name].stream?.() ?? '');
}

/** Keeps the address line in step, so that it can be shared and reloaded. */
function address(name, stream) {
  if (name !== current) return;
  const hash = stream ? `#${name}/${inPath(stream)}` : `#${name}`;
  if (location.hash !== hash) history.replaceState(null, '', hash);
}

function follow() {
  const [name, ...rest] = location.hash.slice(1).split('/');
  if (!names.includes(name)) {
    if (!current) go('publish');
    return;
  }
  let stream = rest.join('/');
  try { stream = decodeURIComponent(stream); } catch { /* a stray % is part of the name */ }
  go(name, stream);
}

/** A dot on the tab of a page that is busy while another one is shown. */
function mark(name, on) { tabs[names.indexOf(name)].querySelector('.dot').hidden = !on; }

tabs.forEach((tab, i) => {
  tab.addEventListener('click', () => go(names[i]));
  tab.addEventListener('keydown', (event) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: names.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(names[(to + names.length) % names.length], '', { focus: true });
  });
});

// Theme: the system's, until the toggle is used.
const systemDark = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => (document.documentElement.dataset.theme ?? (systemDark.matches ? 'dark' : 'light')) === 'dark';
function showTheme() {
  const toggle = $('theme-toggle');
  toggle.setAttribute('aria-label', isDark() ? 'Switch to light theme' : 'Switch to dark theme');
  toggle.querySelector('use').setAttribute('href', isDark() ? '#i-sun' : '#i-moon');
}
/** Changes the theme at once: buttons would fade from the old colours to the new. @param {string} [chosen] else the system's */
function switchTheme(chosen) {
  const root = document.documentElement;
  root.dataset.switching = '';
  if (chosen) root.dataset.theme = chosen;
  showTheme();
  root.getBoundingClientRect(); // computes the new colours while nothing fades
  delete root.dataset.switching;
}
$('theme-toggle').addEventListener('click', () => switchTheme(remember('localStorage', 'wtn-theme', isDark() ? 'light' : 'dark')));
systemDark.addEventListener('change', () => switchTheme());
showTheme();

// Access token
const access = $('access');
function showAccess() {
  $('access-label').textContent = accessToken() ? 'Token set' : 'Access';
  $('access-open').classList.toggle('on', Boolean(accessToken()));
}
$('access-open').addEventListener('click', () => {
  $('token').value = accessToken();
  access.showModal();
  $('token').focus();
});
function useToken(value) {
  setAccessToken(value);
  announce(value ? 'Access token set.' : 'Access token forgotten.');
  showAccess();
  access.close();
}
access.querySelector('form').addEventListener('submit', () => useToken($('token').value));
$('access-clear').addEventListener('click', () => useToken(''));
access.addEventListener('close', () => { $('token').value = ''; });
showAccess();

document.querySelectorAll('[data-copy]').forEach(wireCopyButton);
addEventListener('hashchange', follow);
follow();

// Everything is wired: a click before this would have submitted the bare form.
$('publish-start').disabled = $('watch-start').disabled = false;
document.documentElement.dataset.ready = 'true';
