// Runs models from the HTML of other pages with the scripts of the open page. For each model it returns the logits over a
// text (before its first symbol and after each symbol), and the continuation that these uniform numbers draw.
({ pages, text, uniforms, sampling }) => pages.map((html) => {
  const other = new DOMParser().parseFromString(html, "text/html");
  const model = JSON.parse(other.getElementById("model").textContent);
  const weights = unpackWeights(other.getElementById("weights").textContent, model.shapes, model.float32);
  const session = new Session(new Network(model, weights), new Vocabulary(model.codes, model.bytes), model);
  const { history } = session;
  session.setText(text);
  const logits = [[...session.predict()]];
  for (const character of session.queue) {
    for (const id of character.ids) {
      session.read(id, "given");
      logits.push([...session.predict()]);
    }
  }
  session.stop();
  const nats = [...history.nats];
  const activity = [...(history.activity.at(-1) ?? [])];
  const place = history.ids.length;
  session.write(0, "");
  for (const u of uniforms) {
    session.uniform = () => u;
    session.writeNext(sampling);
  }
  const ids = history.ids.slice(place);
  const characters = session.characters.filter(({ kind }) => kind === "written");
  if (session.decoder.incomplete.length) characters.push(session.decoder.flush());
  const recomputed = [...history.predict(place)];
  history.truncate(place);
  const afterTruncation = [...session.predict()];
  return { logits, nats, activity, ids, written: characters.map((one) => one.text).join(""), recomputed, afterTruncation };
})
