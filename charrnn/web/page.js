"use strict";

// The controls of the page. The network works for a few milliseconds in each frame, so that the page always responds.

const WORK_TIME = [10, 40]; // minimum and maximum milliseconds of work in a frame
const READ_REFRESH = 250; // milliseconds between two updates of the page while a long text is read
const SPEEDS = [5, 15, 40, 150, 600, Infinity]; // characters per second
const MAX_NATS = Math.log(400); // a character with this loss or more has the strongest colour
const NUM_PREDICTIONS = 8;
const UNCHANGED = { temperature: 1, topP: 1 }; // sampling options that leave the probabilities as they are
const EXAMPLE = "The king said nothing, and then the telephone rang.";
const NEXT_TEXT = "The most likely next characters. Choose one, and the network continues with it.";
const SPOKEN_NAMES = { "␣": "a space", "↵": "a line end", "←": "a carriage return", "⇥": "a tab" };

const $ = (id) => document.getElementById(id);
const model = JSON.parse($("model").textContent);
const network = new Network(model, unpackWeights($("weights").textContent, model.shapes, model.float32));
const vocabulary = new Vocabulary(model.codes, model.bytes);
const session = new Session(network, vocabulary, model);
const reducesMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;

const formatNumber = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits });
const formatShare = (p) =>
  `${p >= 0.0995 ? formatNumber(100 * p) : p >= 0.0005 ? formatNumber(100 * p, 1) : "<0.1"} %`;
const spokenName = (name) => SPOKEN_NAMES[name] ?? name;

const checkedValue = (name) => document.querySelector(`input[name=${name}]:checked`).value;
const samplingOptions = () => ({ temperature: Number($("temperature").value), topP: Number($("top-p").value) });
const speed = () => SPEEDS[$("speed").value];
const selectedUnit = () => $("layer").value * model.hiddenSize + Number($("unit").value);

// The strength of a character's colour, from -1 to 1, for each value of the colour switch.
const TINTS = {
  plain: () => 0,
  surprise: (character) => Math.min(1, session.nats(character) / MAX_NATS),
  unit: (character) => session.activity(character, selectedUnit()),
};
const view = new TextView($("text"), {
  tint: (character) => TINTS[$("text").dataset.colour](character),
  onPoint: (place) => selected === null && point(place),
  onClick: (place) => select(place === selected ? null : place),
});

// Reading and writing

let isRunning = false;
let frameStart; // time of the last frame
let frameEnd; // when the work of the last frame ended
let allowance; // characters that may be written now, at the selected speed
let writeBegin; // when writing began, null before
let shownAt; // time of the last update of the page

function run() {
  allowance = 0;
  writeBegin = null;
  frameStart = frameEnd = performance.now();
  if (!isRunning) requestAnimationFrame(work);
  isRunning = true;
  setStatus("");
  show();
}

function work(now) {
  // Works as long as the browser took for everything else since the last frame, within the limits of WORK_TIME.
  const end = performance.now() + Math.max(WORK_TIME[0], Math.min(WORK_TIME[1], performance.now() - frameEnd));
  while (session.queue.length && performance.now() < end) session.readNext();
  if (!session.queue.length && session.isWriting) {
    writeBegin ??= now;
    const earned = (speed() * (now - frameStart)) / 1000;
    allowance = speed() === Infinity ? Infinity : Math.min(allowance + earned, speed());
    for (; allowance >= 1 && session.isWriting && performance.now() < end; allowance--) {
      session.writeNext(samplingOptions());
    }
  }
  frameStart = now;
  frameEnd = performance.now();
  isRunning = session.isBusy;
  if (isRunning) requestAnimationFrame(work);
  if (!session.queue.length || now > shownAt + READ_REFRESH) show();
}

function startWriting() {
  deselect();
  session.truncate(0);
  session.setText($("prime").value);
  view.truncate(0);
  view.isFollowing = true;
  continueWriting();
}

function continueWriting() {
  deselect();
  const seed = $("seed").value === "" ? Math.floor(Math.random() * 2 ** 32) : Number($("seed").value);
  session.write(seed, $("stop-text").value.replaceAll("\\n", "\n"));
  run();
}

