"use strict";
// Sorting by the values that cells keep, and what the plot's points stand for.
const body = document.querySelector("#table tbody");
const heads = [...document.querySelectorAll("#table th")];

function value(row, column) {
  const cell = row.children[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
}

heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
  const up = head.getAttribute("aria-sort") !== "ascending";
  heads.forEach((each) => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = [...body.children].sort((a, b) => {
    const [left, right] = [value(a, column), value(b, column)];
    return (left < right ? -1 : left > right ? 1 : 0) * (up ? 1 : -1);
  });
  body.append(...rows);
}));

const front = document.getElementById("front");
if (front) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const ink = () => Plotly.relayout(front, { "font.color": dark.matches ? "#d0d0d0" : "#333333" });
  dark.addEventListener("change", ink);
  ink();
  front.on("plotly_hover", ({ points }) => {
    const place = document.getElementById("pointed");
    const section = document.getElementById("candidate" + points[0].customdata);
    place.replaceChildren();
    if (!section) return;
    for (const part of [section.querySelector("h3"), section.querySelector("img")])
      if (part) place.append(part.cloneNode(true));
  });
  front.on("plotly_click", ({ points }) => { location.hash = "candidate" + points[0].customdata; });
}
