// Pieces of the page. What somebody else named is put in as text, never as markup.

export const find = (selector, root = document) => root.querySelector(selector);
export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

export const element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => {
    if (value === false || value === null || value === undefined) return;
    made.setAttribute(name, value === true ? "" : value);
  });
  made.append(...children);
  return made;
};

/** A name as somebody wrote it: in its own direction, whatever stands around it. */
export const named = (text) => element("bdi", {}, text);

export const key = (label) => element("kbd", {}, label);

export const probability = (p) => (p === null || p === undefined ? "" : p.toFixed(2));

export const many = (count) => count.toLocaleString("en");

export const count = (number, of) => `${many(number)} ${of}${number === 1 ? "" : "s"}`;

export const WORDS = { present: "yes", absent: "no", unsure: "unsure" };

export const OTHER = { present: "absent", absent: "present" };

export const say = (text) => {
  find("#spoken").textContent = text;
};

export const hints = (...pairs) => {
  const made = pairs.map(([keys, what]) => element("span", {}, ...keys.map(key), ` ${what}`));
  find("footer").replaceChildren(...made);
};

/** Answers of other people, and labels, beside a class. */
export const tag = (state, ...told) => element("span", { class: `tag ${state}` }, ...told);

export const answersOf = (answers) => answers.map(({ person, state }) => tag(state, named(person), `: ${WORDS[state]}`));

/** Pictures that did not come, perhaps since there was no server. */
export const lost = {
  pictures: [],
  again() {
    const before = this.pictures.splice(0);
    before.forEach(([place, row, name]) => place.isConnected && place.replaceWith(thumbnail(row, name)));
  },
};

/** A small picture of a row, which says so where the file cannot be read. */
export const thumbnail = (row, name) => {
  const image = element("img", { alt: name, decoding: "async", draggable: "false" });
  image.addEventListener("error", () => {
    const place = element("span", { class: "unread" }, "cannot be read");
    lost.pictures.push([place, row, name]);
    image.replaceWith(place);
  });
  image.src = `image/${row}?side=192`;
  return image;
};

/** What stands below a thumbnail. */
export const caption = (word, p) =>
  element("span", { class: "caption" }, element("span", { class: "word" }, word), element("span", { class: "p" }, probability(p)));

/** Where arrows lead from a place among so many tiles in so many columns; null for other keys. */
export const step = (pressed, place, count, columns) => {
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[pressed];
  const to = { Home: 0, End: count - 1 }[pressed] ?? (by === undefined ? null : place + by);
  if (to === null) return null;
  return to < 0 || to >= count ? place : to;
};
