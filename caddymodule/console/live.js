/** The Live page: asks the server every two seconds which streams there are. */

import { $, accessToken, announce, base, bitrate, make, showNotice, since } from './ui.js';

const period = 2000;

const off = {
  level: 'info',
  title: 'The list of streams is switched off on this server.',
  advice: 'Publishing and watching work as usual: you only need to know the stream name. The operator can switch the list on in the configuration.',
  detail: '',
};
const notices = {
  401: { title: 'The list of streams asks for an access token.', advice: 'Open “Access” and enter your token.', detail: '' },
  403: off,
  404: off,
};
const unreachable = { title: 'The server cannot be reached.', advice: 'Check your network connection. The list comes back by itself.', detail: '' };

/**
 * @param {{onWatch: (stream: string) => void, onPublish: () => void}} events
 */
export function openLivePage({ onWatch, onPublish }) {
  const table = $('live-table');
  const rows = new Map(); // stream name → its row, so that focus and hover survive a refresh
  let timer = 0;
  let shown = false;
  let asked = 0;

  async function refresh() {
    clearTimeout(timer);
    if (!shown || document.hidden) return;
    const mine = ++asked;
    const { streams, status, retry } = await list();
    if (mine !== asked || !shown) return;
    show(streams, status);
    timer = setTimeout(refresh, retry);
  }

  function show(streams, status) {
    const notice = streams ? null : notices[status] ?? unreachable;
    if ($('live-notice').dataset.title !== (notice?.title ?? '')) {
      $('live-notice').dataset.title = notice?.title ?? '';
      showNotice($('live-notice'), notice);
    }
    const count = streams?.length ?? 0;
    $('live-card').hidden = $('live-tiles').hidden = !count;
    $('live-empty').hidden = !streams || count > 0;
    if (!streams) return;
    if (count !== rows.size) announce(count === 1 ? 'One stream is live.' : `${count} streams are live.`);
    fillTiles(streams);
    fillTable(streams);
  }

  function fillTiles(streams) {
    const sum = (value) => streams.reduce((n, s) => n + (Number(value(s)) || 0), 0);
    $('live-streams').textContent = streams.length.toLocaleString();
    $('live-viewers').textContent = sum((s) => s.viewers).toLocaleString();
    $('live-incoming').textContent = bitrate(sum((s) => s.publisher?.bitrate));
  }

  function fillTable(streams) {
    const body = table.tBodies[0];
    const names = new Set(streams.map((s) => s.name));
    for (const [name, row] of rows) {
      if (names.has(name)) continue;
      row.remove();
      rows.delete(name);
    }
    streams.sort((a, b) => a.name.localeCompare(b.name)).forEach((stream, i) => {
      if (!rows.has(stream.name)) rows.set(stream.name, newRow(stream.name));
      const row = rows.get(stream.name);
      if (body.rows[i] !== row) body.insertBefore(row, body.rows[i] ?? null);
      fillRow(row, stream);
    });
  }

  function newRow(name) {
    const watch = make('button', { className: 'btn small', type: 'button', onclick: () => onWatch(name) }, 'Watch');
    watch.setAttribute('aria-label', `Watch ${name}`);
    const title = make('th', { scope: 'row' }, make('span', { className: 'stream-name' }, name), make('span', { className: 'hint' }));
    const row = make('tr', {}, title);
    row.dataset.stream = name;
    for (const label of ['On air', 'Picture', 'Codecs', 'Bitrate', 'Viewers']) {
      const cell = make('td', { className: label === 'Bitrate' || label === 'Viewers' ? 'num' : '' });
      cell.dataset.label = label;
      row.append(cell);
    }
    row.append(make('td', { className: 'action' }, watch));
    return row;
  }

  /** The publisher is null while a stream has only viewers. */
  function fillRow(row, { since: start, publisher, viewers, width, height, ...way }) {
    const { connected = false, codecs = [], bitrate: rate = 0 } = publisher ?? {};
    const texts = [
      since(start),
      width && height ? `${width}×${height}` : '–',
      codecs.join(', ') || '–',
      connected ? bitrate(rate) : '–',
      (viewers ?? 0).toLocaleString(),
    ];
    texts.forEach((text, i) => { if (row.cells[i + 1].textContent !== text) row.cells[i + 1].textContent = text; });
    row.classList.toggle('offline', !connected);
    row.cells[0].lastChild.textContent = connected ? wayOf(way) : 'no publisher';
  }

  $('live-go-publish').addEventListener('click', onPublish);
  document.addEventListener('visibilitychange', refresh);

  return {
    show() { shown = true; refresh(); },
    hide() { shown = false; clearTimeout(timer); },
  };
}

/** Where a stream comes from and goes to beside this server; empty for most. */
function wayOf({ pulled = false, standby = 0, pushed = 0 }) {
  return [
    pulled && 'from an upstream',
    standby && `${standby} on standby`,
    pushed && `pushed to ${pushed}`,
  ].filter(Boolean).join(', ');
}

/** @returns {Promise<{streams: any[]|null, status: number, retry: number}>} */
async function list() {
  try {
    const response = await fetch(new URL('console/streams', base), {
      headers: { Accept: 'application/json', ...(accessToken() ? { Authorization: `Bearer ${accessToken()}` } : {}) },
      cache: 'no-store',
      signal: AbortSignal.timeout(10_000),
    });
    if (!response.ok) return { streams: null, status: response.status, retry: period * 5 };
    const { streams } = await response.json();
    return { streams: streams ?? [], status: 200, retry: period };
  } catch {
    return { streams: null, status: 0, retry: period * 2 };
  }
}
