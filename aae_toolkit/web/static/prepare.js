// Preparation of decoded pictures as the training images were prepared. No canvas here.

import { planes, resize } from "./pixels.js";

const [DARK, MIDDLE, LIGHT] = [64, 127.5, 191]; // usual borders between dark and light follow no convention
const [OWN_DARK, OWN_LIGHT] = [111, 144]; // a single border beyond is noted; see data/borders.py

/** Preparation of models that do not say how their images were prepared. */
export const USUAL = { background: [255, 255, 255], range: null, invert: "no", fit: "squash" };

/** Divide and round, half up; at least 1. */
function rounded(numerator, denominator) {
  return Math.max(1, Math.floor((2 * numerator + denominator) / (2 * denominator)));
}

/** Compute the part of a picture that is used (left, top, width, height), its new size and its place, in pixels. */
export function place(fit, [w, h], [toW, toH]) {
  const wider = w * toH > h * toW;
  if (fit === "pad") {
    const size = wider ? [toW, rounded(h * toW, w)] : [rounded(w * toH, h), toH];
    return { box: [0, 0, w, h], size, corner: [(toW - size[0]) >> 1, (toH - size[1]) >> 1] };
  }
  let used = [w, h];
  if (fit === "crop") used = wider ? [rounded(h * toW, toH), h] : [w, rounded(w * toH, toW)];
  return { box: [(w - used[0]) >> 1, (h - used[1]) >> 1, ...used], size: [toW, toH], corner: [0, 0] };
}

/** Copy a part of a plane that is `width` wide. */
function cut(plane, width, [left, top, w, h]) {
  const part = new Uint8Array(w * h);
  for (let y = 0; y < h; y++) part.set(plane.subarray((top + y) * width + left, (top + y) * width + left + w), y * w);
  return part;
}

/** Compute the mean of the outermost pixels of [C, H, W]. */
export function borderBrightness(pixels, [channels, height, width]) {
  let sum = 0, n = 0;
  for (let i = 0; i < channels * height * width; i++) {
    const x = i % width, y = Math.trunc(i / width) % height;
    if (x > 0 && y > 0 && x < width - 1 && y < height - 1) continue;
    sum += pixels[i];
    n++;
  }
  return sum / n;
}

export const inverted = (pixels) => pixels.map((value) => 255 - value);

/** Say whether a model was trained on pictures with a light border, so that drawings have to be dark on light. */
export const isLight = (usual) => usual !== null && usual >= LIGHT;

/** Note a border that is dark where those of the training images are light, or the reverse. */
function borderNotes(pixels, shape, usual) {
  const border = borderBrightness(pixels, shape);
  if (usual === null) return [];
  if (border < OWN_DARK && usual >= LIGHT) return ["its border is dark, those of the training images are light"];
  if (border > OWN_LIGHT && usual <= DARK) return ["its border is light, those of the training images are dark"];
  return [];
}

/** Convert RGBA without transparency to what a model takes, a Uint8Array [C, H, W], with notes. */
export function prepare(rgba, width, height, shape, preparation, usualBorder) {
  const [channels, toHeight, toWidth] = shape;
  const { box, size, corner } = place(preparation.fit, [width, height], [toWidth, toHeight]);
  const own = new Uint8Array(channels * size[0] * size[1]);
  planes(rgba, channels).forEach((plane, channel) => {
    own.set(resize(cut(plane, width, box), box[2], box[3], ...size), channel * size[0] * size[1]);
  });
  const isInverted = preparation.invert === "yes"
    || (preparation.invert === "auto" && borderBrightness(own, [channels, size[1], size[0]]) > MIDDLE);
  const background = planes([...preparation.background, 255], channels);
  let pixels = new Uint8Array(channels * toHeight * toWidth);
  for (let channel = 0; channel < channels; channel++) {
    const start = channel * toHeight * toWidth;
    pixels.fill(background[channel][0], start, start + toHeight * toWidth);
    for (let y = 0; y < size[1]; y++) {
      const row = (channel * size[1] + y) * size[0];
      pixels.set(own.subarray(row, row + size[0]), start + (corner[1] + y) * toWidth + corner[0]);
    }
  }
  if (isInverted) pixels = inverted(pixels);
  return { pixels, notes: [...(isInverted ? ["inverted"] : []), ...borderNotes(pixels, shape, usualBorder)] };
}
