"use strict";

const data = JSON.parse(document.getElementById("data").textContent);

/* Small tools: elements without innerHTML, so that no text of the data is ever read as markup. */

function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "line", "polyline", "circle", "rect", "path", "text"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") Object.assign(node.style, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function number(value, digits = 2, signed = false) {
  if (value === null || value === undefined) return "–";
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value < 0 ? "−" : signed ? "+" : "") + text;
}

function duration(seconds) {
  if (seconds < 0.1) return `${seconds.toFixed(2)} s`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

const tip = element("div", { class: "tip", "aria-hidden": "true", hidden: true });
document.body.append(tip);

function showTip(text, event) {
  tip.textContent = text;
  tip.hidden = false;
  const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
  Object.assign(tip.style, { left: `${left}px`, top: `${event.clientY + 16}px` });
}

function hideTip() {
  tip.hidden = true;
}

function withTip(node, text) {
  node.addEventListener("pointermove", (event) => showTip(text, event));
  node.addEventListener("pointerleave", hideTip);
  return node;
}

/* Theme: the system's, until somebody chooses. */

const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
const redraws = [];

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.getElementById("theme").textContent = dark ? "Light" : "Dark";
  redraws.forEach((draw) => draw());
}

function startTheme() {
  document.getElementById("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme !== "dark"));
  systemDark.addEventListener("change", (event) => setTheme(event.matches));
  setTheme(systemDark.matches);
}
