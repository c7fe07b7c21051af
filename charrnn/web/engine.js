"use strict";

// The network, one time step at a time. The equations are those of charrnn/nn/lstm.py, gru.py and rnn.py. The weights
// have PyTorch's layout: the rows of a matrix are outputs, in blocks of H rows for each gate (LSTM i, f, g, o; GRU r, z, n).
//
// V vocabulary size, H hidden size, G = gates x H, L layers.

const sigmoid = (a) => 1 / (1 + Math.exp(-a));

// step(x, u, state, H): one time step of a layer. x (G) = W_ih input + b_ih, u (G) = W_hh h + b_hh. The state is h (H),
// for an LSTM followed by c (H), and is overwritten.
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
        const c = f * state[k] + i * g;
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

// out = W v + bias. Four rows at a time: each element of v is then read once for four independent sums.
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
  // weights: name -> Float32Array, see `unpackWeights`.
  constructor({ cell, hiddenSize, numLayers, embeddingSize, codes }, weights) {
    this.cell = CELLS[cell];
    this.H = hiddenSize;
    this.G = this.cell.gates * hiddenSize;
    this.V = codes.length;
    this.head = { W: weights["head.weight"], bias: weights["head.bias"] };
    this.layers = Array.from({ length: numLayers }, (_, l) => ({
      W: weights[`rnn.weight_hh_l${l}`],
      bias: weights[`rnn.bias_hh_l${l}`],
      input: { W: weights[`rnn.weight_ih_l${l}`], bias: weights[`rnn.bias_ih_l${l}`] },
    }));
    this.inputTable = this.makeInputTable(weights["embedding.weight"], embeddingSize);
    this.x = new Float32Array(this.G);
    this.u = new Float32Array(this.G);
    this.logits = new Float32Array(this.V);
  }

  // x of the first layer for each symbol (V, G): W_ih times the symbol's embedding (or one-hot vector), plus the bias.
  makeInputTable(embedding, width) {
    const { G, V, layers: [{ input }] } = this;
    const table = new Float32Array(V * G);
    for (let id = 0; id < V; id++) {
      const row = table.subarray(id * G, (id + 1) * G);
      if (embedding) product(input.W, input.bias, embedding.subarray(id * width, (id + 1) * width), row);
      else for (let g = 0; g < G; g++) row[g] = input.W[g * V + id] + input.bias[g];
    }
    return table;
  }

  // The state before the first symbol of a text: for each layer h, and c of an LSTM.
  zeroState() {
    return new Float32Array(this.layers.length * this.cell.states * this.H);
  }

  // Reads a symbol and updates the state.
  step(state, id) {
    const { cell, H, G, layers, u } = this;
    const size = cell.states * H; // of the state of a layer
    let x = this.inputTable.subarray(id * G, (id + 1) * G);
    layers.forEach((layer, l) => {
      const layerState = state.subarray(l * size, (l + 1) * size);
      if (l) {
        const below = state.subarray((l - 1) * size, (l - 1) * size + H);
        x = this.x;
        product(layer.input.W, layer.input.bias, below, x);
      }
      product(layer.W, layer.bias, layerState.subarray(0, H), u);
      cell.step(x, u, layerState, H);
    });
  }

  // The logits of the next symbol (V,). They are valid until the next call.
  predict(state) {
    const top = state.length - this.cell.states * this.H;
    product(this.head.W, this.head.bias, state.subarray(top, top + this.H), this.logits);
    return this.logits;
  }

  // The activity of all units, layer by layer, in steps of 1/127: tanh(c) of an LSTM, h of other cells.
  activity(state) {
    const { cell: { states }, H } = this;
    return Int8Array.from({ length: this.layers.length * H }, (_, n) => {
      const layer = Math.floor(n / H);
      const value = state[layer * states * H + (states - 1) * H + (n % H)];
      return Math.round(127 * (states > 1 ? Math.tanh(value) : value));
    });
  }
}

// Logits -> unnormalised probabilities, 0 for symbols that are excluded: temperature, then top-p, as in
// charrnn/models/sampling.py. The most likely symbol is never excluded.
function samplingWeights(logits, { temperature, topP }) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  if (temperature === 0) {
    const best = logits.indexOf(largest);
    return Float64Array.from(logits, (_, id) => Number(id === best));
  }
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - largest) / Math.max(temperature, 1e-6)));
  if (topP < 1) {
    const limit = Math.max(topP, 1e-9) * weights.reduce((a, b) => a + b);
    let sum = 0; // of all more likely symbols
    for (const id of idsByWeight(weights)) {
      const weight = weights[id];
      if (sum && sum >= limit) weights[id] = 0;
      sum += weight;
    }
  }
  return weights;
}

// The ids in descending order of their weights.
const idsByWeight = (weights) => Array.from(weights.keys()).sort((a, b) => weights[b] - weights[a] || a - b);

// Draws an id, given a uniform number in [0, 1), by inverting the cumulative distribution.
function sample(weights, uniform) {
  const point = uniform * weights.reduce((a, b) => a + b);
  let sum = 0;
  let last = 0;
  for (let id = 0; id < weights.length; id++) {
    if (!weights[id]) continue;
    sum += weights[id];
    if (sum > point) return id;
    last = id;
  }
  return last; // reached only because of rounding
}

// -log(probability) of a symbol.
function nats(logits, id) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  return Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0)) + largest - logits[id];
}

// A generator of uniform numbers in [0, 1): mulberry32 by Tommy Ettinger.
function uniformGenerator(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Base64 of all weights in float16 or float32, one after the other -> {name: Float32Array}.
function unpackWeights(base64, shapes, float32) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const flat = float32 ? new Float32Array(bytes.buffer) : Float32Array.from(new Uint16Array(bytes.buffer), float16Value);
  let end = 0;
  const next = (shape) => flat.subarray(end, (end += shape.reduce((a, b) => a * b)));
  return Object.fromEntries(shapes.map(([name, shape]) => [name, next(shape)]));
}

// The value of a finite float16, given its bits.
function float16Value(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size = exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
  return bits & 0x8000 ? -size : size;
}
