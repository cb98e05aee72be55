/* UMAPs as small canvases: colours of Okabe and Ito where there are few levels, colour and shape together where there are many. */

const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#a08c00", "#8e8e8e"];
const SHAPES = ["circle", "square", "triangle", "diamond", "cross"];
const colour = (level) => PALETTE[level % PALETTE.length];
const shape = (level) => SHAPES[Math.floor(level / PALETTE.length) % SHAPES.length];

function outline(context, kind, x, y, r) {
  context.beginPath();
  if (kind === "circle") context.arc(x, y, r, 0, 2 * Math.PI);
  else if (kind === "square") context.rect(x - r, y - r, 2 * r, 2 * r);
  else {
    const corners = {
      triangle: [
        [0, -1.3],
        [1.2, 1],
        [-1.2, 1],
      ],
      diamond: [
        [0, -1.4],
        [1.4, 0],
        [0, 1.4],
        [-1.4, 0],
      ],
    }[kind] ?? [
      [-1.3, -0.4],
      [-0.4, -0.4],
      [-0.4, -1.3],
      [0.4, -1.3],
      [0.4, -0.4],
      [1.3, -0.4],
      [1.3, 0.4],
      [0.4, 0.4],
      [0.4, 1.3],
      [-0.4, 1.3],
      [-0.4, 0.4],
      [-1.3, 0.4],
    ];
    corners.forEach(([dx, dy], i) => (i ? context.lineTo(x + r * dx, y + r * dy) : context.moveTo(x + r * dx, y + r * dy)));
    context.closePath();
  }
  context.fill();
}

function drawMaps(holder, set) {
  const columns = set.columns.map((c) => ({ ...c, codes: bytes(c.codes) }));
  const state = { column: columns[0], level: null };
  const segments = element("div", { class: "segments", role: "group", "aria-label": "Colour by" });
  const legend = element("ul", { class: "legend" });
  const grid = element("div", { class: "maps" });
  const canvases = set.maps.map((map) => mapFigure(map, set, state));
  grid.append(...canvases.map((c) => c.figure));
  const draw = () => canvases.forEach((c) => c.draw());
  const choose = (column) => {
    Object.assign(state, { column, level: null });
    [...segments.children].forEach((button, i) => button.setAttribute("aria-pressed", columns[i] === column));
    fillLegend(legend, state, draw);
    draw();
  };
  columns.forEach((column) => {
    const button = element("button", { type: "button" }, `${column.role}: ${column.column}`);
    button.addEventListener("click", () => choose(column));
    segments.append(button);
  });
  holder.append(element("div", { class: "figure-head" }, element("h3", {}, "UMAPs"), segments), legend, grid);
  const some = set.n < set.of ? `${set.n.toLocaleString("en")} of ${set.of.toLocaleString("en")} cells, in proportion to the groups. ` : "";
  holder.append(
    element(
      "p",
      { class: "figure-note" },
      `${some}UMAPs are pictures, not evidence: distances between groups mean little, and no score is computed from them.`,
    ),
  );
  new ResizeObserver(() => requestAnimationFrame(draw)).observe(grid);
  redraws.push(draw);
  choose(columns[0]);
}

function fillLegend(legend, state, draw) {
  legend.replaceChildren(
    ...state.column.levels.map((name, level) => {
      const icon = element("canvas", { width: 22, height: 22, style: { width: "11px", height: "11px" }, "aria-hidden": "true" });
      const context = icon.getContext("2d");
      context.fillStyle = colour(level);
      outline(context, shape(level), 11, 11, 7);
      const button = element("button", { type: "button", "aria-pressed": "false" }, icon, name);
      button.addEventListener("click", () => {
        state.level = state.level === level ? null : level;
        [...legend.querySelectorAll("button")].forEach((b, i) => b.setAttribute("aria-pressed", i === state.level));
        draw();
      });
      return element("li", {}, button);
    }),
  );
}

function mapFigure(map, set, state) {
  const xy = new Uint16Array(bytes(map.xy).buffer);
  const canvas = element("canvas", { role: "img", "aria-label": `UMAP of ${map.method}` });
  const score = map.score === null ? "" : element("small", {}, map.score);
  const figure = element("figure", { class: "map" }, canvas, element("figcaption", {}, map.method, score));
  const inside = (v, size) => 8 + (v / 65535) * (size - 16);
  const draw = () => {
    const size = canvas.clientWidth;
    if (!size) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(size * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const r = Math.max(1.15, Math.min(2.6, (size * 0.3) / Math.sqrt(set.n)));
    const order = Array.from({ length: set.n }, (_, i) => (i * 7919) % set.n); // 7919 is prime: no group always lies on top
    for (const pass of state.level === null ? [null] : ["others", "level"]) {
      for (const i of order) {
        const level = state.column.codes[i];
        if (pass !== null && (pass === "level") !== (level === state.level)) continue;
        context.globalAlpha = pass === "others" ? 0.1 : 0.85;
        context.fillStyle = colour(level);
        outline(context, shape(level), inside(xy[i], size), size - inside(xy[set.n + i], size), r);
      }
    }
  };
  canvas.addEventListener("pointermove", (event) => {
    const near = nearest(xy, set.n, event.offsetX, event.offsetY, canvas.clientWidth, inside);
    if (near === null) hideTip();
    else showTip(state.column.levels[state.column.codes[near]], event);
  });
  canvas.addEventListener("pointerleave", hideTip);
  return { figure, draw };
}

function nearest(xy, n, x, y, size, inside) {
  let found = null;
  let closest = 64;
  for (let i = 0; i < n; i += 1) {
    const distance = (inside(xy[i], size) - x) ** 2 + (size - inside(xy[n + i], size) - y) ** 2;
    if (distance < closest) [found, closest] = [i, distance];
  }
  return found;
}
