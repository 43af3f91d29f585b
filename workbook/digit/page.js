// The live digit: shows the drawing and what IntegerNetwork computes from it. Several elements of
// class "digit" can be on one page.
"use strict";

(() => {
  const { SIDE, canvas, toInput, Pad } = globalThis.DigitDrawing;
  const { decode, run } = globalThis.IntegerNetwork;
  const parameters = globalThis.lenetParameters;
  const network = decode(parameters);
  const images = Uint8Array.from(atob(parameters.images.pixels), (byte) => byte.charCodeAt(0));

  // A grey picture of `channels` square images, `columns` in a row; white is the largest value.
  function paint(element, values, channels, columns, lowest, highest) {
    const side = Math.sqrt(values.length / channels);
    const gap = side > 1 ? 1 : 0;
    element.width = columns * (side + gap) - gap;
    element.height = Math.ceil(channels / columns) * (side + gap) - gap;
    const context = element.getContext("2d");
    const picture = context.createImageData(element.width, element.height);
    values.forEach((value, i) => {
      const channel = Math.floor(i / side ** 2);
      const x = (channel % columns) * (side + gap) + (i % side);
      const row = Math.floor((i % side ** 2) / side);
      const y = Math.floor(channel / columns) * (side + gap) + row;
      const grey = (255 * (value - lowest)) / Math.max(highest - lowest, 1);
      picture.data.set([grey, grey, grey, 255], 4 * (y * element.width + x));
    });
    context.putImageData(picture, 0, 0);
  }

  // [name, channels, columns] of the pictures, in the order of the layers
  const PICTURES = [
    ["conv1", 6, 6],
    ["pool1", 6, 6],
    ["conv2", 16, 8],
    ["pool2", 16, 8],
    ["fc1", 120, 30],
    ["fc2", 84, 28],
  ];

  function figure(name, size, label) {
    const element = document.createElement("figure");
    const picture = canvas(1, 1);
    picture.className = `digit-${name}`;
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", label);
    const caption = document.createElement("figcaption");
    caption.textContent = `${name}: ${size}`;
    element.append(picture, caption);
    return element;
  }

  function addFigures(root) {
    const layers = root.querySelector(".digit-layers");
    layers.append(figure("input", "28 × 28", "The input as the network gets it"));
    const { outputs } = run(network, new Uint8Array(SIDE * SIDE));
    PICTURES.forEach(([name, channels], i) => {
      const side = Math.sqrt(outputs[i].length / channels);
      const size = side > 1 ? `${channels} × ${side} × ${side}` : `${channels}`;
      layers.append(figure(name, size, `Activations of the layer ${name}, ${size}`));
    });
  }

  function cell(kind, className, text = "") {
    const element = document.createElement(kind);
    element.className = className;
    element.textContent = text;
    return element;
  }

  function addRows(root) {
    for (let digit = 0; digit < 10; digit++) {
      const row = document.createElement("tr");
      const head = cell("th", "", String(digit));
      head.scope = "row";
      const bar = cell("td", "digit-bar");
      bar.append(document.createElement("span"));
      row.append(head, cell("td", "digit-integer"), cell("td", "digit-logit"), bar);
      root.querySelector("tbody").append(row);
    }
  }

  // A bar from zero to the integer, within the range of the grid.
  function showLogits(root, integers, logits, winner) {
    const { low, high, zero } = network.layers[network.layers.length - 1].grid;
    const percent = (integer) => (100 * (integer - low)) / (high - low);
    root.querySelectorAll("tbody tr").forEach((row, digit) => {
      row.classList.toggle("digit-largest", digit === winner);
      row.querySelector(".digit-integer").textContent = integers[digit];
      row.querySelector(".digit-logit").textContent = logits[digit].toFixed(2);
      const [from, to] = [integers[digit], zero].sort((a, b) => a - b);
      const { style } = row.querySelector("span");
      style.left = `${percent(from)}%`;
      style.width = `${percent(to) - percent(from)}%`;
    });
  }

  // Show all activations for an input, and return the answer. An empty input has none to mark.
  function show(root, pixels, isEmpty = false) {
    const start = performance.now();
    const { input, outputs, logits } = run(network, pixels);
    const milliseconds = performance.now() - start;
    const { low, high } = network.input.grid;
    paint(root.querySelector(".digit-input"), input, 1, 1, low, high);
    PICTURES.forEach(([name, channels, columns], i) => {
      const { zero } = network.layers[i].grid ?? network.layers[i - 1].grid; // a pool keeps it
      const largest = Math.max(...outputs[i]);
      const picture = root.querySelector(`.digit-${name}`);
      paint(picture, outputs[i], channels, columns, zero, largest);
    });
    const winner = logits.indexOf(Math.max(...logits));
    showLogits(root, outputs[outputs.length - 1], logits, isEmpty ? -1 : winner);
    root.querySelector(".digit-file").textContent =
      `${network.file}, ${network.bytes.toLocaleString("en")} bytes; ` +
      `computed in ${milliseconds.toFixed(1)} ms`;
    return winner;
  }

  // ---- Drawing

  function start(root) {
    const element = root.querySelector(".digit-pad");
    const context = element.getContext("2d");
    const answer = root.querySelector(".digit-answer");
    const pad = new Pad(element, update);
    let testImage = -1; // the number of the test image on the canvas, -1 for a drawing
    let nextImage = 0;

    const say = (text) => {
      if (answer.textContent !== text) answer.textContent = text; // read aloud once
    };

    function showDrawing() {
      pad.draw();
      const isEmpty = pad.strokes.length === 0;
      const winner = show(root, toInput(pad.strokes), isEmpty);
      if (isEmpty) say("Draw a digit.");
      else if (!pad.isDrawing) say(`The network reads a ${winner}.`);
    }

    function showTestImage() {
      const { labels, numbers, source } = parameters.images;
      const pixels = images.subarray(testImage * SIDE ** 2, (testImage + 1) * SIDE ** 2);
      const small = canvas(1, 1);
      paint(small, pixels, 1, 1, 0, 255);
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, element.width, element.height);
      const winner = show(root, pixels);
      say(`The network reads a ${winner}. The label is ${labels[testImage]}.`);
      const origin = `Image number ${numbers[testImage]} of “${source}”.`;
      root.querySelector(".digit-file").prepend(`${origin} `);
    }

    function update() {
      if (pad.strokes.length > 0) testImage = -1; // the first stroke on it begins a new drawing
      if (testImage < 0) showDrawing();
      else showTestImage();
    }

    function begin(image) {
      testImage = image;
      pad.clear();
    }
    root.querySelector(".digit-clear").addEventListener("click", () => begin(-1));
    root.querySelector(".digit-test").addEventListener("click", () => {
      begin(nextImage);
      nextImage = (nextImage + 1) % parameters.images.labels.length;
    });
    update();
  }

  for (const root of document.querySelectorAll(".digit:not([data-ready])")) {
    root.dataset.ready = ""; // the script may be on the page twice
    addFigures(root);
    addRows(root);
    start(root);
  }
})();
