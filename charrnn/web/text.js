"use strict";

// Text and symbols, and a text as the network has read it. A piece of text is what one sees as a character, with the
// ids of its symbols: one, of a model of bytes up to four, none where the model does not know it.

const MARKS = { " ": "␣", "\n": "↵", "\r": "←", "\t": "⇥" };
const UTF8 = { encoder: new TextEncoder(), decoder: new TextDecoder("utf-8", { ignoreBOM: true }) };

// How many bytes a character takes that begins with this one; 1 for a byte that begins none.
const bytesOf = (lead) => (lead < 0xc2 || lead > 0xf4 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4);

class Alphabet {
  // codes: code points, or byte values, of the ids 0, 1, 2 ...
  constructor(codes, isBytes) {
    this.codes = codes;
    this.isBytes = isBytes;
    this.ids = new Map(codes.map((code, id) => [code, id]));
    this.newline = this.ids.get(10);
  }

  pieces(text) {
    return Array.from(text, (character) => {
      const codes = this.isBytes ? [...UTF8.encoder.encode(character)] : [character.codePointAt(0)];
      const ids = codes.map((code) => this.ids.get(code));
      return { text: character, ids: ids.includes(undefined) ? [] : ids };
    });
  }

  // A symbol by itself; a byte that is no character by its number.
  name(id) {
    const code = this.codes[id];
    return this.isBytes && code > 0x7f ? `0x${code.toString(16)}` : nameOf(String.fromCodePoint(code));
  }
}

// From symbols, as they come, to pieces.
class Speller {
  constructor(alphabet) {
    this.alphabet = alphabet;
    this.begun = []; // the ids of a character's first bytes
  }

  // The pieces that one more symbol makes whole: mostly one.
  add(id) {
    const { codes, isBytes } = this.alphabet;
    if (!isBytes) return [{ text: String.fromCodePoint(codes[id]), ids: [id] }];
    const whole = [];
    const goesOn = codes[id] >> 6 === 2;
    if (this.begun.length && !goesOn) whole.push(this.end());
    this.begun.push(id);
    if (this.begun.length >= bytesOf(codes[this.begun[0]])) whole.push(this.end());
    return whole;
  }

  // What was begun, whole or broken (U+FFFD).
  end() {
    const ids = this.begun;
    this.begun = [];
    return { text: UTF8.decoder.decode(Uint8Array.from(ids, (id) => this.alphabet.codes[id])), ids };
  }
}

// Symbols that the network has read, one after the other, with what it made of each.
class Reading {
  static KEEP = 16; // every so many symbols the state is kept, to come back to

  // record: the id at which the state starts anew, if the model reads lines. `start` is read before all else.
  constructor(network, start, record) {
    this.network = network;
    this.record = record;
    this.ids = [];
    this.nats = [];
    this.units = []; // Int8Array each, see Network.activity
    this.state = network.zeroState();
    this.step(this.state, start);
    this.kept = [this.state.slice()];
  }

  step(state, id) {
    if (id === this.record) state.fill(0);
    this.network.step(state, id);
  }

  // Reads one more symbol; logits: what `predict` said of it, where that is at hand.
  add(id, logits = this.predict()) {
    this.nats.push(surprise(logits, id));
    this.step(this.state, id);
    this.ids.push(id);
    this.units.push(this.network.activity(this.state));
    if (this.ids.length % Reading.KEEP === 0) this.kept.push(this.state.slice());
  }

  // The logits of the symbol at a place; without one, of the next.
  predict(place = this.ids.length) {
    return this.network.predict(place === this.ids.length ? this.state : this.stateAt(place));
  }

  stateAt(place) {
    const from = Math.floor(place / Reading.KEEP);
    const state = this.kept[from].slice();
    for (let n = from * Reading.KEEP; n < place; n++) this.step(state, this.ids[n]);
    return state;
  }

  // Forgets all symbols from a place on.
  cut(place) {
    this.state = this.stateAt(place);
    for (const values of [this.ids, this.nats, this.units]) values.length = place;
    this.kept.length = Math.floor(place / Reading.KEEP) + 1;
  }
}

// How a character is shown where it stands alone.
function nameOf(character) {
  return MARKS[character] ?? (/\p{M}/u.test(character) ? "◌" + character : shown(character));
}

// What would have no look of its own, or would change that of others (controls, marks of direction, parts of a pair),
// by its number.
function shown(character) {
  const hidden = /[\p{C}\p{Zl}\p{Zp}]/u.test(character) && !"\n\r\t\u200c\u200d".includes(character);
  return hidden ? "U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") : character;
}
