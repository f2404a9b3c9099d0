// Draws the charts when they come near the window, and the others while nothing else is to be done: paper shows them all.
(() => {
  "use strict";
  const looks = JSON.parse(document.getElementById("looks").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const plots = [...document.querySelectorAll(".plot")];
  const drawn = new Map(); // by plot: its view and the width and the look that it was drawn for

  function arrange(spec, width) { // as many panels in a row as have room; on a phone two smaller ones
    spec.columns = Math.floor((width - 40) / (spec.usermeta.panel + 25));
    if (spec.columns > 1) return;
    const square = spec.spec.width === spec.spec.height;
    spec.columns = 2;
    spec.spec.width = Math.floor((width - 110) / 2);
    if (square) spec.spec.height = spec.spec.width;
    for (const layer of spec.spec.layer ?? []) if (layer.mark.type === "text") layer.mark.fontSize = 8;
    Object.assign(spec.facet.header, { labelFontSize: 10, labelLimit: spec.spec.width + 25 });
  }

  async function draw(plot) {
    const look = dark.matches ? "dark" : "light", width = plot.clientWidth, before = drawn.get(plot);
    if (!width || (before && before.look === look && Math.abs(before.width - width) < 8)) return;
    drawn.set(plot, { look, width });
    const spec = JSON.parse(document.getElementById(plot.dataset.spec).textContent), config = structuredClone(looks[look]);
    const names = (spec.layer ?? []).flatMap((layer) => layer.encoding.color?.legend?.values ?? []);
    const longest = Math.min(config.legend.labelLimit, 7 * Math.max(10, ...names.map((name) => name.length))); // pixels, about
    config.legend.columns = Math.max(1, Math.floor((width - 60) / (longest + 30)));
    config.axis.labelLimit = Math.min(config.axis.labelLimit, width / 3);
    if (spec.facet) arrange(spec, width);
    try {
      // `ast`: formulas are interpreted, so that the page's policy can forbid code made from text.
      const result = await vegaEmbed(plot, spec, { ast: true, actions: false, renderer: "svg", config, tooltip: { theme: look } });
      before?.result?.finalize();
      drawn.set(plot, { look, width, result });
      plot.querySelector("svg").setAttribute("aria-hidden", "true"); // its place is an image with a text of its own
      plot.dataset.drawn = look;
    } catch (error) {
      plot.textContent = `This chart could not be drawn: ${error.message}. Its figures are in the table below.`;
      console.error(error);
    }
  }

  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "400px" });
  plots.forEach((plot) => near.observe(plot));

  const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 200));
  const rest = async (number) => {
    if (number === plots.length) return;
    await draw(plots[number]);
    idle(() => rest(number + 1));
  };
  addEventListener("load", () => idle(() => rest(0)));

  let waiting;
  const again = () => { clearTimeout(waiting); waiting = setTimeout(() => [...drawn.keys()].forEach(draw), 150); };
  addEventListener("resize", again);
  dark.addEventListener("change", again);
  // A chart on paper keeps the hues it has; the style sheet sets its words and lines to black.

  for (const field of document.querySelectorAll("input[data-filters]")) {
    const table = document.getElementById(field.dataset.filters), rows = [...table.tBodies[0].rows], said = field.closest(".tools").querySelector("output");
    field.oninput = () => {
      const wanted = field.value.trim().toLocaleLowerCase();
      let left = 0;
      for (const row of rows) { row.hidden = !row.textContent.toLocaleLowerCase().includes(wanted); left += !row.hidden; }
      said.textContent = wanted ? `${left} of ${rows.length} rows` : "";
    };
  }
})();
