// The side panel tells z, or the experts' colours, by what the large picture shows.
(() => {
  const view = document.querySelector(".view");
  const numbers = document.getElementById("view-numbers");
  for (const choice of document.querySelectorAll("input[name=heatmap]")) {
    const follow = () => {
      const experts = choice.value === "experts-map";
      view.dataset.map = experts ? "experts" : "";
      numbers.setAttribute("visibility", experts ? "visible" : "hidden");
    };
    choice.addEventListener("change", follow);
    if (choice.checked) follow();
  }
})();