function continueWith(id, place) {
  deselect();
  session.replace(place, id);
  view.truncate(place);
  continueWriting();
}

function readOwnText() {
  deselect();
  view.isFollowing = false;
  session.setText($("own-text").value);
  view.truncate(session.characters.length);
  run();
}

// The text and the predictions

function show() {
  const { isBusy, isWriting, characters, uniform, seed, writeStart } = session;
  const isMeasured = isWriting && writeBegin && speed() === Infinity;
  const rate = isMeasured ? (characters.length - writeStart) / (performance.now() - writeBegin) : 0;
  $("stop").textContent = isBusy ? "Stop" : "Continue";
  $("text").classList.toggle("busy", isBusy);
  $("count").textContent = [
    `${formatNumber(characters.length)} characters`,
    ...(uniform ? [`seed ${seed}`] : []),
    ...(rate > 0 ? [`${formatNumber(1000 * rate)} per second`] : []),
  ].join(" · ");
  if (reducesMotion && isBusy) return;
  shownAt = performance.now();
  view.show(characters);
  if (pointed === null) showPredictions();
}

const rows = Array.from({ length: NUM_PREDICTIONS + 1 }, () => {
  const row = { item: document.createElement("li"), button: document.createElement("button") };
  for (const [part, tag] of [["symbol", "bdi"], ["bar", "i"], ["share", "span"]]) {
    row[part] = row.button.appendChild(document.createElement(tag));
  }
  row.button.type = "button";
  row.button.addEventListener("click", () => continueWith(row.id, pointed ?? session.characters.length));
  row.item.append(row.button);
  $("predictions").append(row.item);
  return row;
});

// Shows the most likely symbols for the character that is pointed at, and this character itself. If no character is
// pointed at, it shows those for the next character. Probabilities of a written text include temperature and top-p.
function showPredictions() {
  const character = session.characters[pointed];
  const weights = samplingWeights(session.predict(pointed), session.uniform ? samplingOptions() : UNCHANGED);
  const sum = weights.reduce((a, b) => a + b);
  const actual = character?.ids[0];
  const ids = idsByWeight(weights).slice(0, NUM_PREDICTIONS).filter((id) => weights[id]);
  if (actual !== undefined && !ids.includes(actual)) ids.push(actual);
  rows.forEach((row, n) => {
    row.id = ids[n];
    row.item.hidden = n >= ids.length;
    if (row.item.hidden) return;
    const probability = weights[row.id] / sum;
    const share = formatShare(probability);
    const name = vocabulary.symbolName(row.id);
    row.symbol.textContent = name;
    row.symbol.classList.toggle("code", name.length > 2);
    row.bar.style.setProperty("--share", probability);
    row.share.textContent = share;
    row.button.setAttribute("aria-label", `${spokenName(name)}, ${share}: continue with it`);
    row.button.classList.toggle("actual", row.id === actual);
  });
  $("description").textContent = character ? describe(character) : NEXT_TEXT;
}

function describe(character) {
  const name = spokenName(characterName(character.text));
  if (!character.ids.length) return `${name} is not in the vocabulary and was not read. The network expected:`;
  const loss = session.nats(character);
  const odds = loss < 0.05 ? "certain" : `1 in ${formatNumber(Math.exp(loss), loss < 2 ? 1 : 0)}`;
  const showsUnit = $("text").dataset.colour === "unit";
  const activity = showsUnit ? `, unit at ${session.activity(character, selectedUnit()).toFixed(2)}` : "";
  return `This is ${name} (${odds}${activity}). The network expected:`;
}

// Pointing and selecting

let pointed = null; // place of the character whose predictions are shown
let selected = null; // place of the selected character; if it is not null, pointing has no effect

function point(place) {
  if (place === pointed) return;
  pointed = place;
  view.mark(place);
  showPredictions();
}

function select(place) {
  deselect();
  if (place !== null) session.targetLength = 0;
  selected = pointed = place;
  view.mark(place, place !== null);
  show();
  showPredictions();
}

