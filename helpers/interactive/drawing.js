// From strokes to the input of the network, as MNIST was made. This file assigns one global,
// DigitDrawing. A stroke is a list of points [x, y], from 0 to 1 within the drawing area.
"use strict";

globalThis.DigitDrawing = (() => {
  const SIDE = 28; // pixels of an input
  const BOX = 20; // MNIST fits a digit into 20 x 20 pixels
  const PEN = 2.5; // the width of a stroke, in pixels of the input
  const FINE = 8; // samples per pixel and direction, for smooth edges
  const SMALLEST = 0.1; // of the drawing area: a smaller drawing, such as a dot, stays small

  function canvas(width, height) {
    const element = document.createElement("canvas");
    element.width = width;
    element.height = height;
    return element;
  }

  // White strokes on black. `move` turns a point (0 to 1) into a pixel of the canvas.
  function drawStrokes(context, strokes, width, move) {
    context.fillStyle = "black";
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
    context.strokeStyle = "white";
    context.lineWidth = width;
    context.lineCap = "round";
    context.lineJoin = "round";
    for (const stroke of strokes) {
      context.beginPath();
      context.moveTo(...move(stroke[0]));
      for (const point of stroke) {
        const [x, y] = move(point);
        context.lineTo(x + 0.01, y); // not quite the first point, so that a dot has a length
      }
      context.stroke();
    }
  }

  const fine = canvas(SIDE * FINE, SIDE * FINE).getContext("2d", { willReadFrequently: true });

  // The strokes, scaled and with the point `centre` in the middle, as SIDE x SIDE pixels.
  function rasterize(strokes, scale, [centreX, centreY]) {
    const move = ([x, y]) => [
      ((x - centreX) * scale + SIDE / 2) * FINE,
      ((y - centreY) * scale + SIDE / 2) * FINE,
    ];
    drawStrokes(fine, strokes, PEN * FINE, move);
    const { data } = fine.getImageData(0, 0, SIDE * FINE, SIDE * FINE);
    const sums = new Float64Array(SIDE * SIDE);
    for (let y = 0; y < SIDE * FINE; y++)
      for (let x = 0; x < SIDE * FINE; x++) {
        const pixel = Math.floor(y / FINE) * SIDE + Math.floor(x / FINE);
        sums[pixel] += data[4 * (y * SIDE * FINE + x)]; // red; the picture is grey
      }
    return Uint8Array.from(sums, (sum) => Math.round(sum / FINE ** 2));
  }

  function centreOfMass(pixels) {
    let [mass, massX, massY] = [0, 0, 0];
    pixels.forEach((value, i) => {
      mass += value;
      massX += value * ((i % SIDE) + 0.5);
      massY += value * (Math.floor(i / SIDE) + 0.5);
    });
    return [massX / mass, massY / mass];
  }

  // As MNIST was made: the digit fits into a box of BOX x BOX, then its centre of mass is moved to
  // the middle of the image.
  function toInput(strokes) {
    if (strokes.length === 0) return new Uint8Array(SIDE * SIDE);
    const xs = strokes.flat().map(([x]) => x);
    const ys = strokes.flat().map(([, y]) => y);
    const [left, right] = [Math.min(...xs), Math.max(...xs)];
    const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
    const longest = Math.max(right - left, bottom - top, SMALLEST);
    const scale = (BOX - PEN) / longest;
    const middle = [(left + right) / 2, (top + bottom) / 2];
    const [x, y] = centreOfMass(rasterize(strokes, scale, middle));
    const moved = [middle[0] + (x - SIDE / 2) / scale, middle[1] + (y - SIDE / 2) / scale];
    return rasterize(strokes, scale, moved);
  }

  // What mouse, pen or finger draw on the canvas `element`. `changed` is called after a change, at
  // most once per frame, however fast the pointer moves.
  class Pad {
    constructor(element, changed) {
      this.element = element;
      this.changed = changed;
      this.strokes = [];
      this.isDrawing = false;
      this.isPlanned = false;
      element.addEventListener("pointerdown", (event) => this.begin(event));
      element.addEventListener("pointermove", (event) => this.isDrawing && this.add(event));
      for (const end of ["pointerup", "pointercancel"])
        element.addEventListener(end, () => this.end());
    }

    begin(event) {
      if (event.button !== 0 || this.isDrawing) return; // not the right button, nor a second finger
      this.element.setPointerCapture(event.pointerId);
      this.isDrawing = true;
      this.strokes.push([]);
      this.add(event);
    }

    add(event) {
      const { left, top, width, height } = this.element.getBoundingClientRect();
      const point = [(event.clientX - left) / width, (event.clientY - top) / height];
      this.strokes[this.strokes.length - 1].push(point);
      this.plan();
    }

    end() {
      this.isDrawing = false;
      this.plan();
    }

    clear() {
      this.strokes = [];
      this.plan();
    }

    plan() {
      if (this.isPlanned) return;
      this.isPlanned = true;
      requestAnimationFrame(() => {
        this.isPlanned = false;
        this.changed();
      });
    }

    draw() {
      const { width, height } = this.element;
      const move = ([x, y]) => [x * width, y * height];
      drawStrokes(this.element.getContext("2d"), this.strokes, (PEN / SIDE) * width, move);
    }
  }

  return { SIDE, canvas, toInput, Pad };
})();
