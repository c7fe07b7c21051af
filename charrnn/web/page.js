"use strict";

// The page: what the reader asks for and sees. The network works in slices, so that the page answers while it is busy.

const SLICE = [10, 40]; // milliseconds of work, least and most, for each picture that the browser draws
const PATIENCE = 250; // milliseconds between two looks at a long text that is being read
const SPEEDS = [5, 15, 40, 150, 600, Infinity]; // characters a second
const RAREST = Math.log(400); // nats of the strongest colour
const SHOWN = 8; // of what may come next
const PLAIN = { temperature: 1, topP: 1 };
const EXAMPLE = "The king said nothing, and then the telephone rang.";
const LIVE = "The likeliest next characters, now. Choose one of them, and it goes on with that.";
const NAMES = { "␣": "a space", "↵": "a line end", "←": "a carriage return", "⇥": "a tab" };

const $ = (id) => document.getElementById(id);
const model = JSON.parse($("model").textContent);
const network = new Network(model, unpack($("weights").textContent, model.shapes, model.float32));
const alphabet = new Alphabet(model.codes, model.bytes);
const session = new Session(network, alphabet, model);
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

const number = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits });
const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;
const choice = () => ({ temperature: Number($("temperature").value), topP: Number($("top-p").value) });
const speed = () => SPEEDS[$("speed").value];
const unit = () => $("layer").value * model.hidden + Number($("unit").value);

// From a piece to its colour, -1 to 1.
const TINTS = {
  plain: () => 0,
  surprise: (piece) => Math.min(1, session.nats(piece) / RAREST),
  unit: (piece) => session.activity(piece, unit()),
};
const paper = new Paper($("paper"), {
  tint: (piece) => TINTS[$("paper").dataset.colour](piece),
  pointed: (place) => held === null && point(place),
  held: (place) => hold(place === held ? null : place),
});

// The work

let isRunning = false;
let last; // when the last slice began
let rested; // when it ended
let allowance; // characters that may be written by now
let began; // when the present go began to write
let looked; // when the text was last brought up to date

function start() {
  allowance = 0;
  began = null;
  last = rested = performance.now();
  if (!isRunning) requestAnimationFrame(frame);
  isRunning = true;
  say("");
  show();
}

function frame(now) {
  const end = performance.now() + Math.max(SLICE[0], Math.min(SLICE[1], performance.now() - rested)); // at least half
  while (session.queue.length && performance.now() < end) session.readNext();
  if (!session.queue.length && session.isWriting) {
    began ??= now;
    allowance = speed() === Infinity ? Infinity : Math.min(allowance + (speed() * (now - last)) / 1000, speed());
    for (; allowance >= 1 && session.isWriting && performance.now() < end; allowance--) session.writeNext(choice());
  }
  last = now;
  rested = performance.now();
  isRunning = session.isBusy;
  if (isRunning) requestAnimationFrame(frame);
  if (!session.queue.length || now > looked + PATIENCE) show();
}

function writeAnew() {
  release();
  session.cut(0);
  session.give($("prime").value);
  paper.cut(0);
  paper.following = true;
  goOn();
}

function goOn() {
  release();
  const seed = $("seed").value === "" ? Math.floor(Math.random() * 2 ** 32) : Number($("seed").value);
  session.goOn(seed, $("until").value.replaceAll("\\n", "\n"));
  start();
}

function goOnWith(id, place) {
  release();
  session.replace(place, id);
  paper.cut(place);
  goOn();
}

function give() {
  release();
  paper.following = false;
  session.give($("yours").value);
  paper.cut(session.pieces.length);
  start();
}

// The text and what may come next

function show() {
  const { isBusy, isWriting, pieces, uniform, seed, from } = session;
  const rate = isWriting && began && speed() === Infinity ? (pieces.length - from) / (performance.now() - began) : 0;
  $("stop").textContent = isBusy ? "Stop" : "Go on";
  $("paper").classList.toggle("busy", isBusy);
  $("count").textContent = [
    `${number(pieces.length)} characters`,
    ...(uniform ? [`seed ${seed}`] : []),
    ...(rate > 0 ? [`${number(1000 * rate)} a second`] : []),
  ].join(" · ");
  if (still && isBusy) return;
  looked = performance.now();
  paper.show(pieces);
  if (pointed === null) showNext();
}

const rows = Array.from({ length: SHOWN + 1 }, () => {
  const row = { item: document.createElement("li"), button: document.createElement("button") };
  for (const [part, tag] of [["glyph", "bdi"], ["bar", "i"], ["share", "span"]]) {
    row[part] = row.button.appendChild(document.createElement(tag));
  }
  row.button.type = "button";
  row.button.addEventListener("click", () => goOnWith(row.id, pointed ?? session.pieces.length));
  row.item.append(row.button);
  $("next").append(row.item);
  return row;
});

// The likeliest symbols where the reader points, or next: as they are drawn, or in a text that is only read as they are.
// What stands there is always among them.
function showNext() {
  const piece = session.pieces[pointed];
  const w = chances(session.predict(pointed), session.uniform ? choice() : PLAIN);
  const sum = w.reduce((a, b) => a + b);
  const actual = piece?.ids[0];
  const ids = likeliest(w).slice(0, SHOWN).filter((id) => w[id]);
  if (actual !== undefined && !ids.includes(actual)) ids.push(actual);
  rows.forEach((row, n) => {
    row.id = ids[n];
    row.item.hidden = n >= ids.length;
    if (row.item.hidden) return;
    const share = percent(w[row.id] / sum);
    const name = alphabet.name(row.id);
    row.glyph.textContent = name;
    row.glyph.classList.toggle("code", name.length > 2);
    row.bar.style.setProperty("--share", w[row.id] / sum);
    row.share.textContent = share;
    row.button.setAttribute("aria-label", `${spoken(name)}, ${share}: go on with it`);
    row.button.classList.toggle("actual", row.id === actual);
  });
  $("here").textContent = piece ? about(piece) : LIVE;
}

