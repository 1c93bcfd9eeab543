"use strict";
// Draws the figures, and connects tables, plots and pictures. Reads only what the page holds.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const dark = matchMedia("(prefers-color-scheme: dark)");
const figures = read("figures"), themes = read("themes");

// --- figures ------------------------------------------------------------------------------------
function themed(value) {
  if (typeof value === "string") return dark.matches ? (themes[value] ?? value) : value;
  if (Array.isArray(value)) return value.length && typeof value[0] === "number" ? value : value.map(themed);
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v)]));
  return value;
}
const chosen = {};
let marked = null;
function drawn(place) {
  const name = place.dataset.figure, figure = figures[name];
  const data = themed(figure.data).map((trace, i) => exchanged(name, trace, figure.data[i]));
  const layout = themed(figure.layout);
  const titles = figure.layout.meta && figure.layout.meta.titles, axis = chosen[name] || {};
  if (axis.x === "minutes") layout.xaxis.title.text = "minutes" + (titles ? "" : " since the trial began");
  if (titles && axis.x) layout.xaxis.title.text = titles[axis.x];
  if (axis.x && axis.x !== "updates") layout.shapes = (layout.shapes || []).filter((s) => s.yref !== "y domain");
  if (axis.y === "loss") {
    layout.yaxis.title.text = "loss"; layout.yaxis.type = "log"; delete layout.yaxis.range;
    layout.shapes = (layout.shapes || []).filter((s) => s.xref !== "x domain"); layout.annotations = [];
  }
  Plotly.react(place, data, layout, { responsive: true, displaylogo: false, displayModeBar: "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });
  if (!place.dataset.listens) {
    place.dataset.listens = "yes";
    place.on("plotly_click", (event) => {
      const number = event.points[0].customdata;
      if (number !== undefined && number !== null) mark(String(number).padStart(4, "0"));
    });
  }
  if (marked) overlay(place);
}
function exchanged(name, trace, source) {
  const axis = chosen[name];
  if (!axis || !source.meta) return trace;
  for (const each of ["x", "y"])
    trace[each] = source.meta[each]?.[axis[each]] ?? trace[each]; // what a trace lacks stays
  return trace;
}
function overlay(place) {
  const last = place.data.length - 1;
  if (last < 0 || place.data[last].name !== "selected") return;
  const x = [], y = [];
  place.data.slice(0, last).forEach((trace) => {
    if (!trace.customdata || x.length) return;
    trace.customdata.forEach((number, i) => {
      if (number !== null && String(number).padStart(4, "0") === marked) { x.push(trace.x[i]); y.push(trace.y[i]); }
    });
  });
  Plotly.restyle(place, { x: [x], y: [y] }, [last]);
}
function mark(trial) {
  marked = marked === trial ? null : trial;
  all("tr[data-trial]").forEach((row) => row.classList.toggle("selected", row.dataset.trial === marked));
  all(".plot").filter((place) => place.data).forEach(overlay);
}
async function unpacked(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}
async function start() {
  const script = document.createElement("script");
  script.textContent = await unpacked("plotly");
  document.head.append(script);
  // What is folded away has no width yet: it is drawn when it is opened.
  const draw = () => all(".plot").filter((place) => !place.closest("details:not([open])")).forEach(drawn);
  draw();
  all("details").forEach((each) => each.addEventListener("toggle", () => each.open && all(".plot", each).forEach(drawn)));
  dark.addEventListener("change", draw);
  all("[data-switch]").forEach((button) => button.addEventListener("click", () => {
    const { switch: name, axis, key } = button.dataset;
    (chosen[name] ??= {})[axis] = key;
    all("button", button.parentElement).forEach((b) => b.setAttribute("aria-pressed", b === button));
    drawn(document.querySelector(`[data-figure="${name}"]`));
  }));
  document.documentElement.dataset.drawn = "yes";
}

// --- tables -------------------------------------------------------------------------------------
const key = (cell) => cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
function compare(one, other) {
  if (one === "" || other === "") return (one === "") - (other === "");
  return typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other));
}
all("table").forEach((table) => {
  const heads = all("th", table), body = table.tBodies[0];
  heads.forEach((head, i) => {
    if ([...body.rows].some((row) => row.cells[i].className === "number")) head.className = "number";
    head.tabIndex = 0;
    const sort = () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      body.append(...[...body.rows].sort((a, b) => {
        const x = key(a.cells[i]), y = key(b.cells[i]);
        return x === "" || y === "" ? compare(x, y) : sign * compare(x, y);
      }));
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
});
all("tr[data-trial]").forEach((row) => {
  row.addEventListener("click", () => mark(row.dataset.trial));
  row.addEventListener("keydown", (event) => { if (event.key === "Enter") mark(row.dataset.trial); });
});
const latex = (text) => text.replace(/[\\&%$#_{}~^]/g, (c) => ({ "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" })[c] ?? "\\" + c);
const quoted = (text) => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
all("[data-copy]").forEach((button) => button.addEventListener("click", async () => {
  const table = button.closest(".table").querySelector("table");
  const rows = [...table.rows].filter((row) => !row.hidden);
  const cells = rows.map((row) => [...row.cells].map((cell) => cell.textContent));
  let text = rows.map((row) => [...row.cells].map((c) => quoted(c.dataset.value ?? c.textContent)).join(",")).join("\n");
  if (button.dataset.copy === "latex") {
    const lines = cells.map((row) => row.map(latex).join(" & ") + " \\\\");
    const columns = [...rows[0].cells].map((cell) => cell.className ? "r" : "l").join("");
    text = [`\\begin{tabular}{${columns}}`, "\\toprule", lines[0], "\\midrule", ...lines.slice(1), "\\bottomrule", "\\end{tabular}"].join("\n");
  }
  const before = button.textContent;
  try { await navigator.clipboard.writeText(text); button.textContent = "copied"; }
  catch { // a page opened from a file has no clipboard in some browsers
    const area = document.createElement("textarea");
    area.value = text; document.body.append(area); area.select();
    button.textContent = document.execCommand("copy") ? "copied" : "not copied"; area.remove();
  }
  setTimeout(() => { button.textContent = before; }, 1500);
}));
const filter = document.getElementById("filter");
if (filter) filter.addEventListener("input", () => {
  const table = filter.closest("section").querySelector("table");
  const names = all("th", table).map((head) => head.textContent.split(",")[0]);
  const terms = filter.value.trim().split(/\s+/).filter(Boolean).map((term) => {
    const match = /^(.+?)(<=|>=|=|<|>)(.+)$/.exec(term), column = match ? names.indexOf(match[1]) : -1;
    if (column < 0) return (row) => row.textContent.includes(term);
    const [, , sign, wanted] = match;
    return (row) => {
      const own = key(row.cells[column]), number = Number(wanted);
      if (own === "") return false;
      if (sign === "=") return String(own) === wanted || own === number || row.cells[column].textContent === wanted;
      return typeof own === "number" && { "<": own < number, ">": own > number, "<=": own <= number, ">=": own >= number }[sign];
    };
  });
  [...table.tBodies[0].rows].forEach((row) => { row.hidden = !terms.every((fits) => fits(row)); });
});

// --- pictures -----------------------------------------------------------------------------------
let difference = false;
const loupes = all(".photograph").map((figure) => {
  const side = Number(figure.dataset.side), images = all("img", figure);
  const window_ = { top: Number(figure.dataset.top), left: Number(figure.dataset.left) };
  const pixels = (image) => {
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(window_.left, window_.top, side, side);
  };
  const show = () => {
    if (images.some((image) => !image.complete || !image.naturalWidth)) return;
    const target = pixels(images[images.length - 1]);
    images.forEach((image) => {
      const canvas = image.nextElementSibling, part = pixels(image);
      if (difference) for (let i = 0; i < part.data.length; i += 1)
        if (i % 4 < 3) part.data[i] = 8 * Math.abs(part.data[i] - target.data[i]);
      canvas.width = canvas.height = side;
      canvas.getContext("2d").putImageData(part, 0, 0);
    });
  };
  const move = (top, left) => {
    const image = images[0], inside = (value, most) => Math.max(0, Math.min(most, Math.round(value)));
    window_.top = inside(top, image.naturalHeight - side); window_.left = inside(left, image.naturalWidth - side);
    show();
  };
  images.forEach((image) => {
    image.addEventListener("load", show);
    image.addEventListener("pointermove", (event) => {
      const box = image.getBoundingClientRect(), zoom = image.naturalWidth / box.width;
      move((event.clientY - box.top) * zoom - side / 2, (event.clientX - box.left) * zoom - side / 2);
    });
  });
  figure.addEventListener("keydown", (event) => {
    const by = { ArrowUp: [-4, 0], ArrowDown: [4, 0], ArrowLeft: [0, -4], ArrowRight: [0, 4] }[event.key];
    if (by) { event.preventDefault(); move(window_.top + by[0], window_.left + by[1]); }
  });
  show();
  return show;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "d" && event.target.tagName !== "INPUT" && !event.ctrlKey && !event.metaKey) {
    difference = !difference;
    loupes.forEach((show) => show());
  }
});
start();
