/** What is to be inpainted: CELLS × CELLS cells over an image, painted by hand or by keyboard. */

export const CELLS = 16;

const EMPTY = Array(CELLS * CELLS).fill(false);
const BRUSH = 1.5; // radius in cells
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** A canvas that lies over an image and is painted on. */
export class MaskPainter {
  #cells = EMPTY;
  #cursor = { row: CELLS / 2, column: CELLS / 2 };
  #erasing = false;

  /**
   * @param {HTMLElement} parent
   * @param {(empty: boolean) => void} onChange
   */
  constructor(parent, onChange) {
    this.onChange = onChange;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "live-mask";
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.ariaLabel =
      "Paint over the part to be inpainted: drag, or move with the arrow keys and paint with Space";
    this.canvas.addEventListener("pointerdown", (event) => this.#press(event));
    this.canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) this.#brush(this.#cellAt(event));
    });
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    parent.append(this.canvas);
    this.clear();
  }

  /** The cells as text, see `packMask`. */
  get mask() {
    return packMask(this.#cells);
  }

  clear() {
    this.#set(EMPTY);
  }

  remove() {
    this.canvas.remove();
  }

  #press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.#cursor = this.#cellAt(event);
    this.#erasing = this.#cells[this.#index(this.#cursor)];
    this.#brush(this.#cursor);
  }

  #key(event) {
    const { row, column } = this.#cursor;
    if (event.key === " ") {
      this.#erasing = this.#cells[this.#index(this.#cursor)];
      this.#brush(this.#cursor);
    } else if (event.key in MOVES) {
      const [down, right] = MOVES[event.key];
      this.#cursor = {
        row: (row + down + CELLS) % CELLS,
        column: (column + right + CELLS) % CELLS,
      };
      this.#set(this.#cells);
    } else return;
    event.preventDefault(); // the page would scroll
  }

  /** Paints around a cell, or erases there. */
  #brush({ row, column }) {
    const near = (k) => Math.hypot(Math.floor(k / CELLS) - row, (k % CELLS) - column) <= BRUSH;
    this.#set(this.#cells.map((was, k) => (near(k) ? !this.#erasing : was)));
  }

  #index({ row, column }) {
    return row * CELLS + column;
  }

  #cellAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const at = (share) => Math.min(Math.max(Math.floor(share * CELLS), 0), CELLS - 1);
    return {
      row: at((event.clientY - box.top) / box.height),
      column: at((event.clientX - box.left) / box.width),
    };
  }

  #set(cells) {
    this.#cells = cells;
    const side = 32;
    this.canvas.width = CELLS * side;
    this.canvas.height = CELLS * side;
    const context = this.canvas.getContext("2d");
    context.fillStyle = "rgb(255 255 255 / 82%)";
    for (const [k, hidden] of cells.entries()) {
      if (hidden) context.fillRect((k % CELLS) * side, Math.floor(k / CELLS) * side, side, side);
    }
    const { row, column } = this.#cursor;
    context.lineWidth = 4;
    context.strokeStyle = "#d55e00";
    context.strokeRect(column * side + 2, row * side + 2, side - 4, side - 4);
    this.onChange(!cells.some(Boolean));
  }
}

/** A mask of CELLS × CELLS booleans as 64 hexadecimal digits, and back. */
export function packMask(cells) {
  let text = "";
  for (let i = 0; i < cells.length; i += 4) {
    text += [0, 1, 2, 3].reduce((sum, k) => sum + (cells[i + k] ? 8 >> k : 0), 0).toString(16);
  }
  return text;
}

export function unpackMask(text) {
  return [...text].flatMap((digit) => [8, 4, 2, 1].map((bit) => (parseInt(digit, 16) & bit) > 0));
}

/** 1 for each of the 3·S·S numbers of an image that the mask hides. */
export function hiddenNumbers(text, size) {
  const cells = unpackMask(text);
  const cell = (pixel) => Math.floor((pixel * CELLS) / size);
  return Uint8Array.from({ length: 3 * size * size }, (_, i) => {
    const [row, column] = [Math.floor((i % (size * size)) / size), i % size];
    return cells[cell(row) * CELLS + cell(column)] ? 1 : 0;
  });
}
