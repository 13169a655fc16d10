// Sorting: numbers by value, words by alphabet, what is missing always last.
(() => {
  const table = document.getElementById("{{ sorted|default("markers") }}");
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
