/* Pictures: ruler, waveforms, cursor, selection; a view is a span of frames. */
const VIEW = (() => {
  const data = SW.data, rows = document.getElementById("rows"), ruler = document.createElement("canvas");
  const area = document.getElementById("lanes"), cursor = document.getElementById("cursor"), shade = document.getElementById("selection");
  document.getElementById("ruler").append(document.createElement("span"), ruler);
  let from = 0, to = data.frames, selection = null;
  const peaks = new Map();

  const clock = (frame, digits = 1) => {
    const tenths = Math.round((frame / data.rate) * 10 ** digits) / 10 ** digits;
    const hours = Math.floor(tenths / 3600), minutes = Math.floor(tenths / 60) % 60;
    const seconds = (tenths % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${seconds}` : `${minutes}:${seconds}`;
  };

  function peaksOf(lane) {
    if (!peaks.has(lane.key)) {
      const text = atob(lane.peaks);
      peaks.set(lane.key, Int8Array.from(text, (letter) => (letter.charCodeAt(0) << 24) >> 24));
    }
    return peaks.get(lane.key);
  }

  function fitted(canvas) {
    const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    canvas.width = Math.max(1, Math.round(box.width * ratio));
    canvas.height = Math.max(1, Math.round(box.height * ratio));
    return canvas.getContext("2d");
  }

  function drawWave(canvas, lane) {
    const brush = fitted(canvas), table = peaksOf(lane), columns = table.length / 2;
    const middle = canvas.height / 2, scale = middle / 127;
    brush.fillStyle = lane.colour;
    for (let x = 0; x < canvas.width; x++) {
      const first = ((from + (x / canvas.width) * (to - from)) / data.frames) * columns;
      const last = ((from + ((x + 1) / canvas.width) * (to - from)) / data.frames) * columns;
      let low = 127, high = -127;
      for (let c = Math.floor(first); c < Math.max(last, Math.floor(first) + 1) && c < columns; c++) {
        low = Math.min(low, table[2 * c]); high = Math.max(high, table[2 * c + 1]);
      }
      if (high >= low) brush.fillRect(x, middle - high * scale, 1, Math.max(1, (high - low) * scale));
    }
  }

  function drawRuler() {
    const brush = fitted(ruler), ratio = window.devicePixelRatio || 1, style = getComputedStyle(document.body);
    const steps = [0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 3600];
    const span = (to - from) / data.rate, step = steps.find((s) => span / s <= canvasUnits()) || 7200;
    brush.fillStyle = style.color; brush.font = `${11 * ratio}px system-ui`;
    for (let t = Math.ceil(from / data.rate / step) * step; t * data.rate < to; t += step) {
      const x = ((t * data.rate - from) / (to - from)) * ruler.width;
      brush.fillRect(x, ruler.height * 0.6, 1, ruler.height);
      brush.fillText(clock(t * data.rate, step < 1 ? 1 : 0), x + 3 * ratio, ruler.height * 0.8);
    }
  }
  const canvasUnits = () => Math.max(3, ruler.getBoundingClientRect().width / 80);

  function draw() {
    drawRuler();
    for (const row of rows.children) {
      drawWave(row.querySelector("canvas"), SW.byKey.get(row.dataset.key));
      const picture = row.querySelector("img"), width = row.querySelector(".wave").clientWidth;
      picture.style.width = `${(width * data.frames) / (to - from)}px`;
      picture.style.left = `${(-width * from) / (to - from)}px`;
    }
    place();
  }

  function x(frame) { // pixels from the left edge of the lanes' area
    const wave = ruler.getBoundingClientRect(), box = area.getBoundingClientRect();
    return wave.left - box.left + ((frame - from) / (to - from)) * wave.width;
  }

  function place() {
    const here = SW.frame(), inside = here >= from && here <= to;
    cursor.hidden = !inside;
    if (inside) cursor.style.left = `${x(here)}px`;
    shade.hidden = !selection;
    if (selection) {
      const left = x(Math.max(from, selection[0])), right = x(Math.min(to, selection[1]));
      shade.hidden = right <= left;
      shade.style.left = `${left}px`; shade.style.width = `${right - left}px`;
    }
  }

  function frameAt(event) {
    const box = ruler.getBoundingClientRect();
    return from + Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * (to - from);
  }

  function show(first, last) {
    const least = Math.min(data.frames, data.rate / 4), span = Math.min(data.frames, Math.max(least, last - first));
    from = Math.min(Math.max(0, first), data.frames - span); to = from + span;
    draw();
  }

  function zoom(factor, around = SW.frame()) {
    const span = (to - from) * factor, share = (around - from) / (to - from);
    show(around - span * (share >= 0 && share <= 1 ? share : 0.5), around + span * (1 - (share >= 0 && share <= 1 ? share : 0.5)));
  }

  function follow() { // keeps the cursor in sight while playing
    const here = SW.frame();
    if (SW.playing && (here > to || here < from)) show(here, here + (to - from));
    place();
  }

  new ResizeObserver(() => draw()).observe(area);
  return { clock, draw, place, follow, zoom, show, frameAt, ruler, rows,
    get selection() { return selection; }, set selection(span) { selection = span; place(); } };
})();
