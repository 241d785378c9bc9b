/** The Watch page: one player, its numbers, and what to do when it does not play. */

import { $, accessToken, announce, endpoint, remember, showNotice, showState } from './ui.js';
import { NumbersPanel } from './numbers.js';
import { Player } from './wtn.js';

const words = {
  connecting: 'Connecting…',
  waiting: 'Trying again in a moment…',
  reconnecting: 'Connection lost. Connecting again…',
  'not-live': 'Waiting for the stream to start…',
  'no-media': 'Waiting for picture and sound…',
  busy: 'Waiting for a free place…',
};

/**
 * @param {{onActive: (on: boolean) => void, onAddress: (page: string, stream: string) => void}} events
 */
export function openWatchPage({ onActive, onAddress }) {
  const video = $('watch-video');
  const input = $('watch-stream');
  const numbers = new NumbersPanel($('watch-numbers'), 'player', 'stat-');
  let player = null;

  function start(stream, { muted }) {
    stop();
    const mine = new Player({ url: endpoint('whep', stream), token: accessToken() });
    player = mine;
    const ours = (handle) => (event) => { if (player === mine) handle(event.detail); };
    mine.addEventListener('state', ours(({ state, reason }) => onState(stream, state, reason)));
    mine.addEventListener('stats', ours((stats) => numbers.show(stats)));
    mine.addEventListener('error', ours(onError));
    video.muted = muted;
    showNotice($('watch-notice'), null);
    mine.play(video).catch(() => {}); // the error event has told it
    showControls(true);
    onAddress('watch', stream);
    remember('localStorage', 'wtn-watched', stream);
  }

  function onState(stream, state, reason) {
    showState($('watch-state'), state);
    $('watch-stage').dataset.state = state;
    video.controls = state === 'live';
    onActive(state === 'live');
    $('watch-empty').textContent = words[reason] ?? words[state] ?? '';
    if (state === 'live') {
      showNotice($('watch-notice'), null);
      announce(`Playing ${stream}.`);
    }
    if (state === 'reconnecting' || (state === 'waiting' && reason !== 'no-media')) numbers.clear();
    if (reason === 'no-media') {
      showNotice($('watch-notice'), {
        level: 'info', title: 'Connected, but no picture or sound is coming.',
        advice: 'The publisher may have paused. It goes on by itself.', detail: '',
      });
    }
    if (state === 'ended') reset();
    showUnmute();
  }

  function onError({ title, advice, detail, fatal, error }) {
    showNotice($('watch-notice'), { title, advice, detail: error.status === 409 ? '' : detail, level: fatal ? 'error' : error.status === 409 ? 'info' : 'warn' });
  }

  function showControls(playing) {
    $('watch-start').hidden = playing;
    $('watch-stop').hidden = !playing;
  }

  function showUnmute() { $('watch-unmute').hidden = !(video.muted && player?.state === 'live'); }

  /** Back to the empty stage; the notice stays, it says why. */
  function reset() {
    player = null;
    video.srcObject = null;
    video.controls = false;
    numbers.clear();
    showControls(false);
    $('watch-stage').dataset.state = 'ended';
    $('watch-empty').textContent = 'Enter a stream name and press Play.';
  }

  function stop() {
    const old = player;
    if (!old) return;
    old.close(); // its `ended` resets the page
    showNotice($('watch-notice'), null);
    announce('Stopped.');
  }

  $('watch-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const stream = input.value.trim();
    if (stream) start(stream, { muted: false });
    $('watch-stop').focus();
  });
  $('watch-stop').addEventListener('click', () => {
    stop();
    $('watch-start').focus();
  });
  $('watch-unmute').addEventListener('click', () => {
    video.muted = false;
    video.play().catch(() => {});
    video.focus();
  });
  video.addEventListener('volumechange', showUnmute);
  input.value = remember('localStorage', 'wtn-watched');

  return {
    /** A link leads here. Without a click on this page before, browsers only play without sound. */
    open(stream) {
      if (player && input.value.trim() === stream) return;
      input.value = stream;
      start(stream, { muted: !navigator.userActivation?.hasBeenActive });
    },
    stream: () => (player ? input.value.trim() : ''),
  };
}
