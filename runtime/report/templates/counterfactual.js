"use strict";
(() => {
  document.documentElement.classList.add("js");
  const byId = (id) => document.getElementById(id);

  // The three maps follow the chosen marker.
  for (const choice of document.querySelectorAll("input[name=marker]")) {
    choice.addEventListener("change", () => {
      for (const view of ["before", "after", "difference"]) byId("view-" + view).setAttribute("href", "#" + view + "-" + choice.value);
      byId("view-name").textContent = choice.dataset.caption;
    });
    if (choice.checked) choice.dispatchEvent(new Event("change"));
  }

  // Sorting: numbers by value, words by alphabet, what is missing always last.
  const table = byId("markers");
  const headers = [...table.querySelectorAll("thead th")];
  const compare = (column, sign) => (a, b) => {
    const [x, y] = [a, b].map((row) => row.cells[column].dataset.sort);
    if (x === "" || y === "") return (x === "") - (y === "");
    const numeric = Number(x) - Number(y);
    return sign * (Number.isNaN(numeric) ? x.localeCompare(y) : numeric);
  };
  headers.forEach((header, column) => {
    const button = header.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const descending = header.getAttribute("aria-sort") !== "descending" && header.dataset.first === "descending"
        || header.getAttribute("aria-sort") === "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(compare(column, descending ? -1 : 1)));
    });
  });
})();
