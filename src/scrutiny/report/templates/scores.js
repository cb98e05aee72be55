/* Scores beside their controls: one row a method, floor and roof as lines, interval as whisker, difference from the plain method. */

const FAR = 0.2;
const LOWEST = -1; // bars of scores without a lower bound end here; their numbers are told

function drawScores(figure, comparison) {
  const select = element("select", { "aria-label": "Metric" });
  for (const family of new Set(comparison.metrics.map((m) => m.family))) {
    const group = element("optgroup", { label: family });
    comparison.metrics.forEach((metric, i) => {
      if (metric.family === family) group.append(element("option", { value: i }, metric.name + (metric.primary ? " (primary)" : "")));
    });
    select.append(group);
  }
  const rows = element("div", { class: "score-rows" });
  const note = element("p", { class: "figure-note" });
  const draw = () => drawMetric(rows, note, comparison, comparison.metrics[Number(select.value)]);
  select.value = comparison.metrics.findIndex((m) => m.primary);
  select.addEventListener("change", draw);
  const key = element("span", { class: "key" });
  const kinds = new Set(comparison.methods.map((m) => m.kind));
  const shown = [
    ["best", "--accent", comparison.winnerWord],
    ["model", "--accent-soft", "model"],
    ["baseline", "--plain", "baseline"],
    ["control", "--control", "control"],
  ];
  for (const [kind, colour, word] of shown) {
    if (kind === "best" || kinds.has(kind))
      key.append(element("span", {}, element("i", { style: { background: `var(${colour})` } }), word));
  }
  figure.append(element("div", { class: "figure-head" }, element("h3", {}, "Scores beside their controls"), select, key), rows, note);
  draw();
}

function drawMetric(rows, note, comparison, metric) {
  const values = comparison.values[metric.name];
  const seen = values.filter((v) => v !== null);
  const intervals = metric.primary ? comparison.intervals : values.map(() => null);
  const differences = metric.primary && comparison.differences.some((d) => d) ? comparison.differences : null;
  const low = Math.max(LOWEST, Math.min(0, ...seen, ...intervals.filter(Boolean).map((i) => i[0])));
  const high = Math.max(metric.high <= 1 ? 1 : 0, ...seen, ...intervals.filter(Boolean).map((i) => i[1]));
  const scale = (v) => (100 * (Math.max(v, low) - low)) / (high - low || 1);
  const order = values.map((v, i) => i).filter((i) => values[i] !== null);
  const sign = metric.better === "lower" ? -1 : 1;
  const isControl = (i) => comparison.methods[i].kind === "control";
  order.sort((a, b) => isControl(a) - isControl(b) || sign * (values[b] - values[a]));
  const reach = differences ? reachOf(differences) : 0;
  const offset = (v) => 50 + 50 * Math.max(-1, Math.min(1, v / reach));
  const best = order.find((i) => !isControl(i));
  rows.replaceChildren(headRow(comparison, metric, scale, differences ? reach : null));
  order.forEach((i, place) => {
    const starts = isControl(i) && place > 0 && !isControl(order[place - 1]);
    rows.append(
      scoreRow({
        comparison,
        metric,
        i,
        value: values[i],
        interval: intervals[i],
        difference: differences && differences[i],
        scale,
        offset,
        hasDifferences: Boolean(differences),
        best: i === best,
        starts,
      }),
    );
  });
  note.textContent = metricNote(metric, comparison, Boolean(differences));
}

/* Half the width of the axis of differences: the far losers are drawn at its end, so that close calls can be seen. */
function reachOf(differences) {
  const ends = differences.filter((d) => d && d[0] > -FAR).flatMap((d) => [Math.abs(d[1]), Math.abs(d[2])]);
  return Math.max(0.05, ...ends);
}

function headRow(comparison, metric, scale, reach) {
  const track = element("div", { class: "track scores" });
  const ends = [
    ["floor", metric.floor, metric.floorValue],
    ["roof", metric.roof, metric.roofValue],
  ].filter((end) => end[2] !== null);
  ends.forEach(([, name, value]) => {
    const at = scale(value);
    const side = at < 25 ? "from-left" : at > 75 ? "from-right" : "";
    track.append(element("span", { class: side, style: { left: `${at}%` } }, `${name.replace("control/", "")} ${number(value)}`));
  });
  if (ends.length === 2 && Math.abs(scale(ends[0][2]) - scale(ends[1][2])) < 40) track.firstChild.style.bottom = "17px";
  const row = element(
    "div",
    { class: "score-row head" + (reach === null ? " no-difference" : "") },
    element("span", {}, ""),
    track,
    element("span", {}, metric.primary ? "value, 95% interval" : "value, scaled"),
  );
  if (reach !== null) {
    const differences = element("div", { class: "track differences" });
    differences.append(
      element("span", { class: "from-left", style: { left: 0 } }, number(-reach)),
      element("span", { style: { left: "50%" } }, `from ${comparison.referenceName}`),
      element("span", { class: "from-right", style: { left: "100%" } }, number(reach, 2, true)),
    );
    row.append(differences);
  }
  return row;
}

