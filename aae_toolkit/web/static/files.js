// Image files to pixels, as `aae predict` reads them: prepared as the training images were.

import { readDeepPng } from "./deep.js";
import { prepare } from "./prepare.js";

const MAX_PIXELS = 2 ** 24; // maximum size of a canvas in every browser

/** Read an image file; return RGBA without transparency, its size and notes. Throw an Error if it cannot be read. */
async function decode(file, preparation) {
  const deep = await readDeepPng(file, preparation);
  if (deep.rgba) return deep;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error(`${file.name} is not an image that this browser can read`);
  }
  const shrink = Math.min(1, Math.sqrt(MAX_PIXELS / (bitmap.width * bitmap.height)));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.floor(side * shrink)));
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = `rgb(${preparation.background.join(" ")})`;
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  return { rgba: data, width, height, notes: deep.isDeep ? deep.notes(data) : [] };
}

/** Read an image file as a model takes it; return a Uint8Array [C, H, W] and notes. */
export async function readImage(file, { imageShape, preparation, borderBrightness }) {
  const { rgba, width, height, notes } = await decode(file, preparation);
  const prepared = prepare(rgba, width, height, imageShape, preparation, borderBrightness);
  return { pixels: prepared.pixels, notes: [...notes, ...prepared.notes] };
}

/** Call `take` with the first file that is chosen, or dropped anywhere on the page, and with the notes on it. */
export function onImageFile(input, take) {
  const takeFirst = (files) => {
    if (files[0]) take(files[0], files.length > 1 ? [`first of ${files.length} files`] : []);
  };
  input.addEventListener("change", () => {
    takeFirst(input.files);
    input.value = ""; // allows the same file to be chosen again
  });
  const marked = document.body.classList;
  addEventListener("dragover", (event) => {
    event.preventDefault();
    marked.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) marked.remove("dropping");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    marked.remove("dropping");
    takeFirst(event.dataTransfer.files);
  });
}
