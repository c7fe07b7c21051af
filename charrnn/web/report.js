// Reads values from the charts with the pointer or the arrow keys, and reloads the page of a run that is being trained.
"use strict";

const charts = JSON.parse(document.getElementById("charts").textContent);

for (const plot of document.querySelectorAll(".plot")) {
  const chart = charts[Number(plot.dataset.chart)];
  const cursor = plot.querySelector(".cursor");
  const readout = plot.closest("figure").querySelector(".readout");
  const hint = readout.textContent;
  const places = [...new Set(chart.curves.flatMap((curve) => curve.points.map((point) => point[0])))].sort((a, b) => a - b);
  let selected = -1;

  const select = (number) => {
    selected = Math.max(0, Math.min(places.length - 1, number));
    const x = places[selected];
    const share = `${(100 * x) / chart.end}%`;
    cursor.setAttribute("x1", share);
    cursor.setAttribute("x2", share);
    cursor.removeAttribute("visibility");
    const values = chart.curves.map((curve) => {
      const known = curve.points.filter((point) => point[0] <= x);
      return known.length ? `${curve.label} ${known[known.length - 1][1].toFixed(4)}` : "";
    });
    readout.textContent = `${chart.x} ${Math.round(x).toLocaleString("en")}: ${values.filter(Boolean).join(", ")}`;
  };

  const clear = () => {
    selected = -1;
    cursor.setAttribute("visibility", "hidden");
    readout.textContent = hint;
  };

  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * chart.end;
    const distances = places.map((place) => Math.abs(place - x));
    select(distances.indexOf(Math.min(...distances)));
  });
  plot.addEventListener("pointerleave", clear);
  plot.addEventListener("blur", clear);
  plot.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: selected - 1, ArrowRight: selected + 1, Home: 0, End: places.length - 1 };
    if (event.key in moves) {
      event.preventDefault();
      select(selected < 0 && event.key === "ArrowLeft" ? places.length - 1 : moves[event.key]);
    } else if (event.key === "Escape") {
      clear();
    }
  });
}

// A reload keeps the place in the page. It waits while a chart is being read or the page is hidden.
const seconds = Number(document.querySelector("[data-refresh]")?.dataset.refresh ?? 0);
if (seconds) {
  setInterval(() => {
    if (!document.hidden && !document.activeElement?.matches(".plot")) {
      location.reload();
    }
  }, 1000 * seconds);
}
