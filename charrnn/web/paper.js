"use strict";

// The text as one sees it: a span for each piece, a block for each line, so that a new character moves its own line only.

class Paper {
  // tint: piece -> -1 to 1, its colour's strength; pointed and held: told the place (or null) that the reader is at.
  constructor(element, { tint, pointed, held }) {
    this.element = element;
    this.tint = tint;
    this.spans = [];
    this.pieces = [];
    this.marked = null;
    this.following = true; // the end of the text, as it grows
    const place = (event) => event.target.closest("span")?.place ?? null;
    element.addEventListener("pointermove", (event) => event.pointerType === "mouse" && pointed(place(event)));
    element.addEventListener("pointerleave", () => pointed(null));
    element.addEventListener("click", (event) => getSelection().isCollapsed && held(place(event)));
    element.addEventListener("scroll", () => {
      this.following = element.scrollTop + element.clientHeight > element.scrollHeight - 24;
    });
  }

  // Shows the pieces that are not there yet.
  show(pieces) {
    this.pieces = pieces;
    for (let k = this.spans.length; k < pieces.length; k++) {
      const span = document.createElement("span");
      const { text, kind } = pieces[k];
      span.textContent = shown(text);
      span.className = kind;
      if ("\r\n".includes(text)) span.dataset.mark = nameOf(text);
      else if (span.textContent !== text) span.classList.add("code");
      if (kind === "unknown") span.title = "a character that the network does not know, and leaves out";
      span.place = k;
      this.spans.push(span);
      this.paint(k);
      if (!k || pieces[k - 1].text === "\n") this.newLine();
      this.element.lastChild.append(span);
      if (text === "\n") this.newLine();
    }
    if (this.following) this.element.scrollTop = this.element.scrollHeight;
  }

  newLine() {
    if (this.element.lastChild && !this.element.lastChild.firstChild) return;
    const line = document.createElement("div");
    line.dir = "auto";
    this.element.append(line);
  }

  // Takes away all pieces from a place on.
  cut(place) {
    this.mark(null);
    for (const span of this.spans.splice(place)) {
      const line = span.parentNode;
      span.remove();
      if (!line.firstChild && line !== this.element.firstChild) line.remove();
    }
    if (!place) this.element.replaceChildren();
    while (this.element.lastChild && !this.element.lastChild.firstChild) this.element.lastChild.remove();
  }

  // In the colour of one piece, or of all.
  paint(k) {
    if (k === undefined) return this.spans.forEach((_, each) => this.paint(each));
    const strength = this.tint(this.pieces[k]);
    this.spans[k].style.setProperty("--tint", Math.abs(strength).toFixed(3));
    this.spans[k].classList.toggle("low", strength < 0);
  }

  mark(place, isHeld = false) {
    this.spans[this.marked]?.classList.remove("at", "held");
    this.marked = place;
    this.spans[place]?.classList.add(isHeld ? "held" : "at");
    if (isHeld) this.spans[place].scrollIntoView({ block: "nearest" });
  }
}
