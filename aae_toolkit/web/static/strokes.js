// Rasterization of strokes: lists of [x, y], where the shorter side of the drawing area is 1 long and y points down.

import { centerByMass, picture } from "./pixels.js";

export const PEN = 0.08; // width of the pen on the drawing area

const OVERSAMPLED = 224; // minimum side in pixels at which strokes are drawn before they are reduced
const MNIST = { side: 28, box: 20, pen: 2.6 }; // in pixels: picture, box of a digit, usual pen

/** Draw strokes in white. `place` maps a point to canvas pixels. */
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

/** Return whether pictures of this shape are prepared like the digits of MNIST; others are the whole drawing area. */
export function isMnistLike([channels, height, width]) {
  return channels === 1 && height === MNIST.side && width === MNIST.side;
}

/** Map strokes to the box of MNIST: moved and scaled by their extent, so that size and place do not matter. */
function fitBox(strokes) {
  const points = strokes.flat();
  const [left, top] = [0, 1].map((axis) => Math.min(...points.map((p) => p[axis])));
  const [right, bottom] = [0, 1].map((axis) => Math.max(...points.map((p) => p[axis])));
  const scale = (MNIST.box - MNIST.pen) / Math.max(right - left, bottom - top, PEN);
  const middle = MNIST.side / 2;
  return ([x, y]) => [middle + (x - (left + right) / 2) * scale, middle + (y - (top + bottom) / 2) * scale];
}

/** Convert strokes to the Uint8Array of a grey picture of `shape` [1, H, W]. */
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
