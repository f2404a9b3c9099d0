// Confusion matrices: choosing a run, searching a class, and reading the matrix by pointer, touch or keys.
(() => {
  "use strict";
  const percent = (share) => `${(100 * share).toFixed(share && share < 0.1 ? 1 : 0)} %`;
  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -Infinity], End: [0, Infinity], PageUp: [-10, 0], PageDown: [10, 0] };
  const ZOOMS = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 };

  class Viewer {
    constructor(box) {
      Object.assign(this, JSON.parse(document.getElementById(box.dataset.source).textContent)); // classes, options, runs
      for (const part of ["canvas", "select", "input", "output", "tbody", "caption"]) this[part] = box.querySelector(part);
      this.view = new MatrixView(this.canvas, this.classes);
      this.touches = new Map();
      this.options.forEach((option, number) => this.select.add(new Option(option.label, number)));
      this.select.onchange = () => this.choose();
      this.input.oninput = () => this.search(0);
      this.input.onkeydown = (event) => { if (event.key === "Enter") this.search(this.found + 1); };
      box.querySelector(".closer").onclick = () => this.view.zoom(1.5);
      box.querySelector(".farther").onclick = () => this.view.zoom(1 / 1.5);
      box.querySelector(".whole").onclick = () => this.view.fit();
      this.listen();
      this.choose();
      this.view.fit();
    }

    listen() {
      const { canvas, view } = this;
      canvas.onkeydown = (event) => this.key(event);
      canvas.onfocus = () => { view.draw(); this.read(view.row, view.column); };
      canvas.onblur = () => view.draw();
      canvas.onpointerdown = (event) => this.press(event);
      canvas.onpointermove = (event) => this.move(event);
      canvas.onpointerup = canvas.onpointercancel = (event) => this.release(event);
      canvas.addEventListener("wheel", (event) => {
        if (!view.focused && !event.ctrlKey) return; // else nobody could scroll past it
        event.preventDefault();
        view.zoom(Math.exp(-event.deltaY / 300), this.place(event));
      }, { passive: false });
      new ResizeObserver(() => { if (canvas.clientWidth !== view.width + EDGE) view.fit(); }).observe(canvas);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view.draw());
      matchMedia("print").addEventListener("change", () => view.draw());
    }

    choose() {
      const counts = new Uint32Array(this.classes.length ** 2);
      for (const run of this.options[this.select.value]?.runs ?? []) {
        let cell = 0;
        for (const number of this.runs[run]) { // a negative number stands for that many empty cells
          if (number < 0) cell -= number; else counts[cell++] += number;
        }
      }
      this.view.fill(counts);
      this.view.draw();
      this.list();
      this.read(this.view.row, this.view.column);
    }

    list() { // the most frequent errors, of the class that is searched or of all
      const { counts, support, size, marked } = this.view, errors = [];
      for (let row = 0; row < size; row++) for (let column = 0; column < size; column++) {
        const count = counts[row * size + column];
        if (count && row !== column && (marked === null || row === marked || column === marked)) errors.push([count, row, column]);
      }
      errors.sort((a, b) => b[0] - a[0]);
      this.caption.textContent = marked === null ? "Most frequent errors" : `Most frequent errors with ${this.classes[marked]}`;
      this.tbody.replaceChildren(...errors.slice(0, 12).map(([count, row, column]) => {
        const line = document.createElement("tr"), jump = document.createElement("button");
        jump.type = "button";
        jump.textContent = this.classes[row];
        jump.onclick = () => { this.view.show(row, column); this.read(row, column); };
        line.insertCell().append(jump);
        for (const text of [this.classes[column], count.toLocaleString("en"), percent(count / support[row])]) line.insertCell().textContent = text;
        return line;
      }));
    }

    search(number) {
      const wanted = this.input.value.trim().toLocaleLowerCase(), lower = this.classes.map((name) => name.toLocaleLowerCase());
      const matches = wanted ? [...lower.keys()].filter((one) => lower[one].includes(wanted)) : [];
      matches.sort((a, b) => lower[b].startsWith(wanted) - lower[a].startsWith(wanted));
      this.found = matches.length ? number % matches.length : 0;
      this.view.marked = matches.length ? matches[this.found] : null;
      this.list();
      if (!matches.length) {
        this.view.fit();
        this.output.textContent = wanted ? `No class is called “${this.input.value}”.` : "";
        return;
      }
      const { marked, counts, support, size } = this.view, right = counts[marked * (size + 1)], of = support[marked];
      this.view.show(marked, marked);
      const more = matches.length > 1 ? ` Match ${this.found + 1} of ${matches.length}; press Enter for the next.` : "";
      this.output.textContent = `${this.classes[marked]}: ${right} of ${of} correct${of ? ` (${percent(right / of)})` : ""}.${more}`;
    }

    read(row, column) {
      const { counts, support, size } = this.view, count = counts[row * size + column], of = support[row];
      const share = of ? ` (${percent(count / of)})` : "";
      this.output.textContent = `True ${this.classes[row]}, predicted ${this.classes[column]}: ${count.toLocaleString("en")} of ${of.toLocaleString("en")}${share}`;
    }

    key(event) {
      const { view } = this;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key in STEPS) {
        view.step(...STEPS[event.key]);
        this.read(view.row, view.column);
      } else if (event.key in ZOOMS) {
        view.zoom(ZOOMS[event.key], [view.margin + view.x + (view.column + 0.5) * view.cell, view.margin + view.y + (view.row + 0.5) * view.cell]);
      } else if (event.key === "0") view.fit();
      else return;
      event.preventDefault();
    }

    place(event) {
      const corner = this.canvas.getBoundingClientRect();
      return [event.clientX - corner.left, event.clientY - corner.top];
    }

    press(event) {
      this.canvas.setPointerCapture(event.pointerId);
      this.touches.set(event.pointerId, this.place(event));
      this.still = this.touches.size === 1;
    }

    move(event) {
      const { view, touches } = this, now = this.place(event), before = touches.get(event.pointerId);
      if (!before) { // hovering
        const cell = view.under(now);
        if (cell) this.read(...cell);
        return;
      }
      if (this.still && Math.hypot(now[0] - before[0], now[1] - before[1]) < 5) return; // a tap that trembles
      this.still = false;
      view.x += (now[0] - before[0]) / touches.size;
      view.y += (now[1] - before[1]) / touches.size;
      const other = [...touches].find(([id]) => id !== event.pointerId)?.[1];
      touches.set(event.pointerId, now);
      if (!other) return view.settle();
      const gap = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
      view.zoom(gap(now) / Math.max(1, gap(before)), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
    }

    release(event) {
      const cell = this.still && event.type === "pointerup" ? this.view.under(this.place(event)) : null;
      this.touches.delete(event.pointerId);
      if (!cell) return;
      [this.view.row, this.view.column] = cell;
      this.view.draw();
      this.read(...cell);
    }
  }

  for (const box of document.querySelectorAll(".confusion")) new Viewer(box);
})();
