// A confusion matrix on a canvas: where it stands, how large its cells are, and how it is drawn.
"use strict";
const LABEL = 12, COUNTED = 26, LARGEST = 72, EDGE = 8; // CSS pixels: a label's letters, a cell with its count, any cell, room at the edge

class MatrixView {
  constructor(canvas, names) {
    Object.assign(this, { canvas, names, size: names.length, context: canvas.getContext("2d"), row: 0, column: 0, marked: null });
    this.fill(new Uint32Array(this.size ** 2));
  }

  fill(counts) {
    this.counts = counts;
    this.support = this.names.map((_, row) => counts.subarray(row * this.size, (row + 1) * this.size).reduce((a, b) => a + b, 0));
  }

  get focused() { return document.activeElement === this.canvas; }
  get middle() { return [(this.width + this.margin) / 2, (this.height + this.margin) / 2]; }

  measure() { // as wide as its place, and as high as the matrix needs if the window has that much
    const { canvas, context } = this, ratio = devicePixelRatio || 1, room = Math.min(240, Math.max(110, canvas.clientWidth * 0.27));
    this.width = canvas.clientWidth - EDGE;
    context.font = `bold ${LABEL}px system-ui, sans-serif`;
    this.labels = this.names.map((name) => this.cut(name, room));
    this.margin = Math.ceil(Math.max(...this.labels.map((label) => context.measureText(label).width)) + 10);
    const most = Math.max(320, Math.min(760, 0.85 * innerHeight)), cell = Math.min(LARGEST, (this.width - this.margin) / this.size);
    this.height = Math.round(Math.min(most, this.margin + cell * this.size));
    canvas.style.height = `${this.height + EDGE}px`;
    canvas.width = Math.round((this.width + EDGE) * ratio);
    canvas.height = Math.round((this.height + EDGE) * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  cut(name, room) { // in the middle: names often differ at both ends
    let kept = Math.min(name.length, 100), text = kept < name.length ? `${name.slice(0, 50)}…${name.slice(-50)}` : name;
    while (this.context.measureText(text).width > room && kept > 2) {
      kept -= 1;
      text = `${name.slice(0, Math.ceil(kept / 2))}…${name.slice(name.length - Math.floor(kept / 2))}`;
    }
    return text;
  }

  fit() {
    this.measure();
    this.smallest = Math.min((this.width - this.margin) / this.size, (this.height - this.margin) / this.size, LARGEST);
    this.cell = this.smallest;
    this.x = this.y = 0;
    this.settle();
  }

  settle() { // keep the matrix in its window, then draw
    const least = (room) => Math.min(0, room - this.margin - this.cell * this.size);
    this.x = Math.min(0, Math.max(least(this.width), this.x));
    this.y = Math.min(0, Math.max(least(this.height), this.y));
    // A finger scrolls the page unless there is something to move in the matrix.
    this.canvas.style.touchAction = this.cell > this.smallest * 1.01 ? "none" : "pan-x pan-y";
    this.draw();
  }

  zoom(factor, [x, y] = this.middle) {
    const cell = Math.min(LARGEST, Math.max(this.smallest, this.cell * factor)), grown = cell / this.cell;
    this.x = x - this.margin - (x - this.margin - this.x) * grown;
    this.y = y - this.margin - (y - this.margin - this.y) * grown;
    this.cell = cell;
    this.settle();
  }

  show(row, column) { // bring a cell to the middle, large enough to read what stands around it
    [this.row, this.column] = [row, column];
    this.cell = Math.max(this.cell, Math.min(LARGEST, 2 * LABEL));
    this.x = (this.width - this.margin) / 2 - (column + 0.5) * this.cell;
    this.y = (this.height - this.margin) / 2 - (row + 0.5) * this.cell;
    this.settle();
  }

  step(rows, columns) { // the cursor, followed by the window
    const within = (place) => Math.min(this.size - 1, Math.max(0, place));
    const into = (start, place, room) => Math.max(-place * this.cell, Math.min(start, room - this.margin - (place + 1) * this.cell));
    [this.row, this.column] = [within(this.row + rows), within(this.column + columns)];
    this.x = into(this.x, this.column, this.width);
    this.y = into(this.y, this.row, this.height);
    this.settle();
  }

  under([x, y]) {
    const column = Math.floor((x - this.margin - this.x) / this.cell), row = Math.floor((y - this.margin - this.y) / this.cell);
    return x >= this.margin && y >= this.margin && row < this.size && column < this.size ? [row, column] : null;
  }

  draw() {
    if (!this.width) return;
    const { context, cell, margin, size, x, y } = this, style = getComputedStyle(this.canvas);
    const [card, ink, paper, faint, right, wrong] = ["card", "ink", "paper", "faint", "right", "wrong"].map((name) => style.getPropertyValue(`--${name}`));
    const range = (start, room) => [Math.max(0, Math.floor(-start / cell)), Math.min(size, Math.ceil((room - margin - start) / cell))];
    const rows = range(y, this.height), columns = range(x, this.width), gap = cell > 9 ? 1 : 0;
    const width = Math.min(this.width - margin, cell * size), height = Math.min(this.height - margin, cell * size);
    context.clearRect(0, 0, this.width + EDGE, this.height + EDGE);
    context.save();
    context.translate(margin, margin);
    context.beginPath();
    context.rect(0, 0, width, height);
    context.clip();
    context.fillStyle = card;
    context.fillRect(0, 0, width, height);
    Object.assign(context, { textAlign: "center", textBaseline: "middle", font: `${LABEL}px system-ui, sans-serif` });
    for (let row = rows[0]; row < rows[1]; row++) for (let column = columns[0]; column < columns[1]; column++) {
      const count = this.counts[row * size + column];
      if (!count) continue;
      const strength = 0.12 + 0.88 * Math.sqrt(count / this.support[row]), left = x + column * cell, top = y + row * cell;
      context.globalAlpha = strength;
      context.fillStyle = row === column ? right : wrong;
      context.fillRect(left, top, Math.max(1, cell - gap), Math.max(1, cell - gap));
      context.globalAlpha = 1;
      context.fillStyle = strength > 0.7 ? paper : ink;
      if (cell >= COUNTED) context.fillText(count, left + cell / 2, top + cell / 2 + 1, cell - 4);
    }
    context.strokeStyle = ink;
    if (this.marked !== null) {
      context.strokeRect(-2, y + this.marked * cell, width + 4, cell);
      context.strokeRect(x + this.marked * cell, -2, cell, height + 4);
    }
    if (this.focused) {
      context.lineWidth = 3;
      context.strokeRect(x + this.column * cell - 1, y + this.row * cell - 1, Math.max(cell, 6) + 1, Math.max(cell, 6) + 1);
    }
    context.restore();
    this.write(rows, y, height, false, [this.marked, this.focused ? this.row : null], ink, faint);
    this.write(columns, x, width, true, [this.marked, this.focused ? this.column : null], ink, faint);
  }

  write([first, end], start, room, upright, special, ink, faint) { // names, as many as have room; those of the special classes always
    const { context, cell, margin } = this, every = Math.ceil((LABEL + 1) / cell);
    for (let place = first; place < end; place++) {
      const bold = special.includes(place), at = start + (place + 0.5) * cell;
      if (!bold && (place % every || special.some((other) => other !== null && Math.abs(other - place) < every))) continue;
      if (at < 0 || at > room) continue;
      context.save();
      context.translate(...(upright ? [margin + at, margin - 5] : [margin - 5, margin + at]));
      if (upright) context.rotate(-Math.PI / 2);
      Object.assign(context, { textAlign: upright ? "left" : "right", textBaseline: "middle", fillStyle: bold ? ink : faint, font: `${bold ? "bold " : ""}${LABEL}px system-ui, sans-serif` });
      context.fillText(this.labels[place], 0, 0, margin - 8);
      context.restore();
    }
  }
}
