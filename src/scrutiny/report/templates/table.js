/* Sorting of the tables, and the CSV made from the data that the page carries. */

function makeSortable(table) {
  const heads = [...table.querySelectorAll("thead tr:last-child th")];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") !== "descending";
      heads.forEach((h) => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      for (const body of table.tBodies) sortRows(body, column, descending);
    });
  });
}

function sortRows(body, column, descending) {
  const value = (row) => row.cells[column].dataset.value;
  const compare = (a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left === "" || right === "") return (left === "") - (right === ""); // no number: last, whichever way
    const order = column === 0 ? left.localeCompare(right) : Number(left) - Number(right);
    return descending ? -order : order;
  };
  body.append(...[...body.rows].sort(compare));
}

function csvCell(value) {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value; // a spreadsheet would run it as a formula
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function csv(table) {
  const columns = table.columns.map((c) => (c.levels ? c.codes.map((code) => (code < 0 ? null : c.levels[code])) : c.values));
  const lines = [table.columns.map((c) => c.name).join(",")];
  for (let i = 0; i < table.length; i += 1) lines.push(columns.map((column) => csvCell(column[i])).join(","));
  return lines.join("\r\n") + "\r\n";
}

function downloadCsv() {
  const url = URL.createObjectURL(new Blob([csv(data.table)], { type: "text/csv" }));
  const link = element("a", { href: url, download: "scrutiny-scores.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

startTheme();
document.querySelectorAll("[data-scores]").forEach((f) => drawScores(f, data.comparisons[f.dataset.scores]));
document.querySelectorAll("[data-cost]").forEach((f) => drawCost(f, data.comparisons[f.dataset.cost]));
document.querySelectorAll("[data-reconstruction]").forEach((f) => drawReconstruction(f, data.reconstructions[f.dataset.reconstruction]));
document.querySelectorAll("[data-maps]").forEach((f) => drawMaps(f, data.maps[f.dataset.maps]));
document.querySelectorAll("table.wide:not(.predictions)").forEach(makeSortable);
document.querySelectorAll("[data-csv]").forEach((button) => button.addEventListener("click", downloadCsv));
document.documentElement.dataset.ready = "yes";
