// LeNet in integers: int8 weights, int32 sums, 8-bit activations. The results equal those of ONNX
// Runtime and LiteRT, bit for bit. Notebook 05 derives the arithmetic; the names M, M0 and n are
// the same there. This file assigns one global, IntegerNetwork.
"use strict";

globalThis.IntegerNetwork = (() => {
  // A JavaScript number is a float64. fround rounds it to float32, as the runtimes do at each step.
  const { abs, floor, fround, max, min, round, sign } = Math; // Math.round rounds ties up

  function halfToEven(x) {
    const rounded = round(x);
    const isTie = rounded - x === 0.5;
    return isTie && rounded % 2 !== 0 ? rounded - 1 : rounded;
  }

  function halfAwayFromZero(x) {
    return sign(x) * round(abs(x));
  }

  // sum * M0 / 2 ** n, ties up. The product has up to 62 bits, and a number holds 53. So M0 is
  // split in two: sum * M0 = upper * 2 ** 16 + rest. As n is 31 or more, the rest (0 to
  // 2 ** 16 - 1) cannot change the result.
  function multiplyAndShift(sum, M0, n) {
    const high = M0 >> 16;
    const low = M0 & 0xffff;
    const upper = sum * high + floor((sum * low) / 2 ** 16);
    return round(upper / 2 ** (n - 16));
  }

  // The rules of rounding. Each multiplies the sum of output number o by M, the scales of weights
  // and input divided by that of the output. M is a float32, or the integers M0 / 2 ** n.
  const rules = {
    // ONNX Runtime, and LiteRT with XNNPACK
    float32: (sum, layer, o) => halfToEven(fround(fround(sum) * layer.M[o])),
    // LiteRT's reference kernels: first dense layers, then convolutions
    once: (sum, layer, o) => sign(sum) * multiplyAndShift(abs(sum), layer.M0[o], layer.n[o]),
    twice: (sum, layer, o) =>
      halfAwayFromZero(multiplyAndShift(sum, layer.M0[o], 31) / 2 ** (layer.n[o] - 31)),
  };

  // Real number = scale * (integer - zero). What is out of range saturates.
  const clip = (integer, grid) => max(grid.low, min(grid.high, integer));

  // The type of an activation: a grid from -128 to 127, or from 0 to 255.
  const empty = (length, grid) => new (grid.low < 0 ? Int8Array : Uint8Array)(length);

  // A pixel (0 to 255) is normalized as in training, then quantized.
  function quantize(pixels, { grid, mean, std }) {
    return empty(pixels.length, grid).map((_, i) => {
      const normalized = fround(fround(fround(pixels[i] / 255) - fround(mean)) / fround(std));
      return clip(halfToEven(fround(normalized / grid.scale)) + grid.zero, grid);
    });
  }

  const dequantize = (integers, grid) =>
    Float32Array.from(integers, (integer) => fround(grid.scale * (integer - grid.zero)));

  // Activations are channels, rows, columns, in this order; weights have the outputs in front.
  function convolve(input, layer) {
    const { width, size, channels, bias, weights, zero } = layer;
    const side = width - size + 1;
    const output = empty(bias.length * side * side, layer.grid);
    let at = 0;
    for (let o = 0; o < bias.length; o++)
      for (let y = 0; y < side; y++)
        for (let x = 0; x < side; x++) {
          let sum = bias[o]; // "| 0" keeps it an int32
          let weight = o * channels * size * size;
          for (let c = 0; c < channels; c++)
            for (let row = y; row < y + size; row++) {
              const start = (c * width + row) * width + x;
              for (let i = start; i < start + size; i++)
                sum = (sum + weights[weight++] * (input[i] - zero)) | 0;
            }
          output[at++] = clip(rules[layer.rule](sum, layer, o) + layer.grid.zero, layer.grid);
        }
    return output; // a ReLU is part of the clip: the grid begins at its zero
  }

  // A dense layer is a convolution of images with one pixel.
  const connect = (input, layer) =>
    convolve(input, { ...layer, width: 1, size: 1, channels: input.length });

  // The largest of each 2 x 2 square. The largest integer is the largest real number, too.
  function pool(input, { width }) {
    const side = width / 2;
    return input.slice(0, input.length / 4).map((_, i) => {
      const top = 2 * width * floor(i / side) + 2 * (i % side);
      const bottom = top + width;
      return max(input[top], input[top + 1], input[bottom], input[bottom + 1]);
    });
  }

  const kinds = { convolution: convolve, pool, dense: connect };

  // Weights travel as base64: bytes that fit into a text file.
  function decode(network) {
    const bytes = (text) => {
      const letters = atob(text);
      return new Int8Array(letters.length).map((_, i) => letters.charCodeAt(i));
    };
    const layers = network.layers.map((layer) =>
      layer.weights ? { ...layer, weights: bytes(layer.weights) } : layer,
    );
    return { ...network, layers };
  }

  // 28 x 28 pixels to the integers after each layer, and the logits as float32.
  function run(network, pixels) {
    const input = quantize(pixels, network.input);
    const outputs = [];
    let last = input;
    for (const layer of network.layers) {
      last = kinds[layer.kind](last, layer);
      outputs.push(last);
    }
    const { grid } = network.layers[network.layers.length - 1];
    return { input, outputs, logits: dequantize(last, grid) };
  }

  return { decode, run, rules, halfToEven, multiplyAndShift };
})();
