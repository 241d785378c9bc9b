// What a page does with each library: the few lines of its README, and nothing
// that would help it along. Every entry takes the URL of an endpoint and returns
// how to stop; some libraries can also restart ICE.
import { WHIPClient } from 'whip-whep/whip.js';
import { WHEPClient } from 'whip-whep/whep.js';
import { WHIPClient as EyevinnPublisher } from '@eyevinn/whip-web-client';
import { WebRTCPlayer as EyevinnPlayer } from '@eyevinn/webrtc-player';
import { MediaMTXWebRTCReader } from 'mediamtx-webrtc-react';
import OvenLiveKit from 'ovenlivekit';

const wanted = { audio: true, video: { width: 640, height: 360 } };
const camera = () => navigator.mediaDevices.getUserMedia(wanted);
const video = document.getElementById('video');

// join makes a track part of what the video element shows.
function join(track) {
	video.srcObject ??= new MediaStream();
	video.srcObject.addTrack(track);
}

window.publish = {
	async 'whip-whep'(url) {
		const media = await camera();
		const pc = new RTCPeerConnection();
		for (const track of media.getTracks()) pc.addTransceiver(track, { direction: 'sendonly', streams: [media] });
		const client = new WHIPClient();
		await client.publish(pc, url);
		return { stop: () => client.stop(), restart: () => client.restart() };
	},
	async '@eyevinn/whip-web-client'(url) {
		const client = new EyevinnPublisher({ endpoint: url, opts: { iceServers: [] } });
		await client.ingest(await camera());
		return { stop: () => client.destroy() };
	},
	async ovenlivekit(url) {
		const kit = OvenLiveKit.create({ callbacks: { error: (e) => console.error('ovenlivekit', e) } });
		await kit.getUserMedia(wanted);
		kit.startStreaming(url);
		return { stop: () => kit.stopStreaming() };
	},
};

window.play = {
	async 'whip-whep'(url) {
		const pc = new RTCPeerConnection();
		pc.ontrack = (e) => join(e.track);
		for (const kind of ['audio', 'video']) pc.addTransceiver(kind, { direction: 'recvonly' });
		const client = new WHEPClient();
		await client.view(pc, url);
		return { stop: () => client.stop(), restart: () => client.restart() };
	},
	async '@eyevinn/webrtc-player'(url) {
		const player = new EyevinnPlayer({ video, type: 'whep', iceServers: [] });
		await player.load(new URL(url));
		return { stop: () => player.unload() };
	},
	async 'mediamtx-webrtc-react'(url) {
		const reader = new MediaMTXWebRTCReader({ url, onError: (e) => console.error('reader', e), onTrack: (e) => join(e.track) });
		return { stop: () => reader.close() };
	},
};
