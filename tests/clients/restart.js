// A session of RFC 9725 or of WHEP that survives a change of network: when its
// path is lost it restarts ICE by PATCH (section 4.3.3), as often as it takes.
export class Session {
	seen = { posts: 0, restarts: 0, states: [], location: '', etag: '', error: '' };
	#candidates = [];
	#restarting = false;

	constructor(pc) {
		this.pc = pc;
		pc.onicecandidate = (e) => { if (e.candidate?.candidate) this.#candidates.push(e.candidate); };
		pc.oniceconnectionstatechange = () => {
			this.seen.states.push(pc.iceConnectionState);
			if (this.#lost()) this.#restartUntilConnected().catch((e) => { this.seen.error = String(e); });
		};
	}

	async start(endpoint) {
		await this.pc.setLocalDescription();
		this.seen.posts++;
		const resp = await fetch(endpoint, { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: this.pc.localDescription.sdp });
		const sdp = await resp.text();
		if (resp.status !== 201) throw new Error(`POST: ${resp.status} ${sdp}`);
		this.seen.location = resp.headers.get('Location');
		this.seen.etag = resp.headers.get('ETag');
		await this.pc.setRemoteDescription({ type: 'answer', sdp });
	}

	async stop() {
		this.pc.oniceconnectionstatechange = null;
		const resp = await fetch(this.seen.location, { method: 'DELETE' });
		this.pc.close();
		return resp.status;
	}

	#lost() { return ['disconnected', 'failed'].includes(this.pc.iceConnectionState); }

	async #restartUntilConnected() {
		if (this.#restarting) return;
		this.#restarting = true;
		try {
			while (this.#lost()) {
				await this.#restart().catch((e) => { if (!(e instanceof TypeError)) throw e; }); // TypeError: no network yet
				await this.#settled(2000);
			}
		} finally {
			this.#restarting = false;
		}
	}

	// settled waits until the path is there again, for a while.
	#settled(ms) {
		return new Promise((done) => {
			const timer = setTimeout(done, ms);
			this.pc.addEventListener('iceconnectionstatechange', () => { if (!this.#lost()) { clearTimeout(timer); done(); } });
		});
	}

	async #restart() {
		this.#candidates = [];
		this.pc.restartIce();
		await this.pc.setLocalDescription();
		const { sdp } = this.pc.localDescription;
		const line = (name, text = sdp) => text.match(new RegExp(`a=${name}:.*\r\n`))[0];
		const body = line('ice-ufrag') + line('ice-pwd') + 'm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n' + line('mid')
			+ this.#candidates.map((c) => `a=${c.candidate}\r\n`).join('');
		const resp = await fetch(this.seen.location, {
			method: 'PATCH', headers: { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*' }, body,
		});
		const fragment = await resp.text();
		if (resp.status !== 200) throw new Error(`PATCH: ${resp.status} ${fragment}`);
		this.seen.etag = resp.headers.get('ETag');
		const candidates = fragment.match(/a=candidate:.*\r\n/g).join('');
		const answer = this.pc.remoteDescription.sdp
			.replace(/a=(candidate:.*|end-of-candidates)\r\n/g, '')
			.replace(/a=ice-ufrag:.*\r\n/g, line('ice-ufrag', fragment))
			.replace(/a=ice-pwd:.*\r\n/g, line('ice-pwd', fragment) + candidates);
		await this.pc.setRemoteDescription({ type: 'answer', sdp: answer });
		this.seen.restarts++;
	}

	// path is the local address media takes.
	async path() {
		const stats = await this.pc.getStats();
		const transport = [...stats.values()].find((s) => s.type === 'transport');
		const pair = stats.get(transport?.selectedCandidatePairId);
		return stats.get(pair?.localCandidateId)?.address ?? '';
	}
}

export async function publish(endpoint) {
	const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 360 } });
	const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
	for (const track of media.getTracks()) pc.addTransceiver(track, { direction: 'sendonly', streams: [media] });
	return open(pc, endpoint);
}

export async function play(endpoint, video) {
	// Leave to use the camera is also leave to see the addresses of this host.
	for (const track of (await navigator.mediaDevices.getUserMedia({ audio: true })).getTracks()) track.stop();
	const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
	video.srcObject = new MediaStream();
	pc.ontrack = (e) => video.srcObject.addTrack(e.track);
	for (const kind of ['audio', 'video']) pc.addTransceiver(kind, { direction: 'recvonly' });
	return open(pc, endpoint);
}

async function open(pc, endpoint) {
	const session = new Session(pc);
	await session.start(endpoint);
	return session;
}
