"use strict";
/* Sound: blocks of every lane on one clock. Positions are whole frames at the previews' rate. */
const SW = window.SW = (() => {
  const data = window.SW_DATA, AHEAD_S = 0.08, KEPT = 4;
  const byKey = new Map(data.lanes.map((lane) => [lane.key, lane]));
  const waiting = new Map();
  const buffers = new Map(data.lanes.map((lane) => [lane.key, new Map()]));
  let context = null, master = null, analyser = null;
  let playing = false, startFrame = 0, startedAt = 0; // media frame, context frame
  const sounding = new Map(); // lane key -> {gain, sources: Map(block -> source)}
  let gains = {}; // lane key -> linear gain of what is heard, signs included

  const blocks = Math.ceil(data.frames / data.block);
  const blockOf = (frame) => Math.min(blocks - 1, Math.max(0, Math.floor(frame / data.block)));

  function take(key, block, coded) { // called by the preview scripts
    const entry = waiting.get(key + "-" + block);
    if (entry) entry.resolve(coded);
  }

  function coded(key, block) {
    const name = key + "-" + block;
    if (!waiting.has(name)) {
      const entry = {};
      entry.promise = new Promise((resolve, reject) => {
        entry.resolve = resolve;
        const script = document.createElement("script");
        script.src = data.folder + "/" + name + ".js";
        script.onload = () => script.remove();
        script.onerror = () => { waiting.delete(name); script.remove(); reject(new Error("a preview is missing: " + script.src)); };
        document.head.append(script);
      });
      waiting.set(name, entry);
    }
    return waiting.get(name).promise;
  }

  const bytesOf = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0)).buffer;

  /* Browsers differ in whether 32767 or 32768 is full scale upwards. Known samples tell, and every
     sample is put back on its integer: sums of multiples of 2^-15 are exact, so a null is zero. */
  let scale = null;
  function scaleOf(decoder) {
    return scale ||= decoder.decodeAudioData(bytesOf(atob(data.probe))).then((sound) => {
      const samples = sound.getChannelData(0);
      return { up: 32767 / Math.max(...samples), down: -32768 / Math.min(...samples) };
    });
  }
  function whole(sound, { up, down }) {
    for (let channel = 0; channel < sound.numberOfChannels; channel++) {
      const samples = sound.getChannelData(channel);
      for (let at = 0; at < samples.length; at++) samples[at] = Math.round(samples[at] * (samples[at] > 0 ? up : down)) / 32768;
    }
    return sound;
  }

  async function buffer(key, block, decoder) {
    const known = buffers.get(key);
    if (!known.has(block)) {
      known.set(block, (async () => {
        const text = atob(await coded(key, block));
        waiting.delete(key + "-" + block); // the coded text is not needed twice at a time
        return whole(await decoder.decodeAudioData(bytesOf(text)), await scaleOf(decoder));
      })());
      known.get(block).catch(() => known.delete(block));
    }
    return known.get(block);
  }

  function forget(key, near) {
    for (const block of buffers.get(key).keys())
      if (Math.abs(block - near) > KEPT) buffers.get(key).delete(block);
  }

  async function ready() { // after a click: browsers keep silent before one
    if (!context) {
      context = new AudioContext({ sampleRate: data.rate, latencyHint: "interactive" });
      master = context.createGain();
      master.gain.value = data.gain;
      analyser = context.createAnalyser();
      analyser.fftSize = 2048;
      master.connect(analyser).connect(context.destination);
    }
    if (context.state !== "running") await context.resume();
  }

  const now = () => context ? Math.round(context.currentTime * data.rate) : 0;
  const frame = () => playing ? Math.min(data.frames, startFrame + Math.max(0, now() - startedAt)) : startFrame;

  async function schedule(key, block) {
    const lane = sounding.get(key), run = startedAt;
    if (!lane || block >= blocks || lane.sources.has(block)) return;
    lane.sources.set(block, null);
    const sound = await buffer(key, block, context);
    if (!playing || run !== startedAt || sounding.get(key) !== lane) return;
    const source = context.createBufferSource();
    source.buffer = sound;
    source.connect(lane.gain);
    const begins = startedAt + block * data.block - startFrame; // in frames of the context
    const at = Math.max(begins, now() + Math.round(AHEAD_S * data.rate));
    const skipped = at - begins;
    if (skipped < sound.length) source.start(at / data.rate, skipped / data.rate);
    lane.sources.set(block, source);
  }

  function tick() {
    if (!playing) return;
    const here = blockOf(frame());
    for (const key of sounding.keys()) { schedule(key, here); schedule(key, here + 1); forget(key, here); }
    if (frame() >= data.frames) stop(0);
  }

  function silence() {
    for (const lane of sounding.values()) {
      for (const source of lane.sources.values()) if (source) { try { source.stop(); } catch (error) { /* not begun */ } }
      lane.gain.disconnect();
    }
    sounding.clear();
  }

  function apply() { // gains with ramps of 10 ms; lanes that are not heard are not played
    if (!playing) return;
    for (const lane of data.lanes) {
      const gain = gains[lane.key] || 0;
      if (gain && !sounding.has(lane.key)) {
        const node = context.createGain();
        node.gain.value = gain;
        node.connect(master);
        sounding.set(lane.key, { gain: node, sources: new Map() });
      } else if (sounding.has(lane.key)) {
        const parameter = sounding.get(lane.key).gain.gain;
        parameter.cancelScheduledValues(context.currentTime);
        parameter.setValueAtTime(parameter.value, context.currentTime);
        parameter.linearRampToValueAtTime(gain, context.currentTime + 0.01);
      }
    }
    tick();
  }

  async function play(from) {
    await ready();
    silence();
    startFrame = Math.round(from);
    if (startFrame >= data.frames) startFrame = 0;
    const first = blockOf(startFrame);
    // all that is heard at once begins at once: wait for its first blocks
    await Promise.all(data.lanes.filter((lane) => gains[lane.key]).map((lane) => buffer(lane.key, first, context)));
    startedAt = now() + Math.round(AHEAD_S * data.rate);
    playing = true;
    apply();
  }

  function stop(at) { const here = at === undefined ? frame() : at; playing = false; if (context) silence(); startFrame = here; }

  function level() { // peak of what is heard, in dBFS
    if (!analyser || !playing) return -Infinity;
    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    return 20 * Math.log10(samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0));
  }

  async function renderOffline(wanted, from, frames) { // the same sums, without a loudspeaker
    const offline = new OfflineAudioContext(data.channels, frames, data.rate);
    const bus = offline.createGain();
    bus.gain.value = data.gain;
    bus.connect(offline.destination);
    for (const [key, gain] of Object.entries(wanted)) {
      const node = offline.createGain();
      node.gain.value = gain;
      node.connect(bus);
      for (let block = blockOf(from); block <= blockOf(from + frames - 1); block++) {
        const source = offline.createBufferSource();
        source.buffer = await buffer(key, block, offline);
        source.connect(node);
        const begins = block * data.block - from;
        source.start(Math.max(0, begins) / data.rate, Math.max(0, -begins) / data.rate);
      }
    }
    const sound = await offline.startRendering();
    return Array.from({ length: sound.numberOfChannels }, (_, channel) => sound.getChannelData(channel));
  }

  setInterval(tick, 250);
  return {
    data, take, play, stop, frame, level, renderOffline, byKey,
    get playing() { return playing; }, get gains() { return gains; }, get sounding() { return [...sounding.keys()]; },
    set gains(wanted) { gains = wanted; apply(); },
    seek(to) { const target = Math.min(data.frames, Math.max(0, Math.round(to))); if (playing) return play(target); startFrame = target; return Promise.resolve(); },
  };
})();
