"use strict";

// The network, one character at a time. The equations are those of charrnn's nn/lstm.py, gru.py and rnn.py, the weights
// PyTorch's: rows of a matrix are outputs, gates stand one below the other (LSTM i, f, g, o; GRU r, z, n).
// V symbols, H hidden units, G = gates x H.

const sigmoid = (a) => 1 / (1 + Math.exp(-a));

// What a layer does with x = W_ih input + b_ih (G), u = W_hh h + b_hh (G): it moves its state on, h (H) first.
const CELLS = {
  lstm: {
    gates: 4,
    states: 2,
    step(x, u, state, H) {
      for (let j = 0, k = H, l = 2 * H, m = 3 * H; j < H; j++, k++, l++, m++) {
        const i = sigmoid(x[j] + u[j]);
        const f = sigmoid(x[k] + u[k]);
        const g = Math.tanh(x[l] + u[l]);
        const o = sigmoid(x[m] + u[m]);
        const c = f * state[k] + i * g; // c stands behind h
        state[k] = c;
        state[j] = o * Math.tanh(c);
      }
    },
  },
  gru: {
    gates: 3,
    states: 1,
    step(x, u, state, H) {
      for (let j = 0, k = H, l = 2 * H; j < H; j++, k++, l++) {
        const r = sigmoid(x[j] + u[j]);
        const z = sigmoid(x[k] + u[k]);
        const n = Math.tanh(x[l] + r * u[l]);
        state[j] = (1 - z) * n + z * state[j];
      }
    },
  },
  rnn: {
    gates: 1,
    states: 1,
    step(x, u, state, H) {
      for (let j = 0; j < H; j++) state[j] = Math.tanh(x[j] + u[j]);
    },
  },
};

// out = W v + bias, four rows at a time: each element of v is read once for them, and the sums do not wait for another.
function product(W, bias, v, out) {
  const rows = bias.length;
  const width = v.length;
  let r = 0;
  for (; r + 4 <= rows; r += 4) {
    const p = r * width;
    const q = p + width;
    const s = q + width;
    const t = s + width;
    let a = bias[r];
    let b = bias[r + 1];
    let c = bias[r + 2];
    let d = bias[r + 3];
    for (let j = 0; j < width; j++) {
      const x = v[j];
      a += W[p + j] * x;
      b += W[q + j] * x;
      c += W[s + j] * x;
      d += W[t + j] * x;
    }
    out[r] = a;
    out[r + 1] = b;
    out[r + 2] = c;
    out[r + 3] = d;
  }
  for (; r < rows; r++) {
    let a = bias[r];
    for (let j = 0, p = r * width; j < width; j++) a += W[p + j] * v[j];
    out[r] = a;
  }
}

class Network {
  // weights: name -> Float32Array, as `unpack` gives them.
  constructor({ cell, hidden, layers, symbols, embedding }, weights) {
    this.cell = CELLS[cell];
    this.hidden = hidden;
    this.G = this.cell.gates * hidden;
    this.head = { W: weights["head.weight"], bias: weights["head.bias"] };
    this.layers = Array.from({ length: layers }, (_, l) => ({
      W: weights[`rnn.weight_hh_l${l}`],
      bias: weights[`rnn.bias_hh_l${l}`],
      input: { W: weights[`rnn.weight_ih_l${l}`], bias: weights[`rnn.bias_ih_l${l}`] },
    }));
    this.table = this.inputs(symbols, embedding, weights["embedding.weight"]);
    this.x = new Float32Array(this.G);
    this.u = new Float32Array(this.G);
    this.logits = new Float32Array(symbols);
  }

  // What the first layer reads from each symbol (V, G): a column of W_ih, or its product with the symbol's vector.
  inputs(symbols, width, vectors) {
    const { G, layers: [{ input }] } = this;
    const table = new Float32Array(symbols * G);
    for (let id = 0; id < symbols; id++) {
      const row = table.subarray(id * G, (id + 1) * G);
      if (vectors) product(input.W, input.bias, vectors.subarray(id * width, (id + 1) * width), row);
      else for (let g = 0; g < G; g++) row[g] = input.W[g * symbols + id] + input.bias[g];
    }
    return table;
  }

