/* The page: lanes, modes, keys, passages, notes, links. */
(() => {
  const data = SW.data, get = (id) => document.getElementById(id);
  const make = (tag, fields = {}, ...children) => { const node = Object.assign(document.createElement(tag), fields); node.append(...children); return node; };
  const lanes = data.lanes, stems = [...new Set(lanes.filter((lane) => lane.kind === "dry").map((lane) => lane.stem))];
  const hasWet = lanes.some((lane) => lane.kind === "wet");
  const MODES = { mix: ["Mix", "X"], dry: ["Dry stems", "D"], wet: ["Wet stems", "W"], null: ["Listen to the null", "Z"] };
  let mode = stems.length ? "dry" : "mix", solo = new Set(), muted = new Set(), chosen = 0, looping = false, passage = -1;

  const isIn = (lane) => mode === "mix" ? lane.kind === "mix"
    : mode === "wet" ? lane.kind === "wet" && lane.stem !== "sum"
    : lane.kind === "dry" || (mode === "null" && lane.kind === "mix");
  const loudness = (lane) => lane.loudness.integrated_lufs;
  function match(lane) { // the louder of a dry and wet pair comes down, by 12 dB at most
    if (!get("match").checked || !solo.size) return 1;
    const other = lanes.find((candidate) => candidate.stem === lane.stem && candidate.kind !== lane.kind && candidate.kind !== "mix");
    if (!other || loudness(lane) == null || loudness(other) == null) return 1;
    return 10 ** (Math.max(-12, Math.min(0, loudness(other) - loudness(lane))) / 20);
  }
  function gains() {
    const wanted = {};
    for (const lane of lanes) {
      const heard = solo.size ? solo.has(lane.key) : isIn(lane) && !muted.has(lane.key);
      if (heard) wanted[lane.key] = (mode === "null" && !solo.size && lane.kind === "dry" ? -1 : 1) * match(lane);
    }
    return wanted;
  }

  function refresh() {
    const wanted = SW.gains = gains();
    for (const row of VIEW.rows.children) {
      const key = row.dataset.key;
      row.classList.toggle("quiet", !wanted[key]);
      row.querySelector(".solo").setAttribute("aria-pressed", solo.has(key));
      row.querySelector(".mute").setAttribute("aria-pressed", muted.has(key));
    }
    for (const button of get("modes").children) button.setAttribute("aria-checked", !solo.size && button.dataset.mode === mode);
    const pair = solo.size === 1 && lanes.find((lane) => lane.key === [...solo][0]);
    get("ab").setAttribute("aria-pressed", Boolean(pair && pair.kind === "wet"));
    get("loop").setAttribute("aria-pressed", looping);
    get("play").textContent = SW.playing ? "❚❚ Pause" : "▶ Play";
  }

  const say = (words) => { get("state").textContent = words; };
  const guard = (promise) => promise.then(refresh, (error) => { say(error.message); SW.stop(); refresh(); });
  const toggle = () => SW.playing ? (SW.stop(), refresh()) : guard(SW.play(SW.frame()));
  const seek = (frame) => guard(SW.seek(frame).then(() => VIEW.follow()));
  function setMode(name) { if (name === "wet" && !hasWet) return; mode = name; solo.clear(); refresh(); }
  function setSolo(key, beside) {
    const had = solo.has(key);
    if (!beside) solo.clear();
    had ? solo.delete(key) : solo.add(key);
    refresh();
  }
  function flip() { // dry for wet and back, of what is soloed or of everything
    if (!hasWet) return;
    if (!solo.size) return setMode(mode === "wet" ? "dry" : "wet");
    solo = new Set([...solo].map((key) => {
      const lane = SW.byKey.get(key), other = lanes.find((l) => l.stem === lane.stem && l.kind !== lane.kind && l.kind !== "mix");
      return other ? other.key : key;
    }));
    refresh();
  }

  function row(lane, index) {
    const label = lane.kind === "mix" ? "mix" : `${lane.stem}${lane.kind === "wet" ? " (wet)" : ""}`;
    const swatch = make("i"); swatch.style.background = lane.colour;
    const name = make("span", { className: "name", title: label }, swatch, label);
    const one = make("button", { className: "solo", textContent: "S", title: "Solo; with shift beside others" });
    const off = make("button", { className: "mute", textContent: "M", title: "Mute" });
    one.setAttribute("aria-label", `Solo ${label}`); off.setAttribute("aria-label", `Mute ${label}`);
    one.onclick = (event) => setSolo(lane.key, event.shiftKey);
    off.onclick = () => { muted.has(lane.key) ? muted.delete(lane.key) : muted.add(lane.key); refresh(); };
    const wave = make("div", { className: "wave" }, make("img", { alt: "", src: lane.picture }), make("canvas"));
    const node = make("div", { className: "lane", tabIndex: 0 }, make("div", { className: "head" }, name, make("span", {}, one, " ", off)), wave);
    node.dataset.key = lane.key; node.dataset.kind = lane.kind;
    node.setAttribute("role", "group"); node.setAttribute("aria-label", label);
    node.onfocus = () => { chosen = index; };
    drag(wave);
    return node;
  }

  function drag(node) { // a click seeks, a drag selects
    node.onpointerdown = (event) => {
      const begun = VIEW.frameAt(event), x = event.clientX;
      node.setPointerCapture(event.pointerId);
      node.onpointermove = (move) => { if (Math.abs(move.clientX - x) > 4) { const end = VIEW.frameAt(move); VIEW.selection = [Math.min(begun, end), Math.max(begun, end)]; } };
      node.onpointerup = (up) => {
        node.onpointermove = node.onpointerup = null;
        if (Math.abs(up.clientX - x) <= 4) { VIEW.selection = null; looping = false; seek(begun); } else { looping = true; seek(VIEW.selection[0]); }
      };
    };
    node.onwheel = (event) => { if (!event.ctrlKey) return; event.preventDefault(); VIEW.zoom(event.deltaY > 0 ? 1.25 : 0.8, VIEW.frameAt(event)); };
  }

  function jump(index) {
    if (!data.passages.length) return;
    passage = (index + data.passages.length) % data.passages.length;
    const here = data.passages[passage];
    [...get("passages").children].forEach((item, at) => item.firstChild.classList.toggle("now", at === passage));
    seek(here.start * data.rate);
  }

  const decibels = (value, digits = 1) => value == null ? "–" : value.toFixed(digits);
  function table() {
    const total = lanes.filter((lane) => lane.kind === "dry" && lane.level_db != null).reduce((sum, lane) => sum + 10 ** (lane.level_db / 10), 0);
    const heads = ["file", "LUFS", "range LU", "true peak dBTP", "energy %", "leakage dB", "against its training", "band limit", "prior or card", "licence", "sha256"];
    const body = lanes.map((lane) => {
      const share = lane.kind === "dry" && lane.level_db != null && total ? ((100 * 10 ** (lane.level_db / 10)) / total).toFixed(1) : "–";
      const cells = [lane.path || data.mix.name, decibels(loudness(lane)), decibels(lane.loudness.range_lu), decibels(lane.loudness.true_peak_dbtp), share,
        lane.kind === "dry" ? decibels(lane.leakage_db) : "–", lane.rank || "–", lane.band_hz ? `${(lane.band_hz / 1000).toFixed(1)} kHz` : "–", lane.source || "–", lane.licence || "–", lane.sha256.slice(0, 12)];
      return make("tr", {}, ...cells.map((text, at) => make("td", { textContent: text, className: at === 10 ? "hash" : at === 0 || at > 5 ? "text" : "", title: at === 10 ? lane.sha256 : "" })));
    });
    get("table").append(make("thead", {}, make("tr", {}, ...heads.map((text, at) => make("th", { textContent: text, scope: "col", className: at === 0 || at > 5 ? "text" : "" })))), make("tbody", {}, ...body));
  }

  function readLink() { // #t=83.2&solo=vocals&mode=null
    const fields = new URLSearchParams(location.hash.slice(1));
    if (fields.has("mode") && fields.get("mode") in MODES) mode = fields.get("mode");
    if (fields.has("solo")) {
      const wanted = fields.getAll("solo").flatMap((text) => text.split(","));
      const found = wanted.map((text) => lanes.find((lane) => lane.key === text) || lanes.find((lane) => lane.stem === text && lane.kind !== "wet"));
      solo = new Set(found.filter(Boolean).map((lane) => lane.key));
    }
    refresh();
    const seconds = Number(fields.get("t"));
    if (fields.has("t") && Number.isFinite(seconds)) seek(seconds * data.rate);
  }
  function link() {
    const fields = new URLSearchParams({ t: (SW.frame() / data.rate).toFixed(1) });
    if (solo.size) fields.set("solo", [...solo].join(",")); else fields.set("mode", mode);
    history.replaceState(null, "", "#" + fields);
    const done = () => say("link in the address bar and the clipboard"), shown = () => say("link in the address bar");
    navigator.clipboard ? navigator.clipboard.writeText(location.href).then(done, shown) : shown();
  }

  const storage = `stemwright-notes-${data.mix.sha256}`;
  const stored = (text) => { try { return text === undefined ? localStorage.getItem(storage) : localStorage.setItem(storage, text); } catch (error) { return null; } };
  function stamp() { get("notes").value += `${get("notes").value && !get("notes").value.endsWith("\n") ? "\n" : ""}${VIEW.clock(SW.frame())} `; get("notes").focus(); stored(get("notes").value); }
  function download() {
    const notes = JSON.stringify({ title: data.title, mix: data.mix.name, sha256: data.mix.sha256, notes: get("notes").value.split("\n").filter(Boolean) }, null, 1);
    const address = URL.createObjectURL(new Blob([notes], { type: "application/json" }));
    make("a", { href: address, download: `${data.title.replace(/[^\p{L}\p{N} ._-]/gu, "_")}-notes.json` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  const pictures = () => { const on = get("lanes").classList.toggle("with-pictures"); get("pictures").setAttribute("aria-pressed", on); VIEW.draw(); };
  const choose = (step) => { chosen = Math.min(lanes.length - 1, Math.max(0, chosen + step)); VIEW.rows.children[chosen].focus(); };
  const loop = () => { looping = !looping; if (looping && !VIEW.selection) VIEW.selection = [SW.frame(), Math.min(data.frames, SW.frame() + 5 * data.rate)]; if (!looping) VIEW.selection = null; refresh(); };
  const KEYS = {
    " ": toggle, ArrowLeft: (e) => seek(SW.frame() - (e.shiftKey ? 1 : 5) * data.rate), ArrowRight: (e) => seek(SW.frame() + (e.shiftKey ? 1 : 5) * data.rate),
    ArrowUp: () => choose(-1), ArrowDown: () => choose(1), s: (e) => setSolo(lanes[chosen].key, e.shiftKey),
    m: () => VIEW.rows.children[chosen].querySelector(".mute").click(), a: flip, x: () => setMode("mix"), d: () => setMode("dry"), w: () => setMode("wet"), z: () => setMode("null"),
    l: loop, j: () => jump(passage + 1), k: () => jump(passage - 1), n: stamp, g: pictures, c: link, b: () => get("match").click(),
    "+": () => VIEW.zoom(0.5), "=": () => VIEW.zoom(0.5), "-": () => VIEW.zoom(2), 0: () => VIEW.show(0, data.frames), Home: () => seek(0), End: () => seek(data.frames),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("textarea")) return;
    if (event.key === " " && event.target.matches("button, input")) return; // presses it
    const digit = Number(event.key), action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (digit >= 1 && digit <= stems.length) { event.preventDefault(); setSolo(lanes.find((lane) => lane.kind === "dry" && lane.stem === stems[digit - 1]).key, event.shiftKey); }
    else if (action) { event.preventDefault(); action(event); }
  });

  get("title").textContent = data.title;
  const exact = data.null_dbfs == null ? "the dry stems sum to it, sample for sample" : `the dry stems null to ${data.null_dbfs.toFixed(1)} dBFS`;
  get("facts").textContent = `${data.mix.name} · ${VIEW.clock(data.frames)} · ${data.mix.sample_rate} Hz, ${data.mix.channels} ch · preset ${data.preset}, ${data.tier} · made in ${Object.values(data.spent).reduce((sum, each) => sum + each, 0).toFixed(0)} s · ${exact}`;
  get("about").textContent = `${data.program}. What plays here are lossless previews at ${data.rate} Hz, ${data.channels} ch; the files themselves lie beside this page.`;
  for (const [name, [text, key]] of Object.entries(MODES)) {
    if ((name === "wet" && !hasWet) || (name !== "mix" && !stems.length)) continue;
    const button = make("button", { textContent: text, title: key, onclick: () => setMode(name) });
    button.dataset.mode = name; button.setAttribute("role", "radio");
    get("modes").append(button);
  }
  VIEW.rows.append(...lanes.map(row));
  data.passages.forEach((here, at) => {
    const text = `${VIEW.clock(here.start * data.rate, 0)} ${here.stem}: ${here.why}`, item = make("li", {}, make("button", { textContent: text, onclick: () => jump(at) }));
    get("passages").append(item);
  });
  if (!data.passages.length) get("passages").append(make("li", { textContent: "nothing stands out" }));
  if (data.pitches) {
    get("pitches").hidden = false;
    get("pitch-summary").textContent = data.pitches.summary;
    get("pitch-notes").append(...data.pitches.notes.map((textContent) => make("li", { textContent })));
    get("pitch-picture").src = data.pitches.picture;
  }
  get("ab").hidden = !hasWet; get("match").parentNode.hidden = !hasWet;
  Object.entries({ play: toggle, ab: flip, loop, pictures, link, stamp, download, "zoom-in": () => VIEW.zoom(0.5), "zoom-out": () => VIEW.zoom(2), "zoom-all": () => VIEW.show(0, data.frames) })
    .forEach(([id, action]) => { get(id).onclick = action; });
  get("match").onchange = refresh;
  get("notes").value = stored() || ""; get("notes").oninput = () => stored(get("notes").value);
  VIEW.ruler.onpointerdown = (event) => seek(VIEW.frameAt(event));
  window.addEventListener("hashchange", readLink);
  window.__lanes = () => ({ gains: SW.gains, sounding: SW.sounding, frame: SW.frame(), playing: SW.playing, mode, solo: [...solo] });
  table(); VIEW.draw(); readLink();
  const frameLoop = () => {
    if (SW.playing) {
      const loopEnd = looping && VIEW.selection && VIEW.selection[1];
      if (loopEnd && SW.frame() >= loopEnd) seek(VIEW.selection[0]);
      const level = SW.level();
      get("meter").textContent = `${level === -Infinity ? "–∞" : level.toFixed(1)} dBFS`;
    }
    get("clock").textContent = VIEW.clock(SW.frame());
    VIEW.follow();
    requestAnimationFrame(frameLoop);
  };
  frameLoop();
})();
