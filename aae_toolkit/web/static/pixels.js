// Pixels in the format of the classifier: Uint8Array, one plane after another (C, H, W). No canvas here.

const FIXED = 2 ** 22; // scale of the fixed-point weights, equal to that of pillow for equal rounding

/** Compute the source positions and weights of every target position, under a triangle as wide as the scale. */
function weights(from, to) {
  const scale = from / to;
  const support = Math.max(scale, 1);
  return Array.from({ length: to }, (_, target) => {
    const center = (target + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const last = Math.min(from, Math.trunc(center + support + 0.5));
    const raw = [];
    for (let x = first; x < last; x++) raw.push(Math.max(0, 1 - Math.abs((x - center + 0.5) / support)));
    const sum = raw.reduce((a, b) => a + b, 0);
    return { first, weights: raw.map((w) => Math.round((w / sum) * FIXED)) };
  });
}

/** Resize along one axis, from `from` to `to` pixels a line; `sourceAt` and `targetAt` index (line, position). */
function pass(source, target, lines, from, to, sourceAt, targetAt) {
  const table = weights(from, to);
  for (let line = 0; line < lines; line++) {
    for (let t = 0; t < to; t++) {
      let sum = FIXED / 2;
      const { first, weights: w } = table[t];
      for (let k = 0; k < w.length; k++) sum += w[k] * source[sourceAt(line, first + k)];
      target[targetAt(line, t)] = Math.min(255, Math.floor(sum / FIXED));
    }
  }
}

/** Resize one plane, bilinear and antialiased, like pillow: rows, then columns. */
export function resize(plane, width, height, newWidth, newHeight) {
  let pixels = plane;
  if (newWidth !== width) {
    const rows = new Uint8Array(newWidth * height);
    pass(pixels, rows, height, width, newWidth, (y, x) => y * width + x, (y, x) => y * newWidth + x);
    pixels = rows;
  }
  if (newHeight !== height) {
    const columns = new Uint8Array(newWidth * newHeight);
    pass(pixels, columns, newWidth, height, newHeight, (x, y) => y * newWidth + x, (x, y) => y * newWidth + x);
    pixels = columns;
  }
  return pixels;
}

/** Convert RGBA without transparency to planes of `channels` (1: grey by ITU-R 601, 3: RGB). */
export function planes(rgba, channels) {
  const n = rgba.length / 4;
  return Array.from({ length: channels }, (_, channel) => {
    const plane = new Uint8Array(n);
    for (let i = 0, at = 0; i < n; i++, at += 4) {
      plane[i] = channels === 1
        ? (rgba[at] * 19595 + rgba[at + 1] * 38470 + rgba[at + 2] * 7471 + 32768) >> 16
        : rgba[at + channel];
    }
    return plane;
  });
}

/** Convert a picture to [C, H, W] without keeping its aspect ratio. */
export function picture(rgba, width, height, [channels, toHeight, toWidth]) {
  const pixels = new Uint8Array(channels * toHeight * toWidth);
  planes(rgba, channels).forEach((plane, channel) => {
    pixels.set(resize(plane, width, height, toWidth, toHeight), channel * toHeight * toWidth);
  });
  return pixels;
}

/** Move the centre of mass of a plane to the middle, as far as all ink stays inside. */
export function centerByMass(plane, width, height) {
  let mass = 0, sumX = 0, sumY = 0, left = width, right = -1, top = height, bottom = -1;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const ink = plane[y * width + x];
      if (!ink) continue;
      mass += ink;
      sumX += ink * (x + 0.5);
      sumY += ink * (y + 0.5);
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  }
  if (!mass) return plane;
  const within = (shift, first, last, size) => Math.max(-first, Math.min(size - 1 - last, Math.round(shift)));
  const dx = within(width / 2 - sumX / mass, left, right, width);
  const dy = within(height / 2 - sumY / mass, top, bottom, height);
  const moved = new Uint8Array(plane.length);
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) moved[(y + dy) * width + x + dx] = plane[y * width + x];
  }
  return moved;
}

/** Enlarge a picture [C, h, w] to [C, H, W] by its nearest pixels; the same picture for the same shape. */
export function enlarge(pixels, [, h, w], [channels, height, width]) {
  const large = new Uint8Array(channels * height * width);
  for (let i = 0; i < large.length; i++) {
    const x = i % width;
    const y = Math.trunc(i / width) % height;
    const plane = Math.trunc(i / (width * height));
    const nearest = [Math.trunc(((y + 0.5) * h) / height), Math.trunc(((x + 0.5) * w) / width)];
    large[i] = pixels[(plane * h + nearest[0]) * w + nearest[1]];
  }
  return large;
}
