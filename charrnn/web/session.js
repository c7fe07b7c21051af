"use strict";

// A text in the making: what the reader gives is read, what the network draws is written behind it.

const PAGE = 2000; // pieces that are written at a go
const LONGEST = 20000; // pieces of a text that the reader gives
const GIVEN = new Set(["given", "unknown"]); // kinds of piece; the others are "written" and "chosen"

class Session {
  constructor(network, alphabet, { start, lines }) {
    this.alphabet = alphabet;
    this.open = () => new Reading(network, start, lines ? alphabet.newline : null);
    this.queue = []; // pieces that are still to be read
    this.goal = 0; // it writes until there are so many pieces
    this.cut(0);
  }

  get isWriting() {
    return this.goal > this.pieces.length;
  }

  get isBusy() {
    return this.isWriting || this.queue.length > 0;
  }

  get text() {
    return this.pieces.map(({ text }) => text).join("");
  }

  // A text in the place of what is there; what both begin with is not read again.
  give(text) {
    const wanted = this.alphabet.pieces(text).slice(0, LONGEST);
    const isSame = (piece, k) => this.pieces[k]?.text === piece.text && GIVEN.has(this.pieces[k].kind);
    const same = wanted.findIndex((piece, k) => !isSame(piece, k));
    this.stop();
    this.cut(same < 0 ? wanted.length : same);
    this.queue = wanted.slice(this.pieces.length);
    this.uniform = null;
  }

  // Writes behind what is there, or is still to be read, another page or up to the text `until`. The seed counts where
  // nothing has been written yet.
  goOn(seed, until) {
    this.uniform ??= generator((this.seed = seed));
    this.from = this.pieces.length + this.queue.length;
    this.goal = this.from + PAGE;
    this.until = until;
  }

  // Another symbol at a place, the pieces from there on forgotten.
  replace(place, id) {
    this.stop();
    this.cut(place);
    this.read(id, "chosen");
  }

  stop() {
    this.goal = 0;
    this.queue = [];
  }

  readNext() {
    const piece = this.queue.shift();
    if (piece.ids.length) piece.ids.forEach((id) => this.read(id, "given"));
    else this.put(piece, "unknown");
  }

  writeNext(choice) {
    const logits = this.reading.predict();
    this.read(choose(chances(logits, choice), this.uniform()), "written", logits);
    const tail = this.pieces.slice(Math.max(this.from, this.pieces.length - this.until.length));
    if (this.until && tail.map(({ text }) => text).join("").endsWith(this.until)) this.goal = 0;
  }

  read(id, kind, logits) {
    this.reading.add(id, logits);
    for (const piece of this.speller.add(id)) this.put(piece, kind);
  }

  put(piece, kind) {
    const before = this.pieces.at(-1);
    this.pieces.push({ ...piece, kind, start: before ? before.start + before.ids.length : 0 });
  }

  // Forgets all pieces from a place on.
  cut(place) {
    if (!place) this.reading = this.open();
    else if (place < this.pieces.length) this.reading.cut(this.pieces[place].start);
    else return;
    this.speller = new Speller(this.alphabet);
    this.pieces = place ? this.pieces.slice(0, place) : [];
  }

  // The logits of what stands at a place, or comes next.
  predict(place) {
    return this.reading.predict(this.pieces[place]?.start);
  }

  // What a piece cost, in nats.
  nats({ start, ids }) {
    return ids.reduce((sum, _, n) => sum + this.reading.nats[start + n], 0);
  }

  // What a unit did there, from -1 to 1; the units of all layers are numbered through.
  activity({ start, ids }, unit) {
    return ids.length ? this.reading.units[start + ids.length - 1][unit] / 127 : 0;
  }
}