  // The state before any text: of each layer h, and for an LSTM c.
  zeroState() {
    return new Float32Array(this.layers.length * this.cell.states * this.hidden);
  }

  // Reads a symbol: moves the state on.
  step(state, id) {
    const { cell, hidden, G, layers, u } = this;
    const size = cell.states * hidden;
    let x = this.table.subarray(id * G, (id + 1) * G);
    layers.forEach((layer, l) => {
      const its = state.subarray(l * size, (l + 1) * size);
      if (l) {
        x = this.x;
        product(layer.input.W, layer.input.bias, state.subarray((l - 1) * size, (l - 1) * size + hidden), x);
      }
      product(layer.W, layer.bias, its.subarray(0, hidden), u);
      cell.step(x, u, its, hidden);
    });
  }

  // What the state says of the next symbol (V,); valid until the next call.
  predict(state) {
    const top = state.length - this.cell.states * this.hidden;
    product(this.head.W, this.head.bias, state.subarray(top, top + this.hidden), this.logits);
    return this.logits;
  }

  // What the units do, in 127ths, layer after layer: an LSTM's tanh(c), else h.
  activity(state) {
    const { cell, hidden } = this;
    return Int8Array.from({ length: this.layers.length * hidden }, (_, n) => {
      const value = state[Math.floor(n / hidden) * cell.states * hidden + (n % hidden) + (cell.states - 1) * hidden];
      return Math.round(127 * (cell.states > 1 ? Math.tanh(value) : value));
    });
  }
}

// Logits -> unnormalised probabilities, 0 for what may not be chosen. Temperature first, then top-p, as charrnn's
// inference/sampling.py; the likeliest symbol always stays.
function chances(logits, { temperature, topP }) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  if (temperature === 0) {
    const best = logits.indexOf(largest);
    return Float64Array.from(logits, (_, id) => Number(id === best));
  }
  const w = Float64Array.from(logits, (logit) => Math.exp((logit - largest) / Math.max(temperature, 1e-6)));
  if (topP < 1) {
    const enough = Math.max(topP, 1e-9) * w.reduce((a, b) => a + b);
    let before = 0;
    for (const id of likeliest(w)) {
      const weight = w[id];
      if (before && before >= enough) w[id] = 0;
      before += weight;
    }
  }
  return w;
}

// The ids in the order of their weights, the largest first.
const likeliest = (w) => Array.from(w.keys()).sort((a, b) => w[b] - w[a] || a - b);

// Weights and a uniform number in [0, 1) -> an id: inverts the cumulative distribution.
function choose(w, uniform) {
  const point = uniform * w.reduce((a, b) => a + b);
  let sum = 0;
  let last = 0;
  for (let id = 0; id < w.length; id++) {
    if (!w[id]) continue;
    sum += w[id];
    if (sum > point) return id;
    last = id;
  }
  return last; // the sum was rounded
}

// The nats of a symbol: -log of its probability.
function surprise(logits, id) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  return Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0)) + largest - logits[id];
}

// Uniform numbers in [0, 1) from a seed (mulberry32, Tommy Ettinger).
function generator(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Base64 of all weights, one after the other, in float16 or float32 -> name -> Float32Array.
function unpack(base64, shapes, float32) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const all = float32 ? new Float32Array(bytes.buffer) : Float32Array.from(new Uint16Array(bytes.buffer), half);
  let end = 0;
  const next = (shape) => all.subarray(end, (end += shape.reduce((a, b) => a * b)));
  return Object.fromEntries(shapes.map(([name, shape]) => [name, next(shape)]));
}

// The bits of a finite float16 -> its value.
function half(bits) {
  const exponent = (bits >> 10) & 31;
  const size = exponent ? (1024 + (bits & 1023)) * 2 ** (exponent - 25) : (bits & 1023) * 2 ** -24;
  return bits & 0x8000 ? -size : size;
}
