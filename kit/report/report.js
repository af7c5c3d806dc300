// The gallery: sort, filter, copy as CSV, and a viewer with layers and zoom. Without scripts the page shows all images.
"use strict";
const gallery = document.getElementById("gallery"), viewer = document.getElementById("viewer");
if (gallery) {
  const items = [...gallery.children], byId = new Map(items.map(item => [item.dataset.id, item]));
  const control = name => document.getElementById("g-" + name);
  const number = (item, key) => item.dataset[key] === "" ? null : Number(item.dataset[key]);
  const scores = items.map(item => number(item, "score")).filter(score => score !== null);
  const [lowest, highest] = [Math.min(0, ...scores), Math.max(1, ...scores)];

  function shown() { return [...gallery.children].filter(item => !item.hidden); }

  function update() {
    const [key, sign] = control("sort").value.split(" "), text = control("text").value.trim().toLowerCase();
    const fold = control("fold").value, below = Number(control("below").value), all = below >= highest;
    const byNumber = (a, b) => {  // images without one come last
      const [one, other] = [number(a, key), number(b, key)];
      return one === null || other === null ? (one === null) - (other === null) : sign * (one - other);
    };
    const order = key === "id" ? (a, b) => a.dataset.id.localeCompare(b.dataset.id, "en", { numeric: true }) : byNumber;
    for (const item of items) {
      const words = (item.dataset.id + " " + item.dataset.group).toLowerCase();
      item.hidden = !(words.includes(text) && (fold === "" || item.dataset.fold === fold)
        && (all || (number(item, "score") !== null && number(item, "score") <= below)));
    }
    gallery.append(...items.toSorted(order));
    control("limit").textContent = all ? "all" : "≤ " + below.toFixed(2);
    control("count").textContent = shown().length + " of " + items.length + " images";
  }

  function csv() {
    const quoted = value => /[",\n]/.test(value) ? '"' + value.replaceAll('"', '""') + '"' : value;
    const columns = ["id", "group", "fold", "score", "dice", "area"];
    return [columns, ...shown().map(item => columns.map(name => quoted(item.dataset[name])))].join("\n") + "\n";
  }

  control("copy").addEventListener("click", () => {
    const area = document.createElement("textarea");
    area.value = csv();
    document.body.append(area);
    area.select();
    document.execCommand("copy");  // the newer way needs a server, and this page is a file
    area.remove();
    control("count").textContent = shown().length + " rows copied";
  });
  for (const name of ["sort", "text", "fold", "below"]) control(name).addEventListener("input", update);

  let current = null, layer = 0, zoom = 1;
  const part = name => document.getElementById("v-" + name);

  function layers(item) {
    const card = document.getElementById(item.dataset.card);
    const drawings = card ? [...card.querySelectorAll("img")] : [];
    return drawings.length ? drawings : [item.querySelector("img")];
  }

  function show() {
    const drawings = layers(current);
    layer = Math.min(layer, drawings.length - 1);
    part("image").src = drawings[layer].src;
    part("image").alt = drawings[layer].alt;
    part("image").style.width = 100 * zoom + "%";
    part("image").style.height = 62 * zoom + "vh";
    part("image").classList.toggle("small", drawings.length === 1);
    part("facts").textContent = current.querySelector("img").alt;
    part("layers").replaceChildren(...drawings.map((drawing, at) => {
      const button = document.createElement("button");
      button.textContent = at + 1 + " " + drawing.alt.slice(drawing.alt.lastIndexOf(": ") + 2);
      button.setAttribute("aria-pressed", at === layer);
      button.addEventListener("click", () => go(current, at));
      return button;
    }));
    if (!viewer.open) viewer.showModal();
  }

  function go(item, at = layer) {
    const hash = "#id=" + encodeURIComponent(item.dataset.id) + "&layer=" + (at + 1);
    if (location.hash === hash) follow(); else location.hash = hash;
  }

  function step(by) {
    const order = shown(), at = order.indexOf(current) + by;
    if (at >= 0 && at < order.length) go(order[at]);
  }

  function follow() {
    const asked = new URLSearchParams(location.hash.slice(1)), item = byId.get(asked.get("id") ?? undefined);
    if (!item) { if (viewer.open) viewer.close(); return; }
    if (item !== current) zoom = 1;
    [current, layer] = [item, Math.max(0, Number(asked.get("layer") ?? 1) - 1)];
    show();
  }

  function magnify(factor) { zoom = Math.min(8, Math.max(1, zoom * factor)); show(); }

  gallery.addEventListener("click", event => {
    const item = event.target.closest("li");
    if (item) { event.preventDefault(); go(item, 0); }
  });
  viewer.addEventListener("close", () => history.replaceState(null, "", "#gallery"));
  viewer.addEventListener("keydown", event => {
    const moves = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), "+": () => magnify(2), "=": () => magnify(2),
      "-": () => magnify(0.5), 0: () => magnify(1 / 8) };
    if (moves[event.key]) { moves[event.key](); event.preventDefault(); }
    if (/^[1-9]$/.test(event.key) && event.key <= layers(current).length) go(current, event.key - 1);
  });
  part("before").addEventListener("click", () => step(-1));
  part("next").addEventListener("click", () => step(1));
  part("in").addEventListener("click", () => magnify(2));
  part("out").addEventListener("click", () => magnify(0.5));
  part("close").addEventListener("click", () => viewer.close());
  addEventListener("hashchange", follow);
  Object.assign(control("below"), { min: lowest, max: highest, step: (highest - lowest) / 100, value: highest });
  document.documentElement.classList.add("scripted");
  update();
  follow();
}
