/* Predicted against true values, one panel a method: bins of the true value, each with mean and 10-90 % band of what is predicted. */

const PANEL = { width: 260, height: 214, left: 36, right: 8, top: 6, bottom: 34 };

function drawReconstruction(figure, picture) {
  const key = element("span", { class: "key" });
  const shown = [
    ["predicted", "predicted: mean, 10–90 %"],
    ["trivial", picture.trivial],
    ["perfect", "perfect"],
    ["mean", "mean of all"],
  ];
  for (const [kind, word] of shown) {
    const line = element("line", { x1: 0, x2: 26, y1: 4.5, y2: 4.5, class: kind });
    key.append(element("span", {}, element("svg", { viewBox: "0 0 26 9", "aria-hidden": "true" }, line), word));
  }
  const panels = element("div", { class: "panels" }, ...picture.panels.map((panel) => panelFigure(panel, picture.trivial)));
  figure.append(element("div", { class: "figure-head" }, element("h3", {}, "Predicted against true values"), key), panels);
  figure.append(
    element(
      "p",
      { class: "figure-note" },
      "Entries are binned by their true value; grey bars: how many there are (square root). Slope: of predicted on true values within " +
        "genes, 0 where the same is predicted of a gene whatever the cell. Variance explained: of what is left by " +
        `${picture.trivial}. Each panel is in the quantity that its method predicts.`,
    ),
  );
}

function panelFigure(panel, trivial) {
  const told = `slope ${number(panel.slope)} · explains ${number(panel.varianceExplained)} of the variance`;
  return element("figure", { class: "panel" }, element("figcaption", {}, panel.name, element("small", {}, told)), panelChart(panel, trivial));
}

function panelChart(panel, trivial) {
  const { width, height, left, right, top, bottom } = PANEL;
  const values = panel.bins.flatMap((b) => [b.true, b.predicted, b.predicted_p10, b.predicted_p90, b.gene_mean]).filter((v) => v !== null);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const span = high - low || 1;
  const x = (v) => left + ((v - low) / span) * (width - left - right);
  const y = (v) => height - bottom - ((v - low) / span) * (height - top - bottom);
  const svg = element("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": `Predicted against true ${panel.quantity} of ${panel.name}`,
  });
  svg.append(...counts(panel.bins, x, (v) => Math.min(Math.max(v, low), high)));
  for (const tick of ticks(low, high)) {
    const word = Number(tick.toPrecision(6)).toString().replace("-", "−");
    svg.append(
      element("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
      element("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, word),
      element("text", { x: x(tick), y: height - bottom + 15, "text-anchor": "middle" }, word),
    );
  }
  svg.append(element("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, `true ${panel.quantity}`));
  const along = (name) =>
    panel.bins
      .filter((b) => b[name] !== null)
      .map((b) => `${x(b.true).toFixed(1)},${y(b[name]).toFixed(1)}`)
      .join(" ");
  const band = [along("predicted_p10"), along("predicted_p90").split(" ").reverse().join(" ")].join(" ");
  svg.append(
    element("path", { class: "band", d: `M${band}Z` }),
    element("line", { class: "perfect", x1: x(low), y1: y(low), x2: x(high), y2: y(high) }),
    element("line", { class: "mean", x1: left, x2: width - right, y1: y(panel.mean), y2: y(panel.mean) }),
    element("polyline", { class: "trivial", points: along("gene_mean") }),
    element("polyline", { class: `predicted ${panel.kind}`, points: along("predicted") }),
  );
  for (const bin of panel.bins.filter((b) => b.predicted !== null)) {
    const circle = element("circle", { class: panel.kind, cx: x(bin.true), cy: y(bin.predicted), r: 2.8 });
    svg.append(withTip(circle, binWords(bin, trivial)));
  }
  return svg;
}

/* Numbers of entries as bars from the bottom, up to a third of the panel. */
function counts(bins, x, inside) {
  const { height, top, bottom } = PANEL;
  const most = Math.max(...bins.map((b) => b.n));
  return bins.map((bin) => {
    const tall = (Math.sqrt(bin.n / most) * (height - top - bottom)) / 3;
    const from = x(inside(bin.low)) - 2;
    return element("rect", { x: from, y: height - bottom - tall, width: x(inside(bin.high)) + 2 - from, height: tall });
  });
}

function binWords(bin, trivial) {
  const range = `${number(bin.predicted_p10)} to ${number(bin.predicted_p90)}`;
  return `${bin.n.toLocaleString("en")} entries, true ${number(bin.true)}: predicted ${number(bin.predicted)} (${range}), ${trivial} ${number(bin.gene_mean)}`;
}
