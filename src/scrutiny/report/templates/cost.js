/* Cost against quality: seconds on a log axis, primary metric upwards, the methods that nothing cheaper beats joined by a line. */

const NICE_SECONDS = [0.001, 0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 18000, 36000, 72000, 360000];
const TICK_SPACE = 64;

function drawCost(figure, comparison) {
  const values = comparison.values[comparison.primary];
  const all = comparison.methods
    .map((method, i) => ({ ...method, i, y: values[i], x: Math.max(method.seconds ?? 0, 0.001) }))
    .filter((p) => p.y !== null && p.seconds !== null && p.kind !== "control");
  const points = worthDrawing(all, comparison);
  if (points.length < 2) return figure.remove();
  const below = all.filter((p) => !points.includes(p)).map((p) => `${p.name} (${number(p.y)} in ${duration(p.seconds)})`);
  const holder = element("div", { class: "cost" });
  figure.append(element("div", { class: "figure-head" }, element("h3", {}, "Cost against quality")), holder);
  figure.append(
    element(
      "p",
      { class: "figure-note" },
      `Seconds to fit and embed (log scale) against ${comparison.primaryWords}. The dashed line joins the methods that nothing cheaper beats.${below.length ? ` Far below, not drawn: ${below.join(", ")}.` : ""}`,
    ),
  );
  let width = 0;
  const draw = () => {
    if (!holder.clientWidth || holder.clientWidth === width) return;
    width = holder.clientWidth;
    holder.replaceChildren(costChart(points, comparison, width));
  };
  new ResizeObserver(() => requestAnimationFrame(draw)).observe(holder);
  draw();
}

/* Methods in the better half of what is between the floor control and the best one; the others would squeeze these together. */
function worthDrawing(all, comparison) {
  const floor = comparison.metrics.find((m) => m.primary).floorValue;
  if (floor === null) return all;
  const sign = comparison.better === "lower" ? -1 : 1;
  const best = Math.max(...all.map((p) => sign * p.y));
  return all.filter((p) => sign * p.y >= (best + sign * floor) / 2);
}

function costChart(points, comparison, width) {
  const height = Math.min(360, Math.max(250, width * 0.42));
  const pad = { left: 44, right: 18, top: 14, bottom: 34 };
  const logs = points.map((p) => Math.log10(p.x));
  const [lowX, highX] = [Math.min(...logs) - 0.15, Math.max(...logs) + 0.45];
  const ys = points.map((p) => p.y);
  const spread = Math.max(Math.max(...ys) - Math.min(...ys), 0.02);
  const [lowY, highY] = [Math.min(...ys) - 0.1 * spread, Math.max(...ys) + 0.1 * spread];
  const x = (seconds) => pad.left + ((Math.log10(seconds) - lowX) / (highX - lowX)) * (width - pad.left - pad.right);
  const y = (value) => height - pad.bottom - ((value - lowY) / (highY - lowY)) * (height - pad.top - pad.bottom);
  const svg = element("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": `Cost against quality of ${points.length} methods`,
  });
  let last = -Infinity;
  for (const tick of NICE_SECONDS.filter((s) => Math.log10(s) >= lowX && Math.log10(s) <= highX)) {
    if (x(tick) - last < TICK_SPACE) continue;
    last = x(tick);
    svg.append(element("line", { x1: x(tick), x2: x(tick), y1: pad.top, y2: height - pad.bottom }));
    svg.append(
      element(
        "text",
        { x: x(tick), y: height - pad.bottom + 18, "text-anchor": "middle" },
        tick < 1 ? `${tick} s` : duration(tick).replace(".0", ""),
      ),
    );
  }
  for (const tick of ticks(lowY, highY)) {
    svg.append(element("line", { x1: pad.left, x2: width - pad.right, y1: y(tick), y2: y(tick) }));
    svg.append(element("text", { x: pad.left - 8, y: y(tick) + 4, "text-anchor": "end" }, number(tick)));
  }
  svg.append(
    element("polyline", {
      points: frontier(points, comparison)
        .map((p) => `${x(p.x)},${y(p.y)}`)
        .join(" "),
    }),
  );
  const boxes = points.map((p) => ({ left: x(p.x) - 5, right: x(p.x) + 5, top: y(p.y) - 5, bottom: y(p.y) + 5 }));
  for (const p of points) {
    const circle = element("circle", { cx: x(p.x), cy: y(p.y), r: 5.5, class: `${p.kind}${p.i === comparison.winner ? " best" : ""}` });
    const memory = p.memory ? ` · ${Math.round(p.memory)} MB at the peak` : "";
    svg.append(
      withTip(circle, `${p.name}: ${number(p.y, 3)} in ${duration(p.seconds)}${memory}`),
      label(p.name, x(p.x), y(p.y), boxes, width),
    );
  }
  return svg;
}

/* The first place beside the point that covers nothing else; to the right if all do. */
function label(name, x, y, boxes, width) {
  const long = 6.4 * name.length;
  const places = [
    [x + 9, y + 4, "start"],
    [x - 9, y + 4, "end"],
    [x, y - 11, "middle"],
    [x, y + 20, "middle"],
    [x + 8, y - 9, "start"],
    [x + 8, y + 17, "start"],
  ];
  const box = ([left, base, anchor]) => {
    const start = anchor === "start" ? left : anchor === "end" ? left - long : left - long / 2;
    return { left: start, right: start + long, top: base - 11, bottom: base + 3 };
  };
  const free = (b) =>
    b.left > 40 && b.right < width && !boxes.some((o) => b.left < o.right && b.right > o.left && b.top < o.bottom && b.bottom > o.top);
  const place = places.find((p) => free(box(p))) ?? places[0];
  boxes.push(box(place));
  return element("text", { x: place[0], y: place[1], "text-anchor": place[2], class: "name" }, name);
}

function frontier(points, comparison) {
  const sign = comparison.better === "lower" ? -1 : 1;
  const front = [];
  for (const p of [...points].sort((a, b) => a.x - b.x || sign * (b.y - a.y))) {
    if (!front.length || sign * p.y > sign * front[front.length - 1].y) front.push(p);
  }
  return front;
}

function ticks(low, high) {
  const raw = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let t = Math.ceil(low / step) * step; t <= high; t += step) found.push(t);
  return found;
}
