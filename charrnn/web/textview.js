"use strict";

// The text on the page. Each line is a block with a span for each character, so that a new character changes the layout
// of its own line only.

const FOLLOW_MARGIN = 24; // the view follows the growing text if it is within this many pixels of the end

class TextView {
  // tint(character): the strength of its colour, from -1 to 1. onPoint(place), onClick(place): called with the place of a
  // character, or null.
  constructor(element, { tint, onPoint, onClick }) {
    this.element = element;
    this.tint = tint;
    this.spans = [];
    this.characters = [];
    this.marked = null; // place of the marked character
    this.isFollowing = true;
    const place = (event) => event.target.closest("span")?.place ?? null;
    element.addEventListener("pointermove", (event) => event.pointerType === "mouse" && onPoint(place(event)));
    element.addEventListener("pointerleave", () => onPoint(null));
    element.addEventListener("click", (event) => getSelection().isCollapsed && onClick(place(event)));
    element.addEventListener("scroll", () => {
      this.isFollowing = element.scrollTop + element.clientHeight > element.scrollHeight - FOLLOW_MARGIN;
    });
  }

  // Appends the characters that are not yet shown.
  show(characters) {
    this.characters = characters;
    for (let k = this.spans.length; k < characters.length; k++) {
      const span = document.createElement("span");
      const { text, kind } = characters[k];
      span.textContent = visibleText(text);
      span.className = kind;
      if ("\r\n".includes(text)) span.dataset.symbol = characterName(text);
      else if (span.textContent !== text) span.classList.add("code");
      if (kind === "unknown") span.title = "This character is not in the vocabulary. The network does not read it.";
      span.place = k;
      this.spans.push(span);
      this.paint(k);
      if (!k || characters[k - 1].text === "\n") this.addLine();
      this.element.lastChild.append(span);
      if (text === "\n") this.addLine();
    }
    if (this.isFollowing) this.element.scrollTop = this.element.scrollHeight;
  }

  // Adds an empty line, unless the last line is empty.
  addLine() {
    if (this.element.lastChild && !this.element.lastChild.firstChild) return;
    const line = document.createElement("div");
    line.dir = "auto";
    this.element.append(line);
  }

  // Removes all characters from a place on.
  truncate(place) {
    this.mark(null);
    for (const span of this.spans.splice(place)) {
      const line = span.parentNode;
      span.remove();
      if (!line.firstChild && line !== this.element.firstChild) line.remove();
    }
    if (!place) this.element.replaceChildren();
    while (this.element.lastChild && !this.element.lastChild.firstChild) this.element.lastChild.remove();
  }

  // Updates the colour of one character.
  paint(place) {
    const strength = this.tint(this.characters[place]);
    this.spans[place].style.setProperty("--tint", Math.abs(strength).toFixed(3));
    this.spans[place].classList.toggle("negative", strength < 0);
  }

  paintAll() {
    this.spans.forEach((_, place) => this.paint(place));
  }

  // Marks a character as pointed at or as selected; null marks none.
  mark(place, isSelected = false) {
    this.spans[this.marked]?.classList.remove("pointed", "selected");
    this.marked = place;
    this.spans[place]?.classList.add(isSelected ? "selected" : "pointed");
    if (isSelected) this.spans[place].scrollIntoView({ block: "nearest" });
  }
}
