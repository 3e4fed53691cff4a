// One class over a batch of images: all get the proposed answer but those that are marked.
import { all, caption, element, find, hints, key, many, named, OTHER, say, step, thumbnail, WORDS } from "./review-parts.js";
import { read } from "./review-server.js";

const BATCH = 50;

export const grid = (app) => {
  const root = find("#grid");
  const tiles = find(".tiles", root);
  const confirm = find(".confirm", root);
  let batch = [];
  let next = []; // loaded ahead
  let marks = new Map(); // row → "wrong" or "unsure"
  const unread = new Set(); // rows whose picture cannot be read: nobody can say what is in it
  let focus = 0;
  let total = null;
  let reading = null;
  let waits = false; // a batch is shown as soon as it is there
  let shownFor = null; // the class and the proposed answer of the batch

  const wanted = () => `${app.column} ${app.proposed} ${app.person}`;

  const state = (item) => ({ wrong: OTHER[app.proposed], unsure: "unsure" })[marks.get(item.row)] ?? app.proposed;
  const mine = (item) => item.answers?.some(({ person }) => person === app.person);
  const open = (item) => app.said(item.row, app.column) === undefined && !mine(item) && !unread.has(item.row);

  /** The open images at that end of the ranking at which the proposed answer is likeliest to be right. */
  const ranked = async (signal) => {
    const asked = { column: app.column, show: "open", person: app.person };
    const most = 3 * BATCH;
    const found = await read("grid", { ...asked, start: 0, most }, signal);
    if (app.proposed === "present" || found.total <= most) return { ...found, start: 0 };
    const start = found.total - most;
    return { ...(await read("grid", { ...asked, start, most, version: found.version }, signal)), start };
  };

  const more = async () => {
    reading?.abort();
    const mine = new AbortController();
    reading = mine;
    try {
      const found = await ranked(mine.signal);
      app.failed(null);
      total = found.total;
      const ordered = app.proposed === "present" ? found.items : [...found.items].reverse();
      const there = new Set(waits ? [] : batch.map((item) => item.row));
      next = ordered.filter((item) => open(item) && !there.has(item.row));
      if (waits) show(next.splice(0, BATCH));
      ahead();
      lead();
    } catch (error) {
      if (reading === mine) app.failed(error);
    } finally {
      if (reading === mine) reading = null;
    }
  };

  let loaded = [];
  const ahead = () => {
    loaded = next.slice(0, BATCH).map((item) => thumbnail(item.row, item.name)); // held, so that they are there at once
  };

  const lead = () => {
    const [heading, nothing] = [find("h2", root), find(".nothing", root)];
    const asked = named(app.className(app.column));
    heading.replaceChildren(...(batch.length ? ["Is ", asked, ` ${app.proposed} in all of these?`] : [asked]));
    const states = batch.filter(({ row }) => !unread.has(row)).map(state);
    const told = [app.proposed, OTHER[app.proposed], "unsure"].map((of) => [states.filter((one) => one === of).length, of]);
    const parts = told.filter(([times]) => times).map(([times, of]) => `${times} ${of}`);
    confirm.replaceChildren(`Confirm: ${parts.join(", ")} `, key("Enter"));
    confirm.hidden = !batch.length;
    nothing.hidden = Boolean(batch.length);
    nothing.textContent = total === null ? "Loading…" : "Every image has an answer for this class. Choose another one above.";
  };

  const mark = (tile, item) => {
    const now = state(item);
    tile.className = `tile ${now} ${marks.has(item.row) ? "marked" : ""}`;
    tile.setAttribute("aria-label", `${item.name}: ${now}`);
    tile.querySelector(".word").textContent = WORDS[now];
  };

  const tile = (item, number) => {
    const made = element("button", { type: "button", tabindex: number === focus ? "0" : "-1", title: item.name });
    made.append(thumbnail(item.row, item.name), caption("", item.p));
    made.addEventListener("click", () => {
      turn(number, "wrong");
      to(number);
    });
    mark(made, item);
    return element("li", {}, made);
  };

  const button = (number) => tiles.children[number]?.firstChild;

  const to = (number) => {
    button(focus)?.setAttribute("tabindex", "-1");
    focus = number;
    button(focus)?.setAttribute("tabindex", "0");
    button(focus)?.focus();
  };

  const turn = (number, kind) => {
    const item = batch[number];
    if (!item) return;
    if (marks.get(item.row) === kind) marks.delete(item.row);
    else marks.set(item.row, kind);
    mark(button(number), item);
    lead();
    say(`${item.name}: ${state(item)}`);
  };

  const show = (items, marked = new Map()) => {
    [batch, marks, focus, waits, shownFor] = [items, marked, 0, !items.length, wanted()];
    tiles.replaceChildren(...batch.map(tile));
    find("#work").scrollTop = 0;
    lead();
    if (batch.length) to(0);
  };

  const restart = () => {
    [next, total] = [[], null];
    show([]);
    more();
  };

  const confirmed = () => {
    if (!batch.length) return;
    if (all("img", tiles).some((image) => !image.complete)) {
      say("Some pictures are still loading.");
      return;
    }
    const seen = batch.filter(({ row }) => !unread.has(row));
    const cells = seen.map((item) => ({ row: item.row, column: app.column, state: state(item), p: item.p }));
    if (cells.length) app.answer(cells, { batch, marks, column: app.column, proposed: app.proposed });
    say(`${many(cells.length)} answers; the next ${Math.min(BATCH, next.length)} images.`);
    show(next.splice(0, BATCH));
    ahead();
    if (next.length < BATCH) more();
  };

  const columns = () => {
    const top = button(0)?.offsetTop;
    const first = batch.findIndex((_, number) => button(number).offsetTop > top);
    return first < 0 ? Math.max(1, batch.length) : first;
  };

  confirm.addEventListener("click", confirmed);
  tiles.addEventListener("error", ({ target }) => {
    const number = [...tiles.children].findIndex((child) => child.contains(target));
    if (batch[number]) unread.add(batch[number].row);
    lead();
  }, true);

  return {
    enter() {
      const marking = [[["X"], "wrong"], [["U"], "unsure"], [["P"], "propose the other"], [["Enter"], "confirm all"]];
      hints([["←", "→", "↑", "↓"], "image"], ...marking, [["Z"], "undo"], [["G"], "one image"], [["?"], "all keys"]);
      if (batch.length && shownFor === wanted()) to(focus);
      else restart();
    },
    chosen: restart,
    ranked: more,
    looked() {
      if (waits) more();
    },
    key(name) {
      const there = step(name, focus, batch.length, columns());
      if (there !== null) to(there);
      else if (name === "x") turn(focus, "wrong");
      else if (name === "u") turn(focus, "unsure");
      else if (name === "Enter") confirmed();
      else if (name === "p") {
        app.choose({ proposed: OTHER[app.proposed] });
        restart();
      }
      else return false;
      return true;
    },
    back(answers, before) {
      if (!before) return restart();
      next = [...batch, ...next];
      app.choose({ column: before.column, proposed: before.proposed });
      return show(before.batch, before.marks);
    },
  };
};
