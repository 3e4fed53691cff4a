// All images of a class by falling probability. However many there are, the page holds those in view and a few more.
import { caption, element, find, hints, many, named, say, step, thumbnail, WORDS } from "./review-parts.js";
import { read } from "./review-server.js";

const CHUNK = 60; // images that are asked for at once
const MOST_CHUNKS = 40; // that are kept
const SLOW = 80; // milliseconds without scrolling after which what is in view is asked for
const SIDE = 172; // of a tile with its gap, at least
const HEIGHT = 214;
const BEYOND = 2; // rows of tiles above and below what is seen

export const browse = (app) => {
  const root = find("#browse");
  const scroll = find(".scroll", root);
  const tiles = find(".tiles", root);
  let chunks = new Map(); // number → items, the last used last
  let asked = new Map(); // number → what ends the request
  let made = new Map(); // place → its element
  let total = null;
  let version = null;
  let columns = 1;
  let focus = 0;
  let timer = 0;

  const item = (place) => chunks.get(Math.floor(place / CHUNK))?.[place % CHUNK];
  const state = (of) => app.said(of.row, app.column) ?? of.state;

  const load = async (number) => {
    const mine = new AbortController();
    asked.set(number, mine);
    const wanted = { column: app.column, show: app.show, person: app.person, start: number * CHUNK, most: CHUNK, version };
    try {
      const found = await read("grid", wanted, mine.signal);
      app.failed(null);
      if (version !== null && found.version !== version) return restart(); // another order than that of the other chunks
      version = found.version;
      total = found.total;
      chunks.set(number, found.items);
      if (chunks.size > MOST_CHUNKS) chunks.delete(chunks.keys().next().value);
      made.forEach((tile, place) => Math.floor(place / CHUNK) === number && fill(tile, place));
      draw();
      return undefined;
    } catch (error) {
      if (asked.get(number) === mine) app.failed(error);
    } finally {
      if (asked.get(number) === mine) asked.delete(number);
    }
  };

  const inView = () => {
    const first = Math.floor(scroll.scrollTop / HEIGHT) - BEYOND;
    const last = Math.ceil((scroll.scrollTop + scroll.clientHeight) / HEIGHT) + BEYOND;
    return [Math.max(0, first * columns), Math.min(total ?? 0, last * columns)];
  };

  const loadView = () => {
    const [from, to] = inView();
    const wanted = new Set();
    for (let number = Math.floor(from / CHUNK); number * CHUNK < to; number += 1) wanted.add(number);
    asked.forEach((request, number) => wanted.has(number) || request.abort());
    wanted.forEach((number) => {
      const there = chunks.get(number);
      if (there) {
        chunks.delete(number); // and at the end again, as the last used
        chunks.set(number, there);
      } else if (!asked.has(number)) load(number);
    });
  };

  const fill = (tile, place) => {
    const of = item(place);
    const button = tile.firstChild;
    button.tabIndex = place === focus ? 0 : -1;
    if (!of) return;
    const now = state(of);
    button.className = `tile ${now ?? "open"}`;
    button.title = of.name;
    button.setAttribute("aria-label", `${of.name}: ${now ?? "open"}`);
    const below = caption(WORDS[now] ?? "open", of.p);
    if (button.dataset.row !== `${of.row}`) button.replaceChildren(thumbnail(of.row, of.name), below);
    else button.lastChild.replaceWith(below);
    button.dataset.row = of.row;
  };

  const tile = (place) => {
    const button = element("button", { type: "button", class: "tile open" });
    button.addEventListener("click", () => {
      focus = place;
      alone();
    });
    const made = element("li", {}, button);
    made.style.transform = `translate(${(100 * (place % columns))}%, ${Math.floor(place / columns) * HEIGHT}px)`;
    made.style.width = `${100 / columns}%`;
    fill(made, place);
    return made;
  };

  const fitting = () => Math.max(1, Math.floor(tiles.clientWidth / SIDE));

  const draw = () => {
    columns = fitting();
    tiles.style.height = `${Math.ceil((total ?? 0) / columns) * HEIGHT}px`;
    const [from, to] = inView();
    made.forEach((old, place) => {
      if (place >= from && place < to) return;
      old.remove();
      made.delete(place);
    });
    for (let place = from; place < to; place += 1) {
      if (made.has(place)) continue;
      made.set(place, tile(place));
      tiles.append(made.get(place));
    }
    lead();
  };

  const lead = () => {
    const told = total === null ? "loading…" : `${many(total)} images`;
    find("h2", root).replaceChildren(named(app.className(app.column)), `: ${told}`);
    find(".anew", root).hidden = version === null || version === app.state.learning.version;
  };

  const again = () => {
    made.forEach((old) => old.remove());
    made = new Map();
    draw();
  };

  const restart = () => {
    asked.forEach((request) => request.abort());
    [chunks, asked, total, version, focus] = [new Map(), new Map(), null, null, 0];
    scroll.scrollTop = 0;
    again();
    load(0);
  };

  const to = (place) => {
    const before = made.get(focus)?.firstChild;
    if (before) before.tabIndex = -1;
    focus = place;
    const top = Math.floor(place / columns) * HEIGHT;
    if (top < scroll.scrollTop) scroll.scrollTop = top;
    if (top + HEIGHT > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = top + HEIGHT - scroll.clientHeight;
    draw();
    const now = made.get(place)?.firstChild;
    if (now) {
      now.tabIndex = 0;
      now.focus({ preventScroll: true });
    }
  };

  const alone = () => {
    const of = item(focus);
    const cell = of && { column: app.column, p: of.p, given: of.given, because: null, answers: of.answers ?? [] };
    if (of) app.look({ row: of.row, name: of.name, split: null, cells: [cell], others: [] });
  };

  const answer = (said) => {
    const of = item(focus);
    if (!of) return;
    app.answer([{ row: of.row, column: app.column, state: said, p: of.p }], { place: focus, column: app.column, shown: wanted() });
    fill(made.get(focus), focus);
    say(`${of.name}: ${WORDS[said]}`);
    if (focus + 1 < total) to(focus + 1);
  };

  const keys = { y: () => answer("present"), n: () => answer("absent"), u: () => answer("unsure"), Enter: alone };

  scroll.addEventListener("scroll", () => {
    draw();
    clearTimeout(timer);
    timer = setTimeout(loadView, SLOW);
  });
  new ResizeObserver(() => {
    if (root.hidden || total === null) return;
    const focused = tiles.contains(document.activeElement);
    if (fitting() === columns) draw();
    else again();
    loadView();
    if (focused) made.get(focus)?.firstChild.focus({ preventScroll: true });
  }).observe(scroll);
  find(".anew", root).addEventListener("click", restart);

  let shownFor = null;
  const wanted = () => `${app.column} ${app.show} ${app.person}`;

  return {
    enter() {
      const answers = [[["Y"], "yes"], [["N"], "no"], [["U"], "unsure"]];
      const ways = [[["Enter"], "look at it"], [["Z"], "undo"], [["B"], "back"], [["?"], "all keys"]];
      hints([["←", "→", "↑", "↓"], "image"], ...answers, ...ways);
      if (shownFor === wanted()) again();
      else restart();
      shownFor = wanted();
    },
    chosen() {
      shownFor = wanted();
      restart();
    },
    ranked: lead,
    key(name) {
      const there = step(name, focus, total ?? 0, columns);
      if (there !== null) to(there);
      else if (keys[name]) keys[name]();
      else return false;
      return true;
    },
    back(answers, before) {
      if (before?.shown === wanted()) to(before.place);
      else if (before) {
        app.choose({ column: before.column });
        this.chosen();
      }
      made.forEach(fill);
    },
  };
};
