"use strict";

for (const figure of document.querySelectorAll("figure.pictures")) {
  const frame = figure.querySelector(".compare");
  const slider = frame.querySelector("input");
  const follow = () => {
    frame.style.setProperty("--at", slider.value + "%");
    slider.setAttribute("aria-valuetext", slider.value + " % from the left");
  };
  slider.addEventListener("input", follow);
  follow();

  const sources = new Map();
  for (const image of figure.querySelectorAll("template.layer")) {
    sources.set(image.dataset.name, image.dataset.src);
  }
  for (const select of figure.querySelectorAll("select")) {
    const show = () => {
      const side = select.dataset.side;
      const image = frame.querySelector(side === "left" ? ".under" : ".over");
      image.src = sources.get(select.value);
      image.alt = select.value;
      frame.querySelector(".name." + side).textContent = select.value;
    };
    select.addEventListener("change", show);
    show();
  }
}

for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const body = table.tBodies[0];
      const rows = [...body.rows];
      rows.sort((a, b) => order(a.cells[column], b.cells[column], ascending));
      body.append(...rows);
    });
  });
}

// Numbers by their value, everything else by its letters; cells with nothing in them come last, whichever way.
function order(a, b, ascending) {
  const emptiness = (a.textContent === "") - (b.textContent === "");
  if (emptiness !== 0) return emptiness;
  const numbers = "value" in a.dataset && "value" in b.dataset;
  const difference = numbers
    ? Number(a.dataset.value) - Number(b.dataset.value)
    : a.textContent.localeCompare(b.textContent, "en", { numeric: true });
  return ascending ? difference : -difference;
}