function scoreRow({ comparison, metric, i, value, interval, difference, scale, offset, hasDifferences, best, starts }) {
  const method = comparison.methods[i];
  const kind = method.kind;
  const tag =
    metric.primary && kind !== "control"
      ? i === comparison.winner
        ? comparison.winnerWord
        : comparison.ties.includes(i)
          ? "tie"
          : ""
      : "";
  const breakable = method.name.replace(/([/_])/g, "$1\u200b");
  const name = element("span", { class: "name" }, breakable, tag ? element("span", { class: "tag" }, tag) : "");
  const track = element("div", { class: "track scores" });
  const zero = Math.max(0, scale(0));
  const from = Math.min(zero, scale(value));
  track.append(
    element("div", { class: `bar ${kind}${best ? " best" : ""}`, style: { left: `${from}%`, width: `${Math.abs(scale(value) - zero)}%` } }),
  );
  [metric.floorValue, metric.roofValue].forEach((end) => {
    if (end !== null) track.append(element("i", { style: { left: `${scale(end)}%` } }));
  });
  if (interval)
    track.append(
      element("div", { class: "whisker", style: { left: `${scale(interval[0])}%`, width: `${scale(interval[1]) - scale(interval[0])}%` } }),
    );
  const scaled = comparison.scaled[metric.name][i];
  const second = interval ? `${number(interval[0])}–${number(interval[1])}` : scaled !== null ? `${number(scaled)} scaled` : "";
  const row = element(
    "div",
    { class: `score-row ${kind}${hasDifferences ? "" : " no-difference"}${starts ? " gap" : ""}` },
    name,
    track,
    element("span", { class: "figure" }, number(value, 3), element("small", {}, second)),
  );
  const told = [`${method.name}: ${number(value, 4)}`];
  if (scaled !== null) told.push(`${number(scaled, 3)} on the scale from ${metric.floor} (0) to ${metric.roof} (1)`);
  if (interval) told.push(`95% interval ${number(interval[0], 3)} to ${number(interval[1], 3)}`);
  if (hasDifferences) row.append(...differenceParts(comparison, difference, offset, told, i === comparison.reference));
  return withTip(row, told.join(" · "));
}

function differenceParts(comparison, difference, offset, told, isReference) {
  const track = element("div", { class: "track differences", style: { borderLeft: "0" } });
  if (!difference) {
    if (isReference) track.append(element("span", { class: "reference" }, "what the others are compared with"));
    return [track];
  }
  const [estimate, low, high] = difference;
  const margin = offset(comparison.margin) - 50;
  const beyond = estimate < -FAR && offset(low) === 0;
  track.append(
    element("div", { class: "band", style: { left: `${50 - margin}%`, width: `${2 * margin}%` } }),
    element("i", { class: "zero", style: { left: "50%" } }),
    beyond ? "" : element("div", { class: "whisker", style: { left: `${offset(low)}%`, width: `${offset(high) - offset(low)}%` } }),
    element("div", { class: beyond ? "beyond" : "dot", style: { left: `${offset(estimate)}%` } }, beyond ? `◂ ${number(estimate)}` : ""),
  );
  const text = `${number(estimate, 3, true)} (${number(low, 3)} to ${number(high, 3)}) from ${comparison.referenceName}`;
  told.push(text);
  return [track, element("span", { class: "difference-text" }, text)];
}

function metricNote(metric, comparison, hasDifferences) {
  const parts = [metric.recipe];
  if (metric.better === "lower") parts.push("Lower is better.");
  if (metric.labelTuned) parts.push("Label-tuned: a parameter was picked by looking at the labels.");
  if (metric.unscaled) parts.push(`Not scaled: ${metric.unscaled}.`);
  if (metric.primary && comparison.ties.length) parts.push("Tie: cannot be told from the best.");
  if (hasDifferences)
    parts.push(
      `Differences from ${comparison.referenceName} are paired, with 95% intervals; ${comparison.margin} is the least that matters.`,
    );
  return parts
    .filter(Boolean)
    .map((part) => (/[.!?]$/.test(part) ? part : `${part}.`))
    .join(" ");
}
