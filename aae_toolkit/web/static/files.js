// Image files to pixels, as `aae predict` reads them: upright, transparency on white, stretched to the shape.

import { picture } from "./pixels.js";

const MAX_PIXELS = 2 ** 24; // maximum size of a canvas in every browser

/** Read an image file to a Uint8Array [C, H, W]; throw an Error if the browser cannot read it. */
export async function readImage(file, shape) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error(`${file.name} is not an image that this browser can read`);
  }
  const shrink = Math.min(1, Math.sqrt(MAX_PIXELS / (bitmap.width * bitmap.height)));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.floor(side * shrink)));
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return picture(context.getImageData(0, 0, width, height).data, width, height, shape);
}

/** Call `take` with every image file that is chosen, or dropped anywhere on the page. */
export function onImageFile(input, take) {
  input.addEventListener("change", () => {
    if (input.files[0]) take(input.files[0]);
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
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}
