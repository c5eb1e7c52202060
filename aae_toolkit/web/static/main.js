// Entry of the page: loads the model, then connects drawing, files and sliders to it.

import { Drawing } from "./drawing.js";
import { startExplorer } from "./explorer.js";
import { onImageFile, readImage } from "./files.js";
import { Model, latestOnly } from "./model.js";
import { inverted, isLight } from "./prepare.js";
import { Tensor, env } from "./runtime/ort.js";
import { startSamples } from "./samples.js";
import { selftest } from "./selftest.js";
import { Probabilities, percent, say, showPixels } from "./show.js";
import { isMnistLike, rasterize } from "./strokes.js";

const element = (id) => document.getElementById(id);

function introduce(model) {
  const [channels, height, width] = model.imageShape;
  const accuracy = model.validationAccuracy === null ? "" : `, right on ${percent(model.validationAccuracy)} of validation images`;
  const kind = channels === 1 ? "grey" : channels === 3 ? "colour" : `${channels}-channel`;
  element("about").textContent =
    `${model.classNames.length} classes of ${width} × ${height} ${kind} images, ${model.variant}${accuracy}. ` +
    "The classifier runs on this device; no picture leaves it.";
}

async function startClassifier(model) {
  const [channels] = model.imageShape;
  const bars = new Probabilities(element("probabilities"), element("more"), model.classNames);
  const result = element("label");
  const forget = () => {
    showPixels(element("seen"), new Uint8Array(channels * model.imageShape[1] * model.imageShape[2]), model.imageShape);
    bars.show(new Float32Array(model.classNames.length));
    say(result, channels === 1 ? "Draw something" : "Choose an image");
    note([]);
  };
  const note = (notes) => (element("notes").textContent = notes.length ? `Note: ${notes.join("; ")}.` : "");
  const classify = latestOnly(async (pixels, notes = []) => {
    if (pixels === null) return forget();
    note(notes);
    showPixels(element("seen"), pixels, model.imageShape);
    const { label, probabilities, warning } = await model.classify(pixels);
    bars.show(probabilities, label);
    say(result, `${model.classNames[label]}, ${percent(probabilities[label])}${warning && ` (${warning})`}`);
  });

  forget();
  element("drawing").hidden = channels !== 1;
  element("choosing").hidden = ![1, 3].includes(channels); // channels of image files
  const drawn = (strokes) => {
    const pixels = rasterize(strokes, model.imageShape);
    return isLight(model.borderBrightness) ? inverted(pixels) : pixels;
  };
  const drawing = new Drawing(element("canvas"), model.imageShape, (strokes) => classify(strokes.length ? drawn(strokes) : null));
  element("large").hidden = isMnistLike(model.imageShape);
  element("clear").addEventListener("click", () => drawing.clear());
  element("undo").addEventListener("click", () => drawing.undo());
  onImageFile(element("file"), async (file, others) => {
    try {
      const { pixels, notes } = await readImage(file, model);
      drawing.clear();
      await classify(pixels, [...others, ...notes]);
    } catch (error) {
      say(result, error.message);
      note([]);
    }
  });
  await startSamples(element("trying"), element("samples"), model, (pixels, notes) => {
    drawing.clear();
    classify(pixels, notes);
  });
}

async function verify(model) {
  const { passed, n, maxDifference, labels } = await selftest(model);
  const difference = maxDifference.toExponential(1);
  const line = element("verified");
  line.classList.toggle("warn", !passed);
  line.textContent = passed
    ? `Verified on this device: max difference ${difference} over ${n} golden images.`
    : `NOT the exported model on this device: max difference ${difference}, ${labels} of ${n} golden labels differ.`;
}

async function start() {
  const model = await Model.load((share) => (element("progress").value = share));
  introduce(model);
  element("runtime").textContent = `onnxruntime-web ${env.versions.web}, MIT License, © Microsoft Corporation.`;
  await startClassifier(model);
  await startExplorer(model, {
    category: element("category"),
    sliders: element("sliders"),
    center: element("center"),
    random: element("random"),
    decoded: element("decoded"),
    label: element("decoded-label"),
  });
  element("main").hidden = false;
  element("status").hidden = element("progress").hidden = true;
  globalThis.aae = { model, Tensor, selftest: () => selftest(model) }; // access for consoles and tests
  await verify(model);
  // service workers need https or localhost, and some private windows lack them; the page works without
  await navigator.serviceWorker?.register("offline.js").catch(() => {});
}

start().catch((error) => {
  element("progress").hidden = true;
  element("status").hidden = false;
  element("status").classList.add("warn");
  element("status").textContent = `This page does not work here: ${error.message}`;
});
