"use strict";
// Tables: sorted by the column whose heading is pressed; numbers by their value.
const numberIn = (text) => {
  const found = text.replace(/,/g, "").match(/^[^\w+-]*([+-]?\d+(\.\d+)?(e[+-]?\d+)?)/i);
  return found ? parseFloat(found[1]) : null;
};
const isBlank = (text) => text.trim() === "" || text.trim() === "-";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const cells = [...body.rows].map((row) => row.cells[column]).filter((cell) => !isBlank(cell.textContent));
    const isNumber = cells.length > 0 && cells.every((cell) => /^[+-]?[\d.,]+([ %±[(].*)?$/.test(cell.textContent.trim()));
    if (isNumber) for (const cell of [head, ...[...body.rows].map((row) => row.cells[column])]) cell.classList.add("number");
    if (body.rows.length < 2) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const keyed = [...body.rows].map((row, place) => {
        const text = row.cells[column].textContent.trim();
        return {row, place, text, value: isNumber ? numberIn(text) : null};
      });
      const missing = (one) => isBlank(one.text) || (isNumber && one.value === null);
      keyed.sort((a, b) => {
        if (missing(a) !== missing(b)) return missing(a) ? 1 : -1;
        const order = isNumber ? a.value - b.value : a.text.localeCompare(b.text);
        return (up ? order : -order) || a.place - b.place;
      });
      body.append(...keyed.map((one) => one.row));
    });
  });
}
// Galleries: only what has all values that are chosen.
const galleries = {};
for (const gallery of document.querySelectorAll(".gallery")) {
  const selects = [...gallery.querySelectorAll("select")];
  const items = [...gallery.querySelectorAll(".pictures > li")];
  const count = gallery.querySelector(".count");
  const show = () => {
    let shown = 0;
    for (const item of items) {
      const tags = JSON.parse(item.dataset.tags);
      item.hidden = !selects.every((select, place) => select.value === "" || select.value === tags[place]);
      if (!item.hidden) shown += 1;
    }
    if (count) count.textContent = shown + (shown === items.length ? " images" : " of " + items.length + " images");
  };
  for (const select of selects) select.addEventListener("change", show);
  const choose = (values) => {
    selects.forEach((select, place) => { select.value = values[place] || ""; });
    show();
  };
  galleries[gallery.dataset.name] = choose;
  const reset = gallery.querySelector(".reset");
  if (reset) reset.addEventListener("click", () => {
    for (const pressed of document.querySelectorAll(".matrix [aria-pressed=true]")) pressed.setAttribute("aria-pressed", "false");
    choose([]);
  });
}
// Confusion matrices: a cell shows its images.
for (const matrix of document.querySelectorAll(".matrix")) {
  const buttons = [...matrix.querySelectorAll("button")];
  for (const button of buttons) {
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      galleries[matrix.dataset.gallery](JSON.parse(button.dataset.values));
      const heading = document.getElementById(matrix.dataset.gallery);
      heading.scrollIntoView();
      heading.focus({preventScroll: true});
    });
  }
}
