/** The Publish page: a form, a preview, one publisher and its numbers. */

import { $, accessToken, announce, endpoint, make, remember, showNotice, showState, watchLink } from './ui.js';
import { NumbersPanel } from './numbers.js';
import { Publisher, videoCodecs } from './wtn.js';
import { describeCapture } from './messages.js';
import { listDevices, openSource } from './sources.js';

const settings = ['source', 'size', 'codec', 'bitrate'];
const fixedWhileOn = ['stream', 'source', 'size', 'codec'];

/**
 * @param {{onActive: (on: boolean) => void, onAddress: (page: string, stream: string) => void}} events
 */
export function openPublishPage({ onActive, onAddress }) {
  const field = (name) => $(`publish-${name}`);
  const numbers = new NumbersPanel(field('numbers'), 'publisher', 'publish-stat-');
  const preview = field('preview');
  let source = null;
  let publisher = null;
  let opening = 0; // the number of the newest Start; an older one that is still asking for permission gives up

  const streamName = () => field('stream').value.trim();
  const wish = () => {
    const [width, height] = field('size').value.split('x').map(Number);
    return { width, height, camera: field('camera').value, microphone: field('mic').value, label: streamName() };
  };

  async function start() {
    stop();
    const mine = ++opening;
    const kind = field('source').value;
    showNotice(field('notice'), null);
    showControls(true);
    showState(field('state'), 'connecting');
    let opened;
    try {
      opened = await openSource(kind, wish());
    } catch (error) {
      if (mine !== opening) return;
      showNotice(field('notice'), describeCapture(error, kind));
      showState(field('state'), 'ended');
      showControls(false);
      return;
    }
    if (mine !== opening) {
      opened.stop();
      return;
    }
    source = opened;
    showPreview();
    fillDevices();
    for (const track of source.stream.getTracks()) track.addEventListener('ended', () => onTrackEnded(opened, kind));
    publish();
  }

  function publish() {
    const mine = new Publisher({
      url: endpoint('whip', streamName()),
      token: accessToken(),
      codec: field('codec').value || undefined,
      maxBitrate: Number(field('bitrate').value),
      degradationPreference: field('source').value === 'camera' ? undefined : 'maintain-resolution', // text stays legible
    });
    publisher = mine;
    const ours = (handle) => (event) => { if (publisher === mine) handle(event.detail); };
    mine.addEventListener('state', ours(({ state }) => onState(state)));
    mine.addEventListener('stats', ours((stats) => numbers.show(stats)));
    mine.addEventListener('error', ours(({ title, advice, detail, fatal }) => {
      showNotice(field('notice'), { title, advice, detail, level: fatal ? 'error' : 'warn' });
    }));
    mine.publish(source.stream).catch(() => {}); // the error event has told it
    remember('localStorage', 'wtn-published', streamName());
    onAddress('publish', streamName());
  }

  function onState(state) {
    showState(field('state'), state);
    field('stage').dataset.state = state;
    onActive(state === 'live');
    if (state === 'live') {
      showNotice(field('notice'), null);
      field('numbers').hidden = false;
      announce(`You are live as ${streamName()}.`);
    }
    if (state === 'ended') reset();
  }

  function onTrackEnded(opened, kind) {
    if (source !== opened) return;
    stop();
    showNotice(field('notice'), kind === 'screen'
      ? { level: 'info', title: 'Screen sharing was stopped.', advice: 'Press Start to share again.', detail: '' }
      : { title: 'The camera or microphone was disconnected.', advice: 'Check the cable, choose a device and start again.', detail: '' });
  }

  /** Devices and preview off; the notice stays, it says why. */
  function reset() {
    publisher = null;
    source?.stop();
    source = null;
    preview.srcObject = null;
    field('stage').dataset.state = 'idle';
    field('numbers').hidden = true;
    numbers.clear();
    showControls(false);
  }

  function stop() {
    opening += 1;
    if (publisher) publisher.close(); // its `ended` resets the page
    else if (source) reset();
    showNotice(field('notice'), null);
  }

  function showControls(on) {
    field('start').hidden = on;
    field('stop').hidden = !on;
    field('live-tools').hidden = !on || !source;
    for (const name of fixedWhileOn) field(name).disabled = on;
  }

  function showPreview() {
    preview.srcObject = source.stream;
    preview.play().catch(() => {});
    field('stage').dataset.state = 'preview';
    field('stage').classList.toggle('mirrored', field('source').value === 'camera');
    field('live-tools').hidden = false;
    for (const kind of ['audio', 'video']) {
      const button = field(`mute-${kind}`);
      button.hidden = !source.stream.getTracks().some((track) => track.kind === kind);
      button.setAttribute('aria-pressed', 'false');
    }
  }

  function toggleTrack(kind) {
    const button = field(`mute-${kind}`);
    const off = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(off));
    source?.stream.getTracks().filter((track) => track.kind === kind).forEach((track) => { track.enabled = !off; });
  }

  /** Changes camera or microphone while publishing, without a new session. */
  async function switchDevice() {
    if (!source || field('source').value !== 'camera') return;
    const before = source;
    try {
      const opened = await openSource('camera', wish());
      if (source !== before) return opened.stop();
      for (const track of opened.stream.getTracks()) {
        await publisher?.replaceTrack(track);
        track.addEventListener('ended', () => onTrackEnded(opened, 'camera'));
      }
      source = opened;
      before.stop();
      showPreview();
    } catch (error) {
      showNotice(field('notice'), error instanceof TypeError
        ? { level: 'info', title: 'This device is used from the next start on.', advice: 'Stop and start again to add or leave out picture or sound.', detail: '' }
        : describeCapture(error, 'camera'));
    }
  }

  async function fillDevices() {
    const { cameras, microphones } = await listDevices();
    fill(field('camera'), cameras, 'No camera');
    fill(field('mic'), microphones, 'No microphone');
  }

  function fill(select, devices, none) {
    const chosen = select.value;
    select.replaceChildren(
      make('option', { value: '' }, 'Default'),
      ...devices.map((d, i) => make('option', { value: d.deviceId }, d.label || `Device ${i + 1}`)),
      make('option', { value: 'none' }, none),
    );
    select.value = [...select.options].some((o) => o.value === chosen) ? chosen : '';
  }

  function showSource() {
    field('devices').hidden = field('source').value !== 'camera';
    field('stage').querySelector('use').setAttribute('href', field('source').value === 'screen' ? '#i-screen' : '#i-camera');
  }

  function showLinks() {
    const name = streamName();
    field('link').value = name ? watchLink(name) : '';
    field('whip').value = name ? endpoint('whip', name) : '';
  }

  field('codec').append(...videoCodecs('send').map((name) => make('option', { value: name }, name)));
  for (const name of settings) {
    const saved = remember('localStorage', `wtn-${name}`);
    if ([...field(name).options].some((o) => o.value === saved)) field(name).value = saved;
    field(name).addEventListener('change', () => remember('localStorage', `wtn-${name}`, field(name).value));
  }
  field('stream').value = remember('localStorage', 'wtn-published') || `demo-${Math.random().toString(36).slice(2, 6)}`;
  field('stream').addEventListener('input', showLinks);
  field('source').addEventListener('change', showSource);
  field('bitrate').addEventListener('change', () => publisher?.setMaxBitrate(Number(field('bitrate').value)));
  field('camera').addEventListener('change', switchDevice);
  field('mic').addEventListener('change', switchDevice);
  field('mute-audio').addEventListener('click', () => toggleTrack('audio'));
  field('mute-video').addEventListener('click', () => toggleTrack('video'));
  field('form').addEventListener('submit', (event) => {
    event.preventDefault();
    if (!streamName()) return;
    start();
    field('stop').focus();
  });
  field('stop').addEventListener('click', () => {
    const waiting = !publisher;
    stop();
    if (waiting) {
      showControls(false);
      showState(field('state'), 'ended');
    }
    announce('Publishing stopped.');
    field('start').focus();
  });
  navigator.mediaDevices?.addEventListener?.('devicechange', fillDevices);
  fillDevices();
  showSource();
  showLinks();

  return {
    /** A link leads here: the name is filled in, but nothing is sent before Start is pressed. */
    open(stream) {
      if (publisher) return;
      field('stream').value = stream;
      showLinks();
    },
    stream: () => streamName(),
  };
}
