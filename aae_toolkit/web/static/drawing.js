// Drawing area: turns pointers and keys into strokes.

import { PEN, drawStrokes } from "./strokes.js";

const RESOLUTION = 480; // canvas pixels on the shorter side
const STEP = 0.025; // step of the pen for an arrow key
const FAR = 4; // factor for steps with Shift
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Drawing {
  /** Listen on a canvas; call `onChange(strokes)` at every change. */
  constructor(canvas, [, height, width], onChange) {
    this.canvas = canvas;
    this.onChange = onChange;
    this.strokes = [];
    this.size = [width, height].map((side) => side / Math.min(width, height));
    [canvas.width, canvas.height] = this.size.map((side) => Math.round(side * RESOLUTION));
    this.pen = this.size.map((side) => side / 2); // position of the pen that keys move
    this.down = false;
    canvas.addEventListener("pointerdown", (event) => this.#pointerDown(event));
    canvas.addEventListener("pointermove", (event) => this.#pointerMove(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (this.pointer = undefined));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    for (const change of ["focus", "blur"]) canvas.addEventListener(change, () => this.#draw());
    this.#draw();
  }

  clear() {
    this.strokes = [];
    this.#lift();
    this.#changed();
  }

  undo() {
    this.strokes.pop();
    this.#lift();
    this.#changed();
  }

  /** End the stroke that is being drawn, by a pointer or by keys. */
  #lift() {
    this.pointer = undefined;
    this.down = false;
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    return at.map((share, axis) => this.#within(share * this.size[axis], axis));
  }

  #within(value, axis) {
    return Math.min(this.size[axis], Math.max(0, value));
  }

  #pointerDown(event) {
    if (!event.isPrimary || event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.#lift();
    this.pointer = event.pointerId;
    this.strokes.push([this.#point(event)]);
    this.#changed();
  }

  #pointerMove(event) {
    if (event.pointerId !== this.pointer) return;
    const moves = event.getCoalescedEvents?.() ?? [];
    this.strokes.at(-1).push(...(moves.length ? moves : [event]).map((move) => this.#point(move)));
    this.#changed();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) {
      const step = event.shiftKey ? STEP * FAR : STEP;
      this.pen = this.pen.map((value, axis) => this.#within(value + ARROWS[event.key][axis] * step, axis));
      if (this.down) this.strokes.at(-1).push([...this.pen]);
    } else if (event.key === " ") {
      this.down = !this.down;
      if (this.down) this.strokes.push([[...this.pen]]);
    } else if (event.key === "Backspace") {
      this.undo();
    } else if (event.key === "Delete") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault(); // keep arrows and Space from scrolling
    this.#changed();
  }

  #changed() {
    this.#draw();
    this.onChange(this.strokes);
  }

  #draw() {
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    const unit = Math.min(width, height);
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    drawStrokes(context, this.strokes, (point) => point.map((v) => v * unit), PEN * unit);
    if (document.activeElement === this.canvas && this.canvas.matches(":focus-visible")) {
      context.beginPath();
      context.arc(this.pen[0] * unit, this.pen[1] * unit, (PEN / 2) * unit, 0, 2 * Math.PI);
      context.lineWidth = 4;
      context.strokeStyle = "#7db8f5";
      context.stroke();
      if (this.down) {
        context.fillStyle = "#7db8f5";
        context.fill();
      }
    }
  }
}
