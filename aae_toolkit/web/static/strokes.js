// Strokes to pixels. A stroke is a list of [x, y]; the shorter side of the drawing area is 1 long, y points down.

import { centerByMass, picture } from "./pixels.js";

export const PEN = 0.08; // its width on the drawing area

const OVERSAMPLED = 224; // pixels a side, at least, that strokes are drawn with before they are reduced
const MNIST = { side: 28, box: 20, pen: 2.6 }; // pixels: the picture, what a digit fills of it, a stroke's usual width

/** Draw strokes in white. `place` maps a point to the canvas's pixels. */
export function drawStrokes(context, strokes, place, width) {
  context.strokeStyle = "#fff";
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(...place(stroke[0]));
    for (const point of stroke) context.lineTo(...place(point)); // a dot is a line to itself
    context.stroke();
  }
}

/** Whether pictures of this shape are prepared as MNIST's digits were; others are the drawing area as it is. */
export function isMnistLike([channels, height, width]) {
  return channels === 1 && height === MNIST.side && width === MNIST.side;
}

/** How strokes fill MNIST's box: moved and scaled by their extent, so that size and place do not matter. */
function fitBox(strokes) {
  const points = strokes.flat();
  const [left, top] = [0, 1].map((axis) => Math.min(...points.map((p) => p[axis])));
  const [right, bottom] = [0, 1].map((axis) => Math.max(...points.map((p) => p[axis])));
  const scale = (MNIST.box - MNIST.pen) / Math.max(right - left, bottom - top, PEN);
  const middle = MNIST.side / 2;
  return ([x, y]) => [middle + (x - (left + right) / 2) * scale, middle + (y - (top + bottom) / 2) * scale];
}

/** Strokes to the Uint8Array of a grey picture of `shape` [1, H, W]. */
export function rasterize(strokes, shape) {
  const [, height, width] = shape;
  const fine = Math.ceil(OVERSAMPLED / Math.min(height, width)); // fine pixels per pixel
  const canvas = new OffscreenCanvas(width * fine, height * fine);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillRect(0, 0, canvas.width, canvas.height);
  const mnist = isMnistLike(shape);
  const unit = Math.min(height, width);
  const frame = mnist ? fitBox(strokes) : ([x, y]) => [x * unit, y * unit];
  const pen = mnist ? MNIST.pen : PEN * unit;
  drawStrokes(context, strokes, (point) => frame(point).map((v) => v * fine), pen * fine);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const pixels = picture(data, canvas.width, canvas.height, shape);
  return mnist ? centerByMass(pixels, width, height) : pixels;
}
