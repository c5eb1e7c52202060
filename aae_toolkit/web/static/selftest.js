// Self-test: replays the golden vectors of the export on this device.

import { decodeTensor } from "./model.js";

export const TOLERANCE = 1e-4; // tolerance of `aae parity`

/** Read inputs and outputs of `golden.json`, as tensors by name. */
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

function largestDifference({ data }, expected) {
  let largest = data.length === expected.data.length ? 0 : NaN;
  for (let i = 0; i < expected.data.length; i++) largest = Math.max(largest, Math.abs(data[i] - expected.data[i]));
  return largest; // NaN if any difference is NaN
}

/**
 * Run both networks on the golden inputs.
 *
 * Returns `passed`, the number `n` of images, the `maxDifference` of float outputs, and `labels`: the number of images
 * whose label or category differs beyond rounding. Categories that are equally likely within the tolerance may swap.
 */
export async function selftest(model) {
  const { classifier, decoder } = await vectors();
  const outputs = await model.run("classifier", classifier.inputs);
  const { images } = await model.run("decoder", decoder.inputs);
  const expected = classifier.outputs;
  const maxDifference = Math.max(
    largestDifference(outputs.probabilities, expected.probabilities),
    largestDifference(images, decoder.outputs.images),
  );
  const y = decoder.inputs.y; // output of the encoder for the same images
  const [n, k] = y.dims;
  let labels = 0;
  for (let i = 0; i < n; i++) {
    const category = Number(outputs.category.data[i]);
    const margin = y.data[i * k + Number(expected.category.data[i])] - y.data[i * k + category];
    const consistent = Number(outputs.label.data[i]) === model.categoryToClass[category];
    if (!(margin <= 2 * TOLERANCE) || !consistent) labels += 1;
  }
  return { passed: maxDifference <= TOLERANCE && labels === 0, n, maxDifference, labels };
}
