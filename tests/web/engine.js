// What the engine of the page that is open makes of the models in other pages, given as HTML: the logits over a text
// (before its first symbol, and after each), and what it writes behind it with these uniform numbers.
({ pages, text, uniforms, choice }) => pages.map((html) => {
  const given = new DOMParser().parseFromString(html, "text/html");
  const model = JSON.parse(given.getElementById("model").textContent);
  const network = new Network(model, unpack(given.getElementById("weights").textContent, model.shapes, model.float32));
  const session = new Session(network, new Alphabet(model.codes, model.bytes), model);
  session.give(text);
  const { reading } = session;
  const logits = [[...session.predict()]];
  for (const piece of session.queue) {
    for (const id of piece.ids) {
      session.read(id, "given");
      logits.push([...session.predict()]);
    }
  }
  session.stop();
  const nats = [...reading.nats];
  const units = [...(reading.units.at(-1) ?? [])];
  const place = reading.ids.length;
  session.goOn(0, "");
  for (const u of uniforms) {
    session.uniform = () => u;
    session.writeNext(choice);
  }
  const ids = reading.ids.slice(place);
  const pieces = session.pieces.filter(({ kind }) => kind === "written");
  if (session.speller.begun.length) pieces.push(session.speller.end());
  const lookedBack = [...reading.predict(place)];
  reading.cut(place);
  return { logits, nats, units, ids, written: pieces.map((piece) => piece.text).join(""), returned: [lookedBack, [...session.predict()]] };
})
