// PNG files with 16 bits per channel, of which a canvas would keep 8.

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const MOST = 65535;
const MANY = 0.01; // share of values outside of the range that is noted
const GREY = 0; // colour type
const MAX_PIXELS = 2 ** 24; // as of a canvas

/** List the chunks of a PNG file as [type, content], until one is cut off. */
function* chunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = SIGNATURE.length; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    yield [String.fromCharCode(...bytes.subarray(at + 4, at + 8)), bytes.subarray(at + 8, at + 8 + length)];
    at += 12 + length;
  }
}

/** Undo the filters of rows of `stride` bytes, in place; pixels have 2 bytes. */
function unfilter(rows, stride, height) {
  const values = new Uint8Array(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = rows[y * (stride + 1)];
    for (let x = 0; x < stride; x++) {
      const at = y * stride + x;
      const a = x < 2 ? 0 : values[at - 2];
      const b = y === 0 ? 0 : values[at - stride];
      const c = x < 2 || y === 0 ? 0 : values[at - stride - 2];
      const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
      const paeth = pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
      values[at] = rows[y * (stride + 1) + 1 + x] + [0, a, b, (a + b) >> 1, paeth][filter];
    }
  }
  return values;
}

/** Note values that a range does not suit. */
function rangeNotes(least, most, outside, [low, high], name) {
  const notes = outside > MANY ? [`values outside of the range ${name} are clipped`] : [];
  const used = Math.min(most, high) - Math.max(least, low) + 1;
  return used * 4 <= high - low + 1 ? [...notes, `uses at most a quarter of the range ${name}`] : notes;
}

/** Scale grey values of 16 bits to RGBA of 8 on a background; `transparent` is the value without ink, if any. */
export function scaled(values, [low, high], transparent, background) {
  const whole = Number.isInteger(low) && Number.isInteger(high);
  const rgba = new Uint8ClampedArray(4 * values.length);
  let [least, most, outside] = [MOST, 0, 0];
  values.forEach((value, i) => {
    least = Math.min(least, value);
    most = Math.max(most, value);
    if (value < low || value > high) outside++;
    const clipped = Math.min(high, Math.max(low, value)) - low;
    const level = whole ? Math.floor((clipped * 256) / (high - low + 1)) : (clipped * 255) / (high - low);
    for (let c = 0; c < 3; c++) rgba[4 * i + c] = value === transparent ? background[c] : level;
    rgba[4 * i + 3] = 255;
  });
  return { rgba, notes: rangeNotes(least, most, outside / values.length, [low, high], `${low}-${high}`) };
}

/** Return notes on colours, of which a canvas has the upper 8 bits. */
function colourNotes(rgba) {
  let [least, most] = [255, 0];
  rgba.forEach((value, i) => {
    if (i % 4 === 3) return;
    least = Math.min(least, value);
    most = Math.max(most, value);
  });
  return rangeNotes(least, most, 0, [0, 255], `0-${MOST}`);
}

/**
 * Read a grey PNG file with 16 bits; return RGBA without transparency, its size and notes. Files of 8 bits give none of
 * them, and colours of 16 bits `isDeep` and a function for notes. Throw an Error for what this page cannot read.
 */
export async function readDeepPng(file, preparation) {
  const head = new Uint8Array(await file.slice(0, 29).arrayBuffer());
  if (head.length < 29 || SIGNATURE.some((byte, i) => head[i] !== byte) || head[24] !== 16) return {};
  const [type, interlaced] = [head[25], head[28]];
  const [low, high] = preparation.range ?? [0, MOST];
  if (type !== GREY) {
    if (low === 0 && high === MOST) return { isDeep: true, notes: colourNotes };
    throw new Error(`${file.name} has 16 bits per channel in colour, and the model takes values of ${low}-${high}`);
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  const [width, height] = [16, 20].map((at) => new DataView(bytes.buffer).getUint32(at));
  const parts = [...chunks(bytes)];
  if (interlaced || parts.some(([name]) => name === "eXIf") || width * height > MAX_PIXELS) {
    throw new Error(`${file.name} has 16 bits per pixel and is interlaced, turned or too large for this page`);
  }
  const idat = new Blob(parts.filter(([name]) => name === "IDAT").map(([, content]) => content));
  let rows;
  try {
    const stream = idat.stream().pipeThrough(new DecompressionStream("deflate"));
    rows = new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    rows = new Uint8Array();
  }
  if (rows.length !== (2 * width + 1) * height) throw new Error(`${file.name} is a damaged image`);
  const values = new DataView(unfilter(rows, 2 * width, height).buffer);
  const grey = Uint16Array.from({ length: width * height }, (_, i) => values.getUint16(2 * i));
  const key = parts.find(([name]) => name === "tRNS")?.[1];
  return { width, height, ...scaled(grey, [low, high], key && key[0] * 256 + key[1], preparation.background) };
}
