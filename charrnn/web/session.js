"use strict";

// The text of the page. The network reads the characters given by the user, and then continues the text.

const WRITE_LENGTH = 2000; // characters that the network writes at a time
const MAX_LENGTH = 20000; // maximum number of characters given by the user
const GIVEN_KINDS = new Set(["given", "unknown"]); // kinds of characters; the others are "written" and "chosen"

class Session {
  constructor(network, vocabulary, { start, recordEnd }) {
    this.vocabulary = vocabulary;
    this.history = new History(network, start, recordEnd);
    this.decoder = new Decoder(vocabulary);
    this.characters = []; // { text, ids, kind, start }, where start is the place of the first id in the history
    this.queue = []; // characters that are to be read
    this.targetLength = 0; // the network writes until the text has this length
  }

  get isWriting() {
    return this.targetLength > this.characters.length;
  }

  get isBusy() {
    return this.isWriting || this.queue.length > 0;
  }

  get text() {
    return this.characters.map(({ text }) => text).join("");
  }

  // Replaces the text. Given characters at the start that stay the same are not read again.
  setText(text) {
    const wanted = this.vocabulary.encode(text).slice(0, MAX_LENGTH);
    const isSame = (character, k) =>
      this.characters[k]?.text === character.text && GIVEN_KINDS.has(this.characters[k].kind);
    const firstDifference = wanted.findIndex((character, k) => !isSame(character, k));
    this.stop();
    this.truncate(firstDifference < 0 ? wanted.length : firstDifference);
    this.queue = wanted.slice(this.characters.length);
    this.uniform = null;
  }

  // Continues the text, including the queue, by WRITE_LENGTH characters or up to `stopText`. The seed is used if
  // nothing has been written since `setText`.
  write(seed, stopText) {
    this.uniform ??= uniformGenerator((this.seed = seed));
    this.writeStart = this.characters.length + this.queue.length;
    this.targetLength = this.writeStart + WRITE_LENGTH;
    this.stopText = stopText;
  }

  // Puts another symbol at a place and removes all characters from there on.
  replace(place, id) {
    this.stop();
    if (place < this.characters.length) this.truncate(place);
    this.read(id, "chosen");
  }

  stop() {
    this.targetLength = 0;
    this.queue = [];
  }

  readNext() {
    const character = this.queue.shift();
    if (character.ids.length) character.ids.forEach((id) => this.read(id, "given"));
    else this.append(character, "unknown");
  }

  writeNext(sampling) {
    const logits = this.history.predict();
    this.read(sample(samplingWeights(logits, sampling), this.uniform()), "written", logits);
    const tail = this.characters.slice(Math.max(this.writeStart, this.characters.length - this.stopText.length));
    if (this.stopText && tail.map(({ text }) => text).join("").endsWith(this.stopText)) this.targetLength = 0;
  }

  read(id, kind, logits) {
    this.history.add(id, logits);
    for (const character of this.decoder.add(id)) this.append(character, kind);
  }

  append(character, kind) {
    this.characters.push({ ...character, kind, start: this.startAt(this.characters.length) });
  }

  // The place in the history of the first id of a character, or of the character that follows the last one.
  startAt(place) {
    const previous = this.characters[place - 1];
    return previous ? previous.start + previous.ids.length : 0;
  }

  // Removes all characters from a place on, and the bytes of an incomplete character at the end.
  truncate(place) {
    this.characters.length = Math.min(place, this.characters.length);
    this.history.truncate(this.startAt(this.characters.length));
    this.decoder = new Decoder(this.vocabulary);
  }

  // The logits of the character at a place. If the text ends before it, those of the next symbol.
  predict(place) {
    return this.history.predict(this.characters[place]?.start);
  }

  // The loss of a character.
  nats({ start, ids }) {
    return ids.reduce((sum, _, n) => sum + this.history.nats[start + n], 0);
  }

  // The activity of a unit after a character, from -1 to 1. unit: its number, counted over all layers.
  activity({ start, ids }, unit) {
    return ids.length ? this.history.activity[start + ids.length - 1][unit] / 127 : 0;
  }
}
