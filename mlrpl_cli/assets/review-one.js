// One image with its open classes. Images of the queue are loaded ahead, so that the next one is there at once.
import { all, answersOf, element, find, hints, many, named, probability, say, tag, WORDS } from "./review-parts.js";
import { read, reason, Refused } from "./review-server.js";

const AHEAD = 8;
const BEHIND = 3;
const MOST = 24; // images of the queue that are asked for at once
const MOST_SHOWN = 40; // classes of an image; the others follow when one goes down to them
const KEPT = 60; // images that left leads back to

/** Pictures by their rows: those of the queue that come next, and the last ones. */
class Pictures {
  #loaded = new Map();

  of(row, name) {
    const there = this.#loaded.get(row);
    if (!there || (there.complete && !there.naturalWidth)) {
      const image = element("img", { alt: name, draggable: "false" });
      image.src = `image/${row}?side=1024`;
      image.decode().catch(() => {}); // what cannot be read is told when it is shown
      this.#loaded.set(row, image);
    }
    return this.#loaded.get(row);
  }

  keep(items) {
    const wanted = new Set(items.map((item) => item.row));
    items.forEach((item) => this.of(item.row, item.name));
    [...this.#loaded.keys()].filter((row) => !wanted.has(row)).forEach((row) => this.#loaded.delete(row));
  }
}

export const one = (app) => {
  const root = find("#one");
  const frame = find(".frame", root);
  const list = find("[role=listbox]", root);
  const answering = all("[data-answer]", root);
  const attended = find(".attend", root);
  const pictures = new Pictures();
  let items = [];
  let at = 0; // which item is shown
  let cell = 0; // which of its classes is asked
  let left = null; // open questions of the queue, as the server counts them
  let looking = false; // the attention is over the image
  let shown = MOST_SHOWN;
  let skipped = new Set(); // "row column" that were left open, until nothing else is left
  let reading = null;
  let done = false; // the queue has nothing more
  let missing = false; // the image did not come, since there is no server

  const item = () => items[at];
  const cells = (of = item()) => (of ? [...of.cells, ...of.others] : []);
  const place = (of, asked) => `${of.row} ${asked.column}`;
  const open = (of, asked) => app.said(of.row, asked.column) === undefined;

  const fresh = (found) => found
    .map((of) => ({ ...of, cells: of.cells.filter((asked) => open(of, asked)) }))
    .filter((of) => of.cells.some((asked) => !skipped.has(place(of, asked))));

  /** Read more of the queue; `anew` puts it in place of what follows the next images, which are loaded already. */
  const more = async (anew) => {
    if (reading && !anew) return;
    reading?.abort();
    const mine = new AbortController();
    reading = mine;
    const column = app.column;
    const asked = { by: app.by, column, most: MOST + Math.min(skipped.size, 400), person: app.person };
    try {
      const found = await read("queue", asked, mine.signal);
      app.failed(null);
      left = found.left;
      let next = fresh(found.items);
      if (anew) items.length = Math.min(items.length, at + 2);
      if (!next.length && !items[at + 1] && skipped.size) {
        skipped = new Set(); // the ones that were left open come again
        next = fresh(found.items);
      }
      const there = new Set(items.slice(at).map((of) => of.row));
      const was = items.length;
      items.push(...next.filter((of) => !there.has(of.row)));
      if (at >= was) cell = 0;
      done = at >= items.length;
      pictures.keep(items.slice(Math.max(0, at - BEHIND), at + 1 + AHEAD));
      if (at >= was || !root.querySelector("img")) show();
      else count();
    } catch (error) {
      if (reading === mine) app.failed(error);
    } finally {
      if (reading === mine) reading = null;
    }
  };

  const restart = () => {
    [items, at, cell, left, skipped, done] = [[], 0, 0, null, new Set(), false];
    show();
    more(true);
  };

  const unread = async (row) => {
    const said = await read(`image/${row}`, { side: 1024 }).catch((error) => error);
    const told = said instanceof Refused ? said.message : "the image did not come";
    if (item()?.row !== row) return;
    missing = !(said instanceof Refused);
    frame.replaceChildren(element("p", { class: "unread" }, told));
  };

  const picture = () => {
    const of = item();
    const image = pictures.of(of.row, of.name);
    missing = false;
    if (frame.firstChild !== image) frame.replaceChildren(image);
    image.onerror = () => unread(of.row);
    all(".attention", frame).forEach((over) => over.remove());
    attended.setAttribute("aria-pressed", `${looking}`);
    if (looking && cells()[cell]) attention(of.row, cells()[cell].column);
  };

  const attention = (row, column) => {
    const over = element("img", { class: "attention", alt: `where the model looks for ${app.className(column)}` });
    over.onerror = async () => {
      const said = await read(`attention/${row}/${column}`).catch((error) => error);
      if (over.isConnected) find(".because", root).textContent = `No attention: ${reason(said)}.`;
      over.remove();
    };
    over.src = `attention/${row}/${column}`;
    frame.append(over);
  };

  const row = (asked, number) => {
    const of = item();
    const said = app.said(of.row, asked.column);
    const attributes = { role: "option", id: `cell-${number}`, "aria-selected": `${number === cell}` };
    const option = element("li", { ...attributes, class: number < of.cells.length ? "first" : null });
    option.append(element("span", { class: "what" }, named(app.className(asked.column))), ...answersOf(asked.answers));
    if (asked.given) option.append(tag(asked.given, `label: ${asked.given}`));
    option.append(element("span", { class: "p" }, probability(asked.p)));
    option.append(element("span", { class: `answer ${said ?? ""}` }, said ? WORDS[said] : ""));
    option.addEventListener("click", () => choose(number));
    return option;
  };

  const classes = () => {
    const made = cells().slice(0, shown).map(row);
    const hidden = cells().length - made.length;
    if (hidden > 0) made.push(element("li", { class: "more", role: "presentation" }, `and ${many(hidden)} more`));
    list.replaceChildren(...made);
    list.setAttribute("aria-activedescendant", `cell-${cell}`);
    list.children[cell]?.scrollIntoView({ block: "nearest" });
  };

  const question = () => {
    const asked = cells()[cell];
    const [heading, because] = [find("h2", root), find(".because", root)];
    heading.replaceChildren(...(asked ? [element("span", {}, "Is this here?"), named(app.className(asked.column))] : []));
    because.textContent = asked?.because ?? "";
    const said = asked && app.said(item().row, asked.column);
    answering.forEach((button) => button.setAttribute("aria-pressed", `${button.dataset.answer === said}`));
  };

  const count = () => {
    find(".name span", root).textContent = left === null ? "" : `${many(left)} open in this queue`;
  };

  const nothing = () => {
    const empty = "Nothing is open in this queue. Choose another one above, or look at answers in Browse.";
    find(".nothing", root).textContent = done ? empty : "Loading the queue…";
    frame.replaceChildren();
  };

  const show = () => {
    const of = item();
    find(".nothing", root).hidden = Boolean(of);
    find(".stage", root).hidden = find(".asked", root).hidden = !of;
    if (!of) return nothing();
    picture();
    find(".name bdi", root).textContent = of.name;
    find(".name bdi", root).title = of.name;
    count();
    question();
    classes();
    return undefined;
  };

  const choose = (number) => {
    if (number < 0 || number >= cells().length) return;
    cell = number;
    while (number >= shown) shown += MOST_SHOWN;
    question();
    classes();
    if (looking) picture();
    say(app.className(cells()[cell].column));
  };

  const firstOpen = () => Math.max(0, cells().findIndex((asked) => open(item(), asked)));

  const move = (to) => {
    if (to < 0 || (to > at && !item())) return;
    const leaves = to > at ? item().cells.filter((asked) => open(item(), asked)) : [];
    leaves.forEach((asked) => skipped.add(place(item(), asked)));
    at = Math.min(to, items.length);
    done = false;
    shown = MOST_SHOWN;
    cell = firstOpen();
    if (at > KEPT) {
      items.splice(0, at - KEPT);
      at = KEPT;
    }
    show();
    const asked = cells()[cell];
    if (asked) say(`${app.className(asked.column)}? ${item().name}`);
    pictures.keep(items.slice(Math.max(0, at - BEHIND), at + 1 + AHEAD));
    if (items.length - at <= AHEAD) more(false);
  };

  const goOn = () => {
    const of = item();
    const asked = of.cells.findIndex((each) => open(of, each));
    if (asked >= 0) choose(asked);
    else if (cell >= of.cells.length && cell + 1 < cells().length) choose(cell + 1);
    else move(at + 1);
  };

  const attend = () => {
    looking = !looking;
    if (!item()) return;
    question();
    picture();
  };

  const answer = (state) => {
    const asked = cells()[cell];
    if (!asked) return;
    if (!frame.firstChild?.naturalWidth) {
      say("The image is not shown yet."); // or cannot be: nobody can say what is in it
      return;
    }
    app.answer([{ row: item().row, column: asked.column, state, p: asked.p }], { item: item(), cell });
    if (left) left -= cell < item().cells.length;
    goOn();
  };

  const keys = {
    y: () => answer("present"),
    n: () => answer("absent"),
    u: () => answer("unsure"),
    " ": () => move(at + 1),
    a: () => attend(),
    ArrowUp: () => choose(cell - 1),
    ArrowDown: () => choose(cell + 1),
    ArrowLeft: () => move(at - 1),
    ArrowRight: () => move(at + 1),
  };

  attended.addEventListener("click", attend);
  answering.forEach((button) => button.addEventListener("click", () => {
    if (button.dataset.answer === "next") move(at + 1);
    else answer(button.dataset.answer);
    find("#work").focus();
  }));

  return {
    enter() {
      const answers = [[["Y"], "yes"], [["N"], "no"], [["U"], "unsure"], [["space"], "next"]];
      const ways = [[["↑", "↓"], "class"], [["←", "→"], "image"], [["A"], "attention"]];
      hints(...answers, ...ways, [["Z"], "undo"], [["G"], "grid"], [["?"], "all keys"]);
      if (!items.length) restart();
      else show();
    },
    chosen: restart,
    ranked: () => more(true),
    looked() {
      if (!item()) more(false);
      else if (missing) show();
    },
    key(name) {
      if (!keys[name]) return false;
      keys[name]();
      return true;
    },
    back(answers, before) {
      const [{ row: taken, column }] = answers;
      let where = before ? items.indexOf(before.item) : items.findIndex((of) => of.row === taken);
      if (where < 0 && before) {
        items.splice(at, 0, before.item);
        where = at;
      }
      if (where < 0) return more(true);
      at = where;
      pictures.keep(items.slice(Math.max(0, at - BEHIND), at + 1 + AHEAD));
      cell = Math.max(0, cells().findIndex((asked) => asked.column === column));
      return show();
    },
    look(of) {
      items.splice(at, 0, of);
      cell = 0;
      show();
    },
    asked: () => cells()[cell]?.column ?? null,
  };
};