function deselect() {
  selected = pointed = null;
  view.mark(null);
}

function onTextKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const end = session.characters.length - 1;
  const place = selected ?? end + 1;
  const moves = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: end };
  const row = rows[event.key - 1];
  if (event.key in moves && end >= 0) select(Math.max(0, Math.min(end, moves[event.key])));
  else if (event.key === "Escape" && selected !== null) select(null);
  else if (row && !row.item.hidden) row.button.click();
  else return;
  event.preventDefault();
}

// Settings

function showColour() {
  const colour = checkedValue("colour");
  const ends = colour === "unit" ? ["−1", "+1"] : ["expected", `1 in ${formatNumber(Math.exp(MAX_NATS))} or less likely`];
  $("text").dataset.colour = $("scale").dataset.colour = colour;
  $("unit-choice").hidden = colour !== "unit";
  $("unit-name").textContent = `${$("layer").value}.${$("unit").value}`;
  $("scale").hidden = colour === "plain";
  document.querySelectorAll("#scale span").forEach((span, n) => { span.textContent = ends[n]; });
  view.paintAll();
}

function showMatch() {
  if ($("match").value) [$("layer").value, $("unit").value] = $("match").value.split(".");
  showColour();
}

function showSettings() {
  const { temperature, topP } = samplingOptions();
  $("temperature-value").textContent = temperature ? temperature.toFixed(2) : "0, always the most likely";
  $("top-p-value").textContent = topP < 1 ? `${formatNumber(100 * topP)} %` : "all";
  $("speed-value").textContent = speed() === Infinity ? "as fast as possible" : `${speed()} characters per second`;
  $("speed").setAttribute("aria-valuetext", $("speed-value").textContent);
  showPredictions();
}

function changeMode() {
  const isReading = checkedValue("mode") === "read";
  $("reading").hidden = !isReading;
  $("writing").hidden = isReading;
  if (!isReading) return startWriting();
  if (checkedValue("colour") === "plain") document.querySelector("input[value=surprise]").click();
  return readOwnText();
}

function setStatus(message) {
  $("status").textContent = message;
}

async function copyText() {
  try {
    await navigator.clipboard.writeText(session.text);
    setStatus("Copied");
  } catch {
    getSelection().selectAllChildren($("text"));
    setStatus("The text is selected. Copy it with the keyboard.");
  }
}

// Start

$("unit").max = model.hiddenSize - 1;
$("layer").append(...Array.from({ length: model.numLayers }, (_, l) => new Option(l, l)));
$("layer-label").hidden = model.numLayers < 2;
$("match").append(...model.units.map(({ probe, layer, unit, correlation }) =>
  new Option(`${probe} (${correlation.toFixed(2)})`, `${layer}.${unit}`)));
$("match-label").hidden = !model.units.length;
$("symbols").textContent = model.codes.map((_, id) => vocabulary.symbolName(id)).join(" ");
if (vocabulary.contains(EXAMPLE)) $("own-text").value = EXAMPLE;
if (vocabulary.contains("{}_")) $("text").classList.add("monospace"); // the model probably writes source code
if (reducesMotion) $("speed").value = SPEEDS.length - 1;

const listen = (type, handler, ...ids) => ids.forEach((id) => $(id).addEventListener(type, handler));
listen("submit", (event) => { event.preventDefault(); startWriting(); }, "writing");
listen("submit", (event) => event.preventDefault(), "reading");
listen("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  startWriting();
}, "prime");
listen("input", () => {
  readOwnText();
  if ($("own-text").value.length > MAX_LENGTH) setStatus(`Only the first ${formatNumber(MAX_LENGTH)} characters are read`);
}, "own-text");
listen("click", () => {
  if (!session.isBusy) return continueWriting();
  session.stop();
  return show();
}, "stop");
listen("click", copyText, "copy");
listen("keydown", onTextKey, "text");
listen("change", changeMode, "mode");
listen("change", showColour, "colour");
listen("input", showColour, "layer", "unit");
listen("change", showMatch, "match");
listen("input", showSettings, "temperature", "top-p", "speed");
showMatch();
showSettings();
changeMode();
