(() => {
  const byId = (id) => document.getElementById(id);

  // The large picture follows the chosen thumbnail.
  const base = byId("view-base");
  const heat = byId("view-heat");
  const caption = byId("view-caption");
  for (const choice of document.querySelectorAll("input[name=heatmap]")) {
    choice.addEventListener("change", () => {
      const heatmap = choice.value;
      base.setAttribute("href", heatmap ? "#slide-grey" : "#slide");
      if (heatmap) heat.setAttribute("href", "#" + heatmap); else heat.removeAttribute("href");
      heat.setAttribute("visibility", heatmap ? "visible" : "hidden");
      caption.textContent = choice.dataset.caption;
    });
    if (choice.checked) choice.dispatchEvent(new Event("change"));
  }
  const opacity = byId("opacity");
  if (opacity) opacity.addEventListener("input", () => heat.setAttribute("opacity", opacity.value / 100));
  const marks = byId("marks-shown");
  if (marks) marks.addEventListener("change", () => byId("marks").setAttribute("visibility", marks.checked ? "visible" : "hidden"));

  // Channels: a row of patches shows its false-colour pictures, or one measured marker in grey.
  const channels = JSON.parse(byId("channels").textContent);
  const show = (row, marker) => {
    for (const patch of row.querySelectorAll("[data-patch]")) {
      const found = marker ? (channels[patch.dataset.patch] || {})[marker] : null;
      patch.dataset.state = !marker ? "composite" : found ? "channel" : "missing";
      const image = patch.querySelector("image");
      if (found) image.setAttribute("href", found[0]); else image.removeAttribute("href");
      const said = patch.parentElement.querySelector(".channel-said");
      said.textContent = !marker ? "" : found ? marker + ": " + found[1] : marker + ": not measured";
      patch.setAttribute("aria-label", patch.dataset.name + (marker ? ", " + said.textContent : ", false colours"));
    }
  };
  const pickers = [...document.querySelectorAll("select[data-row]")];
  for (const picker of pickers) {
    picker.addEventListener("change", () => show(byId(picker.dataset.row), picker.value));
  }
  const all = byId("all-rows");
  if (all) all.addEventListener("change", () => {
    for (const picker of pickers) {
      picker.value = all.value;
      show(byId(picker.dataset.row), all.value);
    }
  });
})();
