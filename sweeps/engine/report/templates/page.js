const dark = matchMedia("(prefers-color-scheme: dark)");

function looks(layout) {
  const text = dark.matches ? "#e6e9ed" : "#1f2328";
  const change = { "font.color": text };
  for (const key of Object.keys(layout)) {
    if (/^[xy]axis\d*$/.test(key)) change[`${key}.gridcolor`] = dark.matches ? "rgba(255,255,255,.14)" : "rgba(0,0,0,.1)";
  }
  return change;
}

const charts = [...document.querySelectorAll("[data-chart]")];
for (const chart of charts) {
  const { data, layout } = figures[chart.dataset.chart];
  Plotly.newPlot(chart, data, layout, { responsive: true, displaylogo: false })
    .then(() => Plotly.relayout(chart, looks(chart._fullLayout)));
}
dark.addEventListener("change", () => charts.forEach((chart) => Plotly.relayout(chart, looks(chart._fullLayout))));

const number = (text) => (/^[\d.,e+-]+(\/|$)/.test(text) ? parseFloat(text.replaceAll(",", "")) : NaN);

function compare(one, other) {
  const [a, b] = [number(one), number(other)];
  // What has no value stands last.
  if (isNaN(a) && isNaN(b)) return one.localeCompare(other);
  return isNaN(a) ? 1 : isNaN(b) ? -1 : a - b;
}

for (const table of document.querySelectorAll(".sortable")) {
  const titles = [...table.querySelectorAll("th")];
  titles.forEach((title, column) => title.addEventListener("click", () => {
    const order = title.dataset.order === "up" ? "down" : "up";
    titles.forEach((other) => delete other.dataset.order);
    title.dataset.order = order;
    const text = (row) => row.cells[column].textContent.trim();
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      if (text(a) === "–" || text(b) === "–") return (text(a) === "–") - (text(b) === "–");
      return order === "up" ? compare(text(a), text(b)) : compare(text(b), text(a));
    });
    table.tBodies[0].append(...rows);
  }));
}

document.getElementById("filter").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const row of document.querySelectorAll(".sortable tbody tr")) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
  }
});
