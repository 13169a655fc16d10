(() => {
  const byId = (id) => document.getElementById(id);

  // The three maps follow the chosen marker.
  for (const choice of document.querySelectorAll("input[name=marker]")) {
    choice.addEventListener("change", () => {
      for (const view of ["before", "after", "difference"]) byId("view-" + view).setAttribute("href", "#" + view + "-" + choice.value);
      byId("view-name").textContent = choice.dataset.caption;
    });
    if (choice.checked) choice.dispatchEvent(new Event("change"));
  }
})();
