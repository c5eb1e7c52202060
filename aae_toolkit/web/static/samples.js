// Sample images of the page, which are classified at a click.

import { decodeTensor } from "./model.js";
import { showPixels } from "./show.js";

/** List the sample images, if the page has some; call `take` with the pixels of one, Uint8Array [C, H, W], and notes. */
export async function startSamples(section, list, { classNames, imageShape }, take) {
  const { images, labels } = await (await fetch("samples.json")).json();
  if (images === null) return;
  const { data } = decodeTensor(images);
  const size = imageShape.reduce((product, side) => product * side);
  labels.forEach((label, index) => {
    const pixels = data.slice(index * size, (index + 1) * size);
    const [button, canvas] = ["button", "canvas"].map((tag) => document.createElement(tag));
    const name = label === null ? "" : classNames[label];
    button.type = "button";
    button.title = name;
    button.setAttribute("aria-label", `Sample image ${index + 1}${name && `: ${name}`}`);
    showPixels(canvas, pixels, imageShape);
    button.append(canvas);
    button.addEventListener("click", () => take(pixels, name ? [`a sample image of class ${name}`] : ["a sample image"]));
    list.append(button);
  });
  section.hidden = false;
}
