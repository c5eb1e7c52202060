// The golden vectors of the export, replayed on this device.

import { decodeTensor } from "./model.js";

export const TOLERANCE = 1e-4; // that `aae parity` allows

/** Inputs and outputs of `golden.json`, as tensors by name. */
async function vectors() {
  const golden = await (await fetch("golden.json")).json();
  const tensors = (side) => Object.fromEntries(Object.entries(side).map(([name, t]) => [name, decodeTensor(t)]));
  return Object.fromEntries(
    Object.entries(golden).map(([network, { inputs, outputs }]) => [
      network,
      { inputs: tensors(inputs), outputs: tensors(outputs) },
    ]),
  );
}

function largestDifference(found, expected) {
  let largest = found.data.length === expected.data.length ? 0 : NaN;
  for (let i = 0; i < expected.data.length; i++) largest = Math.max(largest, Math.abs(found.data[i] - expected.data[i]));
  return largest; // NaN where any is
}

/**
 * Run both networks on the golden inputs.
 *
 * Returns `passed`, `n` images, `maxDifference` of float outputs, and how many `labels` and categories are other ones
 * than rounding explains: two categories that are equally likely to within the tolerance may change places.
 */
export async function selftest(model) {
  const { classifier, decoder } = await vectors();
  const found = await model.run("classifier", classifier.inputs);
  const { images } = await model.run("decoder", decoder.inputs);
  const expected = classifier.outputs;
  const maxDifference = Math.max(
    largestDifference(found.probabilities, expected.probabilities),
    largestDifference(images, decoder.outputs.images),
  );
  const y = decoder.inputs.y; // the encoder's, of the same images
  const [n, k] = y.dims;
  let labels = 0;
  for (let i = 0; i < n; i++) {
    const category = Number(found.category.data[i]);
    const margin = y.data[i * k + Number(expected.category.data[i])] - y.data[i * k + category];
    const named = Number(found.label.data[i]) === model.categoryToClass[category];
    if (!(margin <= 2 * TOLERANCE) || !named) labels += 1;
  }
  return { passed: maxDifference <= TOLERANCE && labels === 0, n, maxDifference, labels };
}
