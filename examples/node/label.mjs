// Labels images with an exported classifier, on ONNX Runtime's WebAssembly: node label.mjs EXPORT_DIR IMAGES.npy
// IMAGES.npy is uint8 [N, C, H, W], as numpy.save writes it. Prints a JSON object a line for every image.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import ort from "onnxruntime-web";

const BATCH_SIZE = 100;

/** Shape and content of a .npy file of bytes (numpy's format, version 1 to 3). */
async function readNpy(path) {
  const file = await readFile(path);
  if (file.subarray(0, 6).toString("latin1") !== "\x93NUMPY") throw new Error(`${path} is not a .npy file`);
  const long = file[6] > 1;
  const start = (long ? 12 : 10) + (long ? file.readUInt32LE(8) : file.readUInt16LE(8));
  const header = file.subarray(0, start).toString("latin1");
  if (!header.includes("'descr': '|u1'") || !header.includes("'fortran_order': False")) {
    throw new Error(`${path} does not hold uint8 in C order`);
  }
  const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(",").filter((n) => n.trim()).map(Number);
  return { shape, data: new Uint8Array(file.subarray(start)) };
}

/** Mean of the border pixels of images [N, C, H, W], 0-255. */
function borderBrightness(data, shape) {
  const [height, width] = shape.slice(-2);
  const isBorder = (i) => {
    const [row, column] = [Math.floor(i / width) % height, i % width];
    return row === 0 || column === 0 || row === height - 1 || column === width - 1;
  };
  const border = data.filter((_, i) => isBorder(i));
  return border.reduce((sum, value) => sum + value, 0) / border.length;
}

/** Content of a file of an export, which must be the one that its manifest lists: else names may be of another model. */
async function readListed(exportDir, name) {
  const content = await readFile(join(exportDir, name));
  const { sha256 } = JSON.parse(await readFile(join(exportDir, "manifest.json"), "utf8"));
  if (createHash("sha256").update(content).digest("hex") !== sha256[name]) {
    throw new Error(`${name} is not the file that manifest.json of ${exportDir} lists; copy the export again`);
  }
  return content;
}

async function main([exportDir, imagesPath]) {
  if (!imagesPath) throw new Error("usage: node label.mjs EXPORT_DIR IMAGES.npy");
  const model = JSON.parse((await readListed(exportDir, "model.json")).toString("utf8"));
  const { shape: [n, ...shape], data } = await readNpy(imagesPath);
  const wanted = model.architecture.image_shape;
  if (String(shape) !== String(wanted)) throw new Error(`the model takes [N, ${wanted}]; ${imagesPath} has [${[n, ...shape]}]`);

  const size = shape.reduce((a, b) => a * b);
  if (data.length !== n * size) throw new Error(`${imagesPath} is damaged: ${data.length} of ${n * size} bytes`);
  if (n && data.every((value) => value <= 1)) {
    console.error(`label.mjs: warning: ${imagesPath} holds no value above 1, and pixels are 0 to 255`);
  }

  const border = borderBrightness(data, shape);
  const usual = model.border_brightness ?? 127.5;
  if (n && (usual <= 64 ? border > 144 : usual >= 191 && border < 111)) {
    const [own, others] = usual <= 64 ? ["light", "dark"] : ["dark", "light"];
    console.error(`label.mjs: warning: borders in ${imagesPath} are ${own}, those of the training images are ${others}`);
  }

  ort.env.wasm.numThreads = 1; // its workers would keep the process alive
  const session = await ort.InferenceSession.create(await readListed(exportDir, "classifier.onnx"));
  const classes = model.class_names.length;
  for (let first = 0; first < n; first += BATCH_SIZE) {
    const count = Math.min(BATCH_SIZE, n - first);
    const images = new ort.Tensor("uint8", data.slice(first * size, (first + count) * size), [count, ...shape]);
    const { label, probabilities } = await session.run({ images });
    const lines = Array.from({ length: count }, (_, i) => {
      const ofImage = [...probabilities.data.slice(i * classes, (i + 1) * classes)];
      const index = Number(label.data[i]);
      return JSON.stringify({ label: index, class_name: model.class_names[index], probability: ofImage[index], probabilities: ofImage });
    });
    console.log(lines.join("\n"));
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`label.mjs: ${error.message}`);
  process.exitCode = 1;
});
