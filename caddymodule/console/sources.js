/** Where a publisher's picture and sound come from: camera and microphone, a screen, or the test picture. */

import { createTestPicture } from './testpicture.js';

/**
 * @typedef {object} Source
 * @property {MediaStream} stream
 * @property {() => void} stop   gives the devices back
 */

/**
 * Opens a source. Asks the user for permission where the browser wants it.
 * @param {"camera"|"screen"|"test"} kind
 * @param {{width: number, height: number, camera: string, microphone: string, label: string}} wish
 *   camera and microphone are device ids, "" for the default, "none" for none
 * @returns {Promise<Source>}
 * @throws {DOMException} what the browser says; describeCapture() has the words for it
 */
export async function openSource(kind, wish) {
  if (kind === 'test') return createTestPicture(wish);
  if (!navigator.mediaDevices) throw new DOMException('no access to devices on this page', 'NotSupportedError');
  const stream = await (kind === 'screen' ? openScreen(wish) : openCamera(wish));
  return { stream, stop: () => stream.getTracks().forEach((track) => track.stop()) };
}

async function openCamera({ width, height, camera, microphone }) {
  if (camera === 'none' && microphone === 'none') throw new DOMException('nothing chosen', 'NotFoundError');
  const device = (id) => (id ? { deviceId: { exact: id } } : {});
  const stream = await navigator.mediaDevices.getUserMedia({
    video: camera !== 'none' && { ...device(camera), width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 } },
    audio: microphone !== 'none' && { ...device(microphone), echoCancellation: true },
  });
  return stream;
}

async function openScreen({ width, height }) {
  const stream = await navigator.mediaDevices.getDisplayMedia({
    video: { width: { max: width }, height: { max: height }, frameRate: { ideal: 30 } },
    audio: true, // the browser asks; many give none, which is fine
  });
  stream.getVideoTracks()[0].contentHint = 'detail';
  return stream;
}

/** @returns {Promise<{cameras: MediaDeviceInfo[], microphones: MediaDeviceInfo[]}>} empty where there is no access */
export async function listDevices() {
  const all = await navigator.mediaDevices?.enumerateDevices().catch(() => []) ?? [];
  const known = (kind) => all.filter((d) => d.kind === kind && d.deviceId && d.deviceId !== 'default');
  return { cameras: known('videoinput'), microphones: known('audioinput') };
}
