"use strict";

// Text and the ids of its symbols. A character is an object { text, ids }: ids has one id, up to four ids for a model of
// bytes, and none for a character that is not in the vocabulary.

const VISIBLE = { " ": "␣", "\n": "↵", "\r": "←", "\t": "⇥" };
const UTF8 = { encoder: new TextEncoder(), decoder: new TextDecoder("utf-8", { ignoreBOM: true }) };

// The number of bytes of a UTF-8 character, given its first byte. It is 1 for a byte that cannot be the first one.
const utf8Length = (byte) => (byte < 0xc2 || byte > 0xf4 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4);

class Vocabulary {
  // codes: the code points or byte values of the ids 0, 1, 2 ...
  constructor(codes, isBytes) {
    this.codes = codes;
    this.isBytes = isBytes;
    this.ids = new Map(codes.map((code, id) => [code, id]));
    this.newline = this.ids.get(10);
  }

  encode(text) {
    return Array.from(text, (character) => {
      const codes = this.isBytes ? [...UTF8.encoder.encode(character)] : [character.codePointAt(0)];
      const ids = codes.map((code) => this.ids.get(code));
      return { text: character, ids: ids.includes(undefined) ? [] : ids };
    });
  }

  contains(text) {
    return this.encode(text).every(({ ids }) => ids.length);
  }

  // The displayed name of a symbol. A byte that is not a character is shown as its number.
  symbolName(id) {
    const code = this.codes[id];
    return this.isBytes && code > 0x7f ? `0x${code.toString(16)}` : characterName(String.fromCodePoint(code));
  }
}

// Decodes ids one by one. Incomplete bytes of a character are kept until the character is complete.
class Decoder {
  constructor(vocabulary) {
    this.vocabulary = vocabulary;
    this.incomplete = []; // ids of the first bytes of a character
  }

  // Returns the characters that are complete after one more id: usually one.
  add(id) {
    const { codes, isBytes } = this.vocabulary;
    if (!isBytes) return [{ text: String.fromCodePoint(codes[id]), ids: [id] }];
    const characters = [];
    const isContinuation = codes[id] >> 6 === 2;
    if (this.incomplete.length && !isContinuation) characters.push(this.flush());
    this.incomplete.push(id);
    if (this.incomplete.length >= utf8Length(codes[this.incomplete[0]])) characters.push(this.flush());
    return characters;
  }

  // Returns the collected bytes as one character, U+FFFD if they are not valid.
  flush() {
    const ids = this.incomplete;
    this.incomplete = [];
    return { text: UTF8.decoder.decode(Uint8Array.from(ids, (id) => this.vocabulary.codes[id])), ids };
  }
}

// The symbols that the network has read, with the loss of each and the activity of the units after it.
class History {
  static SAVE_EVERY = 16; // symbols between two saved states; the other states are recomputed from the saved ones

  // start: the id that is read before every text. recordEnd: the id that resets the state, if the model reads records (else null).
  constructor(network, start, recordEnd) {
    this.network = network;
    this.recordEnd = recordEnd;
    this.ids = [];
    this.nats = [];
    this.activity = []; // an Int8Array for each id, see Network.activity
    this.state = network.zeroState();
    this.step(this.state, start);
    this.savedStates = [this.state.slice()];
  }

  step(state, id) {
    if (id === this.recordEnd) state.fill(0);
    this.network.step(state, id);
  }

  // Reads one more symbol. logits: the prediction before it, if the caller has it.
  add(id, logits = this.predict()) {
    this.nats.push(nats(logits, id));
    this.step(this.state, id);
    this.ids.push(id);
    this.activity.push(this.network.activity(this.state));
    if (this.ids.length % History.SAVE_EVERY === 0) this.savedStates.push(this.state.slice());
  }

  // The logits of the symbol at a place, by default of the next symbol.
  predict(place = this.ids.length) {
    return this.network.predict(place === this.ids.length ? this.state : this.stateAt(place));
  }

  // The state before the symbol at a place.
  stateAt(place) {
    const n = Math.floor(place / History.SAVE_EVERY);
    const state = this.savedStates[n].slice();
    for (const id of this.ids.slice(n * History.SAVE_EVERY, place)) this.step(state, id);
    return state;
  }

  // Removes all symbols from a place on.
  truncate(place) {
    this.state = this.stateAt(place);
    for (const values of [this.ids, this.nats, this.activity]) values.length = place;
    this.savedStates.length = Math.floor(place / History.SAVE_EVERY) + 1;
  }
}

// The displayed name of a character outside the text. White space has a visible symbol.
function characterName(character) {
  return VISIBLE[character] ?? (/\p{M}/u.test(character) ? "◌" + character : visibleText(character));
}

// The number of a character that is invisible or changes how others are shown (controls, direction marks, surrogates),
// else the character.
function visibleText(character) {
  const isHidden = /[\p{C}\p{Zl}\p{Zp}]/u.test(character) && !"\n\r\t\u200c\u200d".includes(character);
  return isHidden ? "U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") : character;
}