const percent = (p) => `${p >= 0.0995 ? number(100 * p) : p >= 0.0005 ? number(100 * p, 1) : "<0.1"} %`;
const spoken = (name) => NAMES[name] ?? name;

function about(piece) {
  const name = spoken(nameOf(piece.text));
  if (!piece.ids.length) return `${name} is unknown to the network, and left out. It expected:`;
  const cost = session.nats(piece);
  const odds = cost < 0.05 ? "no surprise" : `1 in ${number(Math.exp(cost), cost < 2 ? 1 : 0)}`;
  const its = $("paper").dataset.colour === "unit" ? `, the unit at ${session.activity(piece, unit()).toFixed(2)}` : "";
  return `Here stands ${name} (${odds}${its}). It could have been:`;
}

// Where the reader is

let pointed = null; // the piece that the panel is about
let held = null; // the same, where it stays so

function point(place) {
  if (place === pointed) return;
  pointed = place;
  paper.mark(place);
  showNext();
}

function hold(place) {
  release();
  if (place !== null) session.goal = 0;
  held = pointed = place;
  paper.mark(place, place !== null);
  show();
  showNext();
}

function release() {
  held = pointed = null;
  paper.mark(null);
}

function key(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const end = session.pieces.length - 1;
  const at = held ?? end + 1;
  const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: end };
  const row = rows[event.key - 1];
  if (event.key in moves && end >= 0) hold(Math.max(0, Math.min(end, moves[event.key])));
  else if (event.key === "Escape" && held !== null) hold(null);
  else if (row && !row.item.hidden) row.button.click();
  else return;
  event.preventDefault();
}

// What the reader sets

function showColour() {
  const colour = chosen("colour");
  const ends = colour === "unit" ? ["−1", "+1"] : ["expected", `1 in ${number(Math.exp(RAREST))} or rarer`];
  $("paper").dataset.colour = $("scale").dataset.colour = colour;
  $("unit-choice").hidden = colour !== "unit";
  $("unit-name").textContent = `${$("layer").value}.${$("unit").value}`;
  $("scale").hidden = colour === "plain";
  document.querySelectorAll("#scale span").forEach((span, n) => { span.textContent = ends[n]; });
  paper.paint();
}

function showFound() {
  if ($("found").value) [$("layer").value, $("unit").value] = $("found").value.split(".");
  showColour();
}

function showSettings() {
  const { temperature, topP } = choice();
  $("temperature-value").textContent = temperature ? temperature.toFixed(2) : "0, always the likeliest";
  $("top-p-value").textContent = topP < 1 ? `${number(100 * topP)} %` : "all";
  $("speed-value").textContent = speed() === Infinity ? "as fast as it can" : `${speed()} characters a second`;
  $("speed").setAttribute("aria-valuetext", $("speed-value").textContent);
  showNext();
}

function showMode() {
  const isReading = chosen("mode") === "read";
  $("reading").hidden = !isReading;
  $("writing").hidden = isReading;
  if (!isReading) return writeAnew();
  if (chosen("colour") === "plain") document.querySelector("input[value=surprise]").click();
  return give();
}

function say(message) {
  $("status").textContent = message;
}

async function copy() {
  try {
    await navigator.clipboard.writeText(session.text);
    say("Copied");
  } catch {
    getSelection().selectAllChildren($("paper"));
    say("Selected: copy it with your keys");
  }
}

// The first sight

$("unit").max = model.hidden - 1;
$("layer").append(...Array.from({ length: model.layers }, (_, l) => new Option(l, l)));
$("layer-label").hidden = model.layers < 2;
$("found").append(...model.units.map(({ probe, layer, unit, correlation }) =>
  new Option(`${probe} (${correlation.toFixed(2)})`, `${layer}.${unit}`)));
$("found-label").hidden = !model.units.length;
$("known").textContent = model.codes.map((_, id) => alphabet.name(id)).join(" ");
if (alphabet.pieces(EXAMPLE).every(({ ids }) => ids.length)) $("yours").value = EXAMPLE;
if (alphabet.pieces("{}_").every(({ ids }) => ids.length)) $("paper").classList.add("fixed"); // it writes programs
if (still) $("speed").value = SPEEDS.length - 1;

const listen = (type, handler, ...ids) => ids.forEach((id) => $(id).addEventListener(type, handler));
listen("submit", (event) => { event.preventDefault(); writeAnew(); }, "writing");
listen("submit", (event) => event.preventDefault(), "reading");
listen("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  writeAnew();
}, "prime");
listen("input", () => {
  give();
  if ($("yours").value.length > LONGEST) say(`The first ${number(LONGEST)} characters are read`);
}, "yours");
listen("click", () => {
  if (!session.isBusy) return goOn();
  session.stop();
  return show();
}, "stop");
listen("click", copy, "copy");
listen("keydown", key, "paper");
listen("change", showMode, "mode");
listen("change", showColour, "colour");
listen("input", showColour, "layer", "unit");
listen("change", showFound, "found");
listen("input", showSettings, "temperature", "top-p", "speed");
showFound();
showSettings();
showMode();
