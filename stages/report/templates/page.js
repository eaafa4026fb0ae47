"use strict";
// Draws the charts, and again when the colour scheme changes.
const specs = JSON.parse(document.getElementById("charts").textContent);
const drawn = new Map();
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function theme(width) {
  const ink = colour("--ink"), soft = colour("--soft"), line = colour("--line"), first = colour("--c1");
  const isNarrow = width < 380;
  return {
    background: "transparent",
    font: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif",
    view: { stroke: null },
    range: {
      category: [1, 2, 3, 4, 5, 6].map((i) => colour(`--c${i}`)), heatmap: { scheme: "viridis" },
      versus: [first, colour("--c6")], balance: [colour("--c6"), line, first],
    },
    axis: {
      labelColor: soft, titleColor: soft, titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 11,
      gridColor: line, domainColor: line, tickColor: line, labelLimit: isNarrow ? 100 : 180, labelOverlap: true,
    },
    axisY: { domain: false, ticks: false, labelPadding: 6 },
    axisQuantitative: { tickCount: isNarrow ? 4 : 7 },
    axisDiscrete: { grid: false },
    legend: {
      orient: "top", direction: "horizontal", title: null, titleColor: soft, labelColor: ink, labelFontSize: 12, symbolSize: 90,
      columns: isNarrow ? 2 : 6, labelLimit: isNarrow ? 110 : 140, symbolOpacity: 1,
    },
    bar: { color: first }, line: { color: first, strokeWidth: 2 }, area: { color: first },
    rect: { color: first }, point: { color: first }, rule: { color: soft }, text: { color: ink },
    style: {
      budget: { color: colour("--limit"), strokeDash: [6, 4], strokeWidth: 1.5 },
      "budget-label": { color: colour("--limit"), fontSize: 12 },
      edged: { stroke: colour("--card"), strokeWidth: 1 },
      cell: { color: colour("--page"), stroke: line, strokeWidth: 1 },
      chunk: { stroke: colour("--card"), strokeWidth: 0.5 },
    },
  };
}

async function draw(place) {
  drawn.get(place)?.finalize();
  const spec = { width: "container", autosize: { type: "fit-x", contains: "padding" }, ...specs[place.id] };
  // Vega names the element it draws into "Vega visualization"; the place keeps the name it has.
  // ast: expressions are interpreted, so the page's security policy need not allow eval.
  const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, config: theme(place.clientWidth) };
  try {
    drawn.set(place, await vegaEmbed(place.firstElementChild, spec, options));
    place.dataset.state = "drawn";
  } catch (error) {
    place.dataset.state = "failed";
    place.textContent = `This chart cannot be drawn: ${error.message}`;
    console.error(place.id, error);
  }
}

const places = [...document.querySelectorAll(".chart")];

async function drawAll() {
  for (const place of places) {
    await draw(place);
    await new Promise((resolve) => setTimeout(resolve)); // the page answers between two charts
  }
}

// All are drawn at once, top to bottom, so that the page has its full height before long.
let drawing = drawAll();

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  places.forEach((place) => delete place.dataset.state);
  drawing = drawing.then(drawAll);
});

// Charts above a heading push it down while they are drawn: a link that was followed meanwhile is followed again.
const followLink = () => drawing.then(() => document.getElementById(location.hash.slice(1))?.scrollIntoView());
addEventListener("hashchange", followLink);
followLink();

const contents = document.querySelector("nav details");
contents.open = matchMedia("(min-width: 62rem)").matches;
