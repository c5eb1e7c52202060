// Display of results. Every name is inserted as text, never as markup.

const MAX_LISTED = 12; // maximum number of classes with a bar; the most likely are shown

const QUIET_MS = 700; // delay until a result is read aloud, since it changes at every move of a drawing

let timer;

export const percent = (share) => `${(100 * share).toFixed(1)}%`;

/** Show a result, and have a screen reader read it aloud once it is stable. */
export function say(element, text) {
  if (element.textContent === text) return;
  element.textContent = text;
  clearTimeout(timer);
  timer = setTimeout(() => (document.getElementById("spoken").textContent = text), QUIET_MS);
}

/** Draw [C, H, W] on a canvas of its size; `values` are 0-255 times `scale`. */
export function showPixels(canvas, values, [channels, height, width], scale = 1) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  const n = width * height;
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = values[(channels === 3 ? c * n : 0) + i] * scale;
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** List with a bar for each class, in class order, or by probability if there are many classes. */
export class Probabilities {
  constructor(list, more, classNames) {
    this.classNames = classNames;
    this.rows = classNames.slice(0, MAX_LISTED).map(() => this.#row(list));
    more.hidden = classNames.length <= MAX_LISTED;
    more.textContent = `The ${MAX_LISTED} likeliest of ${classNames.length} classes.`;
    this.show(new Float32Array(classNames.length));
  }

  #row(list) {
    const [row, name, bar, fill, share] = ["li", "span", "div", "div", "span"].map((tag) => document.createElement(tag));
    name.className = "name";
    bar.className = "bar";
    share.className = "share";
    bar.append(fill);
    row.append(name, bar, share);
    list.append(row);
    return { row, name, fill, share };
  }

  show(probabilities, label = -1) {
    const order = [...this.classNames.keys()];
    if (order.length > MAX_LISTED) order.sort((a, b) => probabilities[b] - probabilities[a]);
    this.rows.forEach(({ row, name, fill, share }, at) => {
      const index = order[at];
      name.textContent = name.title = this.classNames[index];
      fill.style.width = percent(probabilities[index]);
      share.textContent = percent(probabilities[index]);
      row.classList.toggle("likeliest", index === label);
    });
  }
}
