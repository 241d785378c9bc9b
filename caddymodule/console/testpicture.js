/**
 * A moving test picture with a tone, as a MediaStream. It goes on while the tab is hidden, so that it can be
 * published in one tab and watched in another.
 *
 * The picture has colour bars, a clock with milliseconds, the frame number as text and as a row of 24 bits (most
 * significant first, so that a test can measure delay and lost frames by machine), and a flash each second that
 * goes with a blip in the tone, to check lip sync.
 */

const bars = ['#c0c0c0', '#c0c000', '#00c0c0', '#00c000', '#c000c0', '#c00000', '#0000c0'];
const bits = 24;
const flashFor = 80; // ms at the start of each second

/**
 * @param {{width: number, height: number, fps?: number, label?: string}} options
 * @returns {{stream: MediaStream, stop: () => void}}
 */
export function createTestPicture({ width, height, fps = 30, label = '' }) {
  const canvas = createCanvas(width, height);
  const context = canvas.getContext('2d', { alpha: false });
  const output = createOutput(canvas, fps);
  const tone = createTone();
  const ticker = new Worker(new URL('ticker.js', import.meta.url));
  const start = performance.now();
  let frame = 0;
  let second = -1;

  ticker.onmessage = () => {
    const now = new Date();
    if (now.getSeconds() !== second) {
      second = now.getSeconds();
      tone.blip();
    }
    draw(context, { width, height, label, now, frame, elapsed: performance.now() - start });
    output.push(frame);
    frame += 1;
  };
  ticker.postMessage(fps);

  return {
    stream: new MediaStream([output.track, tone.track]),
    stop() {
      ticker.terminate();
      output.stop();
      tone.stop();
    },
  };
}

/** An element is needed only where frames cannot be made by hand, because captureStream() is one of elements. */
function createCanvas(width, height) {
  if (canGenerate()) return new OffscreenCanvas(width, height);
  return Object.assign(document.createElement('canvas'), { width, height });
}

const canGenerate = () => 'MediaStreamTrackGenerator' in globalThis && 'VideoFrame' in globalThis && 'OffscreenCanvas' in globalThis;

/** Frames made by hand flow in hidden tabs too; captureStream() is for browsers that cannot make them. */
function createOutput(canvas, fps) {
  if (!canGenerate()) {
    const [track] = canvas.captureStream(fps).getVideoTracks();
    return { track, push() {}, stop: () => track.stop() };
  }
  const track = new MediaStreamTrackGenerator({ kind: 'video' });
  const writer = track.writable.getWriter();
  writer.closed.catch(() => {});
  return {
    track,
    push() {
      if (writer.desiredSize <= 0) return; // the encoder is behind: skip this frame
      const frame = new VideoFrame(canvas, { timestamp: Math.round(performance.now() * 1000) });
      writer.write(frame).catch(() => frame.close());
    },
    stop() {
      track.stop();
      writer.abort().catch(() => {});
    },
  };
}

/** A soft 440 Hz tone with a 1 kHz blip each second. */
function createTone() {
  const audio = new AudioContext();
  const destination = audio.createMediaStreamDestination();
  const voice = (frequency, level) => {
    const gain = new GainNode(audio, { gain: level });
    const oscillator = new OscillatorNode(audio, { frequency });
    oscillator.connect(gain).connect(destination);
    oscillator.start();
    return gain.gain;
  };
  voice(440, 0.04);
  const blip = voice(1000, 0);
  const [track] = destination.stream.getAudioTracks();
  audio.resume().catch(() => {});
  return {
    track,
    blip() {
      const t = audio.currentTime;
      blip.setTargetAtTime(0.25, t, 0.004);
      blip.setTargetAtTime(0, t + flashFor / 1000, 0.008);
    },
    stop() {
      track.stop();
      audio.close().catch(() => {});
    },
  };
}

function draw(c, { width, height, label, now, frame, elapsed }) {
  const unit = height / 36;
  const barsHeight = Math.round(height * 0.56);
  bars.forEach((colour, i) => {
    c.fillStyle = colour;
    c.fillRect(Math.floor((i * width) / 7), 0, Math.ceil(width / 7), barsHeight);
  });
  drawMotion(c, { width, barsHeight, unit, elapsed });

  c.fillStyle = '#0d1022';
  c.fillRect(0, barsHeight, width, height - barsHeight);
  drawGradient(c, { width, top: barsHeight, height: unit * 2 });
  drawText(c, { width, top: barsHeight + unit * 2, unit, label, now, frame });
  drawBits(c, { width, top: height - unit * 3.2, height: unit * 2, frame });
  if (now.getMilliseconds() < flashFor) {
    c.fillStyle = '#fff';
    c.fillRect(width - unit * 5, barsHeight + unit * 3.5, unit * 3.5, unit * 3.5);
  }
}

/** A ball on a smooth path and a sweeping line: stutter shows at once. */
function drawMotion(c, { width, barsHeight, unit, elapsed }) {
  const t = elapsed / 1000;
  c.fillStyle = 'rgba(255,255,255,.85)';
  c.fillRect(((t / 4) % 1) * width, 0, unit / 3, barsHeight);
  const x = width / 2 + Math.sin(t * 1.1) * width * 0.4;
  const y = barsHeight / 2 + Math.sin(t * 1.7) * barsHeight * 0.32;
  c.beginPath();
  c.arc(x, y, unit * 2.6, 0, Math.PI * 2);
  c.fillStyle = '#4f46e5';
  c.fill();
  c.lineWidth = unit / 2.5;
  c.strokeStyle = '#fff';
  c.stroke();
  c.beginPath();
  c.moveTo(x, y);
  c.lineTo(x + Math.cos(t * 4) * unit * 2.3, y + Math.sin(t * 4) * unit * 2.3);
  c.stroke();
}

function drawGradient(c, { width, top, height }) {
  const gradient = c.createLinearGradient(0, 0, width, 0);
  gradient.addColorStop(0, '#000');
  gradient.addColorStop(1, '#fff');
  c.fillStyle = gradient;
  c.fillRect(0, top, width, height);
}

function drawText(c, { width, top, unit, label, now, frame }) {
  const two = (n, size = 2) => String(n).padStart(size, '0');
  const clock = `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}.${two(now.getMilliseconds(), 3)}`;
  c.textBaseline = 'middle';
  c.textAlign = 'left';
  c.fillStyle = '#fff';
  c.font = `600 ${unit * 4}px ui-monospace, Menlo, Consolas, monospace`;
  c.fillText(clock, unit * 1.5, top + unit * 3.6);
  c.fillStyle = '#a9b0d6';
  c.font = `500 ${unit * 1.7}px system-ui, sans-serif`;
  c.fillText(`${label ? `${label}  ·  ` : ''}frame ${frame}`, unit * 1.5, top + unit * 7.6, width * 0.8);
}

function drawBits(c, { width, top, height, frame }) {
  const cell = width / bits;
  for (let i = 0; i < bits; i += 1) {
    c.fillStyle = (frame >>> (bits - 1 - i)) & 1 ? '#fff' : '#2a2f52';
    c.fillRect(i * cell + cell * 0.08, top, cell * 0.84, height);
  }
}
