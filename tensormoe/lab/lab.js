// The page asks the server what to show whenever a field has changed. Errors are set as text; the HTML of
// the rest is the server's own.
"use strict";

const PAUSE = 300;
const layers = document.getElementById("layers");
const together = document.getElementById("together");
const compare = document.getElementById("compare");
let timer, asking = false, again = false;

function read(layer) {
  const values = {};
  for (const field of layer.querySelectorAll("input"))
    values[field.name] = field.type === "checkbox" ? field.checked : field.value;
  return values;
}

function fill(layer, values) {
  for (const field of layer.querySelectorAll("input")) {
    if (!(field.name in values)) continue;
    if (field.type === "checkbox") field.checked = values[field.name];
    else field.value = values[field.name];
  }
}

function mark(layer, name, text) {
  for (const place of layer.querySelectorAll(".error"))
    place.textContent = place.dataset.field === name ? text : "";
  for (const field of layer.querySelectorAll("input"))
    field.setAttribute("aria-invalid", String(field.name === name));
}

function show(layer, view) {
  mark(layer, view.field, view.error || "");
  layer.querySelector(".network").innerHTML = view.network || "";
  layer.querySelector(".details").innerHTML = view.details || "";
  layer.querySelector(".python").hidden = !view.python;
  layer.querySelector(".python pre").textContent = view.python || "";
  layer.dataset.json = view.json || "";
}

async function ask() {
  // One question at a time; what changes meanwhile is asked afterwards.
  if (asking) { again = true; return; }
  asking = true;
  document.body.classList.add("waiting");
  const shown = [...layers.children];
  try {
    const answer = await fetch("show", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(shown.map(read)),
    });
    if (!answer.ok) throw new Error(await answer.text());
    const view = await answer.json();
    shown.forEach((layer, number) => show(layer, view.layers[number]));
    together.innerHTML = view.together;
  } catch (error) {
    shown.forEach((layer) => show(layer, { field: "notation", error: "no answer: " + error.message }));
  }
  asking = false;
  document.body.classList.remove("waiting");
  if (again) { again = false; ask(); }
}

function save(layer) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([layer.dataset.json], { type: "application/json" }));
  link.download = "layer.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function name() {
  [...layers.children].forEach((layer, number) => {
    layer.querySelector("h2").textContent = layers.children.length > 1 ? "layer " + "AB"[number] : "layer";
  });
  compare.textContent = layers.children.length > 1 ? "remove layer B" : "compare with another layer";
}

function add(values) {
  layers.append(document.getElementById("layer").content.cloneNode(true));
  const layer = layers.lastElementChild;
  fill(layer, values);
  layer.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, PAUSE); });
  layer.querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  for (const start of layer.querySelectorAll(".starts button"))
    start.addEventListener("click", () => { fill(layer, start.dataset); ask(); });
  layer.querySelector(".save").addEventListener("click", () => save(layer));
  layer.querySelector(".copy").addEventListener("click", (event) => {
    navigator.clipboard.writeText(layer.querySelector(".python pre").textContent).then(() => {
      event.target.textContent = "copied";
      setTimeout(() => { event.target.textContent = "copy"; }, 1500);
    });
  });
  name();
}

compare.addEventListener("click", () => {
  if (layers.children.length > 1) layers.lastElementChild.remove();
  else add(read(layers.firstElementChild));
  name();
  ask();
});

add({});
ask();
