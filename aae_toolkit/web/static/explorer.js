// Style explorer: a category and a slider for each style dimension, decoded to a picture.

import { latestOnly } from "./model.js";
import { enlarge } from "./pixels.js";
import { percent, say, showPixels } from "./show.js";

const RANGE = 3; // standard deviations of the style's prior
const STEP = 0.05;

/** Draw a standard normal number (Box and Muller), clipped to the range of the sliders. */
function normal() {
  const value = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  return Math.max(-RANGE, Math.min(RANGE, value));
}

/** Name categories by their classes, with the number of the category if a class has several. */
export function categoryNames({ classNames, categoryToClass }) {
  const several = categoryToClass.some((c, k) => categoryToClass.indexOf(c) !== k);
  return categoryToClass.map((c, k) => (several ? `${classNames[c]} (category ${k})` : classNames[c]));
}

function slider(index) {
  const [row, label, input, value] = ["div", "label", "input", "output"].map((tag) => document.createElement(tag));
  row.className = "slider";
  label.textContent = `z${index + 1}`;
  input.id = value.htmlFor = label.htmlFor = `z${index + 1}`;
  Object.assign(input, { type: "range", min: -RANGE, max: RANGE, step: STEP, value: 0 });
  row.append(label, input, value);
  return { row, input, value };
}

/** Fill the elements of the explorer, and listen to them. */
export async function startExplorer(model, { category, sliders, center, random, decoded, label }) {
  const names = categoryNames(model);
  // sorted by class, the order in which people search
  const order = [...names.keys()].sort((a, b) => model.categoryToClass[a] - model.categoryToClass[b] || a - b);
  category.append(...order.map((k) => new Option(names[k], k)));
  const styles = Array.from({ length: model.zSize }, (_, index) => slider(index));
  sliders.append(...styles.map(({ row }) => row));

  const show = latestOnly(async () => {
    const picture = await model.decode(Number(category.value), styles.map(({ input }) => Number(input.value)));
    showPixels(decoded, picture, model.pictureShape, 255);
    const pixels = enlarge(Uint8Array.from(picture, (value) => Math.round(value * 255)), model.pictureShape, model.imageShape);
    const guess = await model.classify(pixels);
    say(label, `The classifier says ${model.classNames[guess.label]}, ${percent(guess.probabilities[guess.label])}.`);
    decoded.setAttribute("aria-label", `The decoder's picture of ${names[category.value]}`);
  });
  const update = () => {
    for (const { input, value } of styles) value.textContent = Number(input.value).toFixed(2);
    return show();
  };
  const set = (value) => {
    for (const { input } of styles) input.value = value();
    return update();
  };
  category.addEventListener("change", update);
  sliders.addEventListener("input", update);
  center.addEventListener("click", () => set(() => 0));
  random.addEventListener("click", () => set(normal));
  await update();
}
