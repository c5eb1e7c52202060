// Exported networks on ONNX Runtime, on one thread of WebAssembly.

import { USUAL } from "./prepare.js";
import { InferenceSession, Tensor, env } from "./runtime/ort.js";

const ARRAYS = { uint8: Uint8Array, float32: Float32Array, int64: BigInt64Array };

/** Decode a tensor of `golden.json`. */
export function decodeTensor({ type, dims, base64 }) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Tensor(type, new ARRAYS[type](bytes.buffer), dims);
}

/** Fetch a file of this page; call `onBytes` with its path, the received and the total number of bytes. */
async function fetched(path, onBytes) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: HTTP status ${response.status}`);
  const parts = [];
  let received = 0;
  const total = Number(response.headers.get("Content-Length")) || 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    onBytes(path, received += value.length, total);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

export class Model {
  /** Load `model.json`, the runtime and both networks; call `onProgress` with the fraction loaded. */
  static async load(onProgress) {
    const counts = {};
    const onBytes = (path, received, total) => {
      counts[path] = { received, total: Math.max(total, received) };
      const sum = (key) => Object.values(counts).reduce((a, count) => a + count[key], 0);
      onProgress(sum("received") / sum("total"));
    };
    const paths = ["model.json", "runtime/ort.wasm", "classifier.onnx", "decoder.onnx"];
    const [description, wasm, ...networks] = await Promise.all(paths.map((path) => fetched(path, onBytes)));
    env.logLevel = "error";
    env.wasm.numThreads = 1; // threads need headers that plain servers do not send
    env.wasm.wasmBinary = wasm.buffer;
    const model = new Model(JSON.parse(new TextDecoder().decode(description)));
    model.classifier = await InferenceSession.create(networks[0]);
    model.decoder = await InferenceSession.create(networks[1]);
    return model;
  }

  constructor(description) {
    const { architecture, class_names: classNames, category_to_class: categoryToClass } = description;
    this.classNames = classNames;
    this.categoryToClass = categoryToClass;
    this.imageShape = architecture.image_shape; // C, H, W
    this.pictureShape = architecture.thumbnail_shape ?? this.imageShape; // of the decoder
    this.zSize = architecture.z_size;
    this.variant = description.variant.replace("_", "-");
    this.validationAccuracy = description.validation_accuracy;
    this.preparation = { ...USUAL, ...description.preparation }; // of image files
    this.borderBrightness = description.border_brightness ?? null; // of the training images, 0-255
    this.runs = Promise.resolve();
  }

  /** Run a network after all earlier requests, since the runtime runs one at a time. */
  run(name, feeds) {
    const result = this.runs.then(() => this[name].run(feeds));
    this.runs = result.catch(() => {});
    return result;
  }

  /** Classify a picture, Uint8Array [C, H, W]; return its label and the probability of every class. */
  async classify(pixels) {
    const { label, probabilities } = await this.run("classifier", {
      images: new Tensor("uint8", pixels, [1, ...this.imageShape]),
    });
    return { label: Number(label.data[0]), probabilities: probabilities.data };
  }

  /** Decode a category and a style (array of Z numbers) to a picture of `pictureShape`, Float32Array [C, H, W] in 0-1. */
  async decode(category, style) {
    const y = new Float32Array(this.categoryToClass.length);
    y[category] = 1;
    const { images } = await this.run("decoder", {
      y: new Tensor("float32", y, [1, y.length]),
      z: new Tensor("float32", Float32Array.from(style), [1, this.zSize]),
    });
    return images.data;
  }
}

/** Wrap `work`: while a call runs, keep only the latest of further calls, so a drawing never waits for older states. */
export function latestOnly(work) {
  let running = false;
  let next = null;
  return async (...given) => {
    next = given;
    if (running) return;
    running = true;
    try {
      while (next) {
        const now = next;
        next = null;
        await work(...now);
      }
    } finally {
      running = false;
    }
  };
}
