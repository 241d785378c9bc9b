/** The panel of live numbers, with a sparkline of the bitrate. One for the publisher, one for the player. */

import { bitrate, make } from './ui.js';

const samples = 60; // seconds that the sparkline shows
const svg = 'http://www.w3.org/2000/svg';
const ms = (value) => (value == null ? '' : `${value < 10 ? value : Math.round(value)} ms`);

/** Rows: name, label, and how a SessionStats becomes text ("" while unknown). */
const shared = [
  ['resolution', 'Resolution', (s) => s.resolution],
  ['fps', 'Frame rate', (s) => (s.fps == null ? '' : `${s.fps} fps`)],
  ['rtt', 'Round trip', (s) => ms(s.rtt)],
  ['loss', 'Packet loss', (s) => (s.loss == null ? '' : `${s.loss} %`)],
  ['jitter', 'Jitter', (s) => ms(s.jitter)],
];
const rows = {
  publisher: [...shared, ['limit', 'Limited by', (s) => ({ cpu: 'this computer', bandwidth: 'the network' })[s.limitedBy] ?? 'nothing']],
  player: [...shared, ['freezes', 'Freezes', (s) => String(s.freezes)]],
};
const wideRows = [
  ['join', 'Join time', (s) => ms(s.joinMs)],
  ['codec', 'Codecs', (s) => [s.codec.video, s.codec.audio].filter(Boolean).join(' + ')],
  ['pair', 'Route', (s) => s.candidatePair && routeText(s.candidatePair)],
];

function routeText({ protocol, type, local, remote }) {
  return `${protocol} ${type} · ${local === 'hidden' ? 'this device' : local} → ${remote}`;
}

export class NumbersPanel {
  #cells = new Map();
  #line = [];
  #path; #area; #peak;

  /** @param {HTMLElement} root @param {"publisher"|"player"} role @param {string} prefix of the data-testid attributes */
  constructor(root, role, prefix) {
    const rate = this.#cell('bitrate', prefix, 'strong');
    this.#peak = make('span', { className: 'hint' });
    const chart = document.createElementNS(svg, 'svg');
    chart.setAttribute('class', 'spark');
    chart.setAttribute('viewBox', `0 0 ${samples - 1} 40`);
    chart.setAttribute('preserveAspectRatio', 'none');
    chart.setAttribute('aria-hidden', 'true');
    [this.#area, this.#path] = ['area', 'line'].map((name) => {
      const path = document.createElementNS(svg, 'path');
      path.setAttribute('class', name);
      chart.append(path);
      return path;
    });
    const row = ([name, label]) => make('div', {}, make('dt', {}, label), this.#cell(name, prefix, 'dd'));
    root.append(
      make('div', { className: 'rate' }, make('div', {}, make('span', { className: 'hint' }, 'Bitrate'), rate), this.#peak),
      chart,
      make('dl', { className: 'grid' }, ...rows[role].map(row)),
      make('dl', { className: 'lines' }, ...wideRows.map(row)),
    );
    this.formats = [...rows[role], ...wideRows];
    this.clear();
  }

  #cell(name, prefix, tag) {
    const cell = make(tag);
    cell.dataset.testid = `${prefix}${name}`;
    this.#cells.set(name, cell);
    return cell;
  }

  /** @param {import("./stats.js").SessionStats} stats */
  show(stats) {
    const total = stats.videoBitrate + stats.audioBitrate;
    this.#set('bitrate', bitrate(total), total);
    for (const [name, , format] of this.formats) this.#set(name, format(stats));
    this.#line.push(total);
    this.#line.splice(0, this.#line.length - samples);
    this.#draw();
  }

  clear() {
    for (const name of this.#cells.keys()) this.#set(name, '');
    this.#line = [];
    this.#draw();
  }

  #set(name, text, raw) {
    const cell = this.#cells.get(name);
    if (cell.textContent !== (text || '–')) cell.textContent = text || '–';
    cell.classList.toggle('unknown', !text);
    if (name === 'pair') cell.title = text || '';
    if (raw !== undefined) cell.dataset.value = raw;
  }

  #draw() {
    const peak = Math.max(...this.#line, 1);
    this.#peak.textContent = this.#line.length ? `peak ${bitrate(peak)}` : '';
    const start = samples - this.#line.length;
    const points = this.#line.map((v, i) => `${start + i} ${(37 - (v / peak) * 34).toFixed(1)}`);
    const line = points.length > 1 ? `M${points.join('L')}` : '';
    this.#path.setAttribute('d', line);
    this.#area.setAttribute('d', line && `${line}L${samples - 1} 40L${start} 40Z`);
  }
}
