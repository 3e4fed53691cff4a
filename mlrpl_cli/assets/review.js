// Who answers what, and by which view; keys; how far it is. The views answer through `app`.
import { browse } from "./review-browse.js";
import { disputes } from "./review-disputes.js";
import { grid } from "./review-grid.js";
import { one } from "./review-one.js";
import { all, count, element, find, lost, many, say, WORDS } from "./review-parts.js";
import { keep, kept, Outbox, read, reason, remember, remembered, token } from "./review-server.js";

const MOST_UNDONE = 500;
const MOST_KEPT = 20; // of these over a reload
const EVERY = 1500; // milliseconds between two looks at how far it is
const SOON = 300; // after the last answer is saved

const app = {
  person: remembered(),
  mode: "one",
  by: "suggested",
  column: null,
  show: "all",
  proposed: "present",
  state: null,
  answered: new Map(), // "row column" → what this person said here, also before it is saved
  trouble: null,

  className: (column) => app.state.classes[column]?.name ?? "",

  said: (row, column) => app.answered.get(`${row} ${column}`),

  /** Answers cells at once; `place` is what the view needs to show them again when they are taken back. */
  answer(cells, place) {
    const answers = cells.map((cell) => ({ token: token(), ...cell }));
    const before = cells.map(({ row, column }) => app.said(row, column) ?? null);
    cells.forEach(({ row, column, state }) => app.answered.set(`${row} ${column}`, state));
    past.push({ person: app.person, mode: app.mode, answers, before });
    places.set(past.at(-1), place);
    if (past.length > MOST_UNDONE) past.shift();
    keepPast();
    outbox.answer(app.person, answers);
  },

  undo() {
    const last = past.pop();
    if (!last) return say("There is nothing to take back.");
    keepPast();
    outbox.undo(last.person, last.answers.map((each) => each.token));
    last.answers.forEach(({ row, column }, place) => {
      if (last.before[place] === null) app.answered.delete(`${row} ${column}`);
      else app.answered.set(`${row} ${column}`, last.before[place]);
    });
    const [{ column, state }] = last.answers;
    const told = last.answers.length > 1 ? `${last.answers.length} answers` : `${app.className(column)}, ${WORDS[state]}`;
    say(`Taken back: ${told}.`);
    if (app.mode !== last.mode) enter(last.mode);
    app.view.back(last.answers, places.get(last));
  },

  /** Other choices, in the controls and in the address; the view itself knows what follows. */
  choose(changes) {
    Object.assign(app, changes);
    choices();
  },

  /** What went wrong while reading, or null once it went well. */
  failed(error) {
    if (error?.name === "AbortError") return;
    if (!error && app.trouble) lost.again();
    app.trouble = error && reason(error);
    banner();
  },

  /** One image with one question, out of another view. */
  look(item) {
    enter("one");
    views.one.look(item);
  },

  get view() {
    return views[app.mode];
  },
};

const past = kept("past", []); // the last answers of this tab, to be taken back
const places = new WeakMap();
let pointed = false; // whether the last that was used is a pointer
const views = { one: one(app), grid: grid(app), browse: browse(app), disputes: disputes(app) };
let next = 0; // timer of the next look at how far it is
const outbox = new Outbox(() => queueMicrotask(told), (answers) => {
  answers.forEach(({ row, column }) => app.answered.delete(`${row} ${column}`));
});
const keepPast = () => keep("past", past.slice(-MOST_KEPT));

function told() {
  const waiting = outbox.waiting ? `, ${many(outbox.waiting)} not saved yet` : "";
  find("#saved").textContent = `${many(Math.max(0, outbox.saved))} saved here${waiting}`;
  if (!outbox.waiting && find("#saved").dataset.waiting > 0) watchIn(SOON);
  find("#saved").dataset.saved = outbox.saved;
  find("#saved").dataset.waiting = outbox.waiting;
  banner();
}

function banner() {
  const refused = outbox.refused.length ? `${outbox.refused.length} refused: ${outbox.refused[0]}` : null;
  const wait = `${count(outbox.waiting, "answer")} of this tab will be sent again; leave it open.`;
  const unsaved = outbox.trouble && `Not saved: ${outbox.trouble}. ${wait}`;
  const text = unsaved ?? refused ?? (app.trouble && `Not loaded: ${app.trouble}.`);
  find("#banner").hidden = !text;
  if (find("#trouble").textContent !== (text ?? "")) find("#trouble").textContent = text ?? "";
  find("#again").textContent = refused && !unsaved ? "Dismiss" : "Try now";
}

function progress(state) {
  const cells = state.known + state.open;
  const short = state.title.split(/[\\/]/).findLast(Boolean) ?? "";
  find("#title").textContent = short;
  find("#title").title = state.title;
  document.title = `${short} · mlrpl review`;
  find("#progress").value = cells ? state.known / cells : 0;
  find("#known").textContent = `${many(state.known)} of ${many(cells)} cells known, ${count(state.answers, "answer")}`;
  find("#disputed").textContent = state.disputed ? many(state.disputed) : "";
  find("#learning").textContent = state.learning.told;
  find("#learning").dataset.state = state.learning.state;
  const percent = (share) => (100 * share).toFixed(1);
  const { estimate, last_point: point } = state;
  const took = point === null || point === undefined ? "" : `; the last point took ${count(point, "answer")}`;
  const range = estimate && `mAP ${percent(estimate.map)}% (${percent(estimate.low)} to ${percent(estimate.high)})${took}`;
  find("#estimate").textContent = range ?? "no estimate of mAP yet";
  find("#estimate").title = estimate?.told ?? "";
}

function classes(state) {
  const told = state.classes.map(({ name, open }) => `${name} (${many(open)} open)`);
  const select = find("#class");
  if (select.options.length !== told.length + 1) {
    const options = told.map((_, number) => element("option", { value: number }));
    select.replaceChildren(element("option", { value: "" }, "all"), ...options);
  }
  told.forEach((text, n) => {
    if (select.options[n + 1].textContent !== text) select.options[n + 1].textContent = text;
  });
}

async function look() {
  try {
    const state = await read("state");
    const version = app.state?.learning.version;
    app.state = state;
    progress(state);
    if (document.activeElement !== find("#class")) classes(state);
    app.failed(null);
    if (version === undefined) begin();
    else if (version !== state.learning.version) app.view.ranked();
    else app.view.looked?.();
  } catch (error) {
    app.failed(error);
  }
}

async function watch() {
  await look();
  watchIn(document.hidden ? 4 * EVERY : EVERY);
}

function watchIn(milliseconds) {
  clearTimeout(next);
  next = setTimeout(watch, milliseconds);
}

function fromAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const choice = (name, select) => {
    const value = given.get(name);
    if (all("option", find(select)).some((option) => option.value === value)) app[name] = value;
  };
  choice("by", "#by");
  choice("show", "#show");
  choice("proposed", "#proposed");
  const column = app.state.classes.findIndex(({ name }) => name === given.get("class"));
  app.column = column < 0 ? null : column;
  return given.get("mode") in views ? given.get("mode") : "one";
}

function toAddress() {
  const place = new URLSearchParams({ mode: app.mode, by: app.by });
  if (app.column !== null) place.set("class", app.className(app.column));
  if (app.mode === "browse") place.set("show", app.show);
  if (app.mode === "grid") place.set("proposed", app.proposed);
  window.history.replaceState(null, "", `#${place}`);
}

/** Choices as they are now, in the controls and in the address. */
function choices() {
  const oneClass = app.mode === "grid" || app.mode === "browse" || (app.mode === "one" && app.by === "class");
  if (oneClass) app.column ??= views.one.asked() ?? 0;
  ["by", "show", "proposed"].forEach((name) => { find(`#${name}`).value = app[name]; });
  find("#class").value = app.column ?? "";
  find("#class").options[0].hidden = oneClass;
  find("#person").value = app.person;
  all("[data-of]").forEach((label) => { label.hidden = !label.dataset.of.split(" ").includes(app.mode); });
  toAddress();
}

function enter(mode) {
  app.mode = mode;
  Object.keys(views).forEach((name) => { find(`#${name}`).hidden = name !== mode; });
  all("nav button").forEach((button) => button.setAttribute("aria-pressed", button.dataset.mode === mode));
  choices();
  app.view.enter();
}

function begin() {
  if (app.person || !app.state.asks) return began(app.person || app.state.person);
  const [who, name] = [find("#who"), find("#who input")];
  name.value = app.state.person;
  who.addEventListener("close", () => began(name.value.trim() || app.state.person), { once: true });
  who.showModal();
  return name.select();
}

function began(person) {
  app.person = person;
  remember(person);
  const said = past.filter(({ person }) => person === app.person).flatMap(({ answers }) => answers);
  [...said, ...outbox.of(app.person)].forEach(({ row, column, state }) => app.answered.set(`${row} ${column}`, state));
  enter(fromAddress());
  find("#work").focus();
}

function chosen(name, value) {
  app.choose({ [name]: value });
  app.view.chosen();
  if (pointed) find("#work").focus(); // by keyboard one may want the choice after it
}

const everywhere = {
  z: () => app.undo(),
  g: () => enter(app.mode === "grid" ? "one" : "grid"),
  b: () => enter(app.mode === "browse" ? "one" : "browse"),
  d: () => enter(app.mode === "disputes" ? "one" : "disputes"),
  c: () => (find("#class").closest("label").hidden ? undefined : find("#class").focus()),
  "?": () => find("#help").showModal(),
};

/** The key by what it writes; on a keyboard of other letters by where it is. */
function keyName({ key, code }) {
  if (/^Key[A-Z]$/.test(code) && !/^[a-z]$/i.test(key)) return code.slice(3).toLowerCase();
  return key.length === 1 ? key.toLowerCase() : key;
}

function pressed(event) {
  pointed = false;
  if (event.ctrlKey || event.metaKey || event.altKey || !app.state || all("dialog").some(({ open }) => open)) return;
  const typing = event.target.closest("input, select");
  if (typing) {
    if (event.key === "Escape" || event.key === "Enter") find("#work").focus();
    return;
  }
  const own = event.target.closest("button, a");
  if (own && (event.key === "Enter" || event.key === " ") && !own.closest(".tiles")) return;
  const name = keyName(event);
  if (event.repeat && !name.startsWith("Arrow")) return; // one press is one answer
  if (everywhere[name]) everywhere[name]();
  else if (!app.view.key(name, event)) return;
  event.preventDefault();
}

document.addEventListener("keydown", pressed);
document.addEventListener("pointerdown", () => { pointed = true; });
all("nav button").forEach((button) => button.addEventListener("click", () => {
  enter(button.dataset.mode);
  find("#work").focus();
}));
["by", "show", "proposed"].forEach((name) => {
  find(`#${name}`).addEventListener("change", ({ target }) => chosen(name, target.value));
});
find("#class").addEventListener("change", ({ target }) => chosen("column", target.value === "" ? null : Number(target.value)));
find("#person").addEventListener("change", (event) => {
  const name = event.target.value.trim();
  if (name && name !== app.person) {
    remember(name);
    app.answered.clear();
    chosen("person", name);
  }
  event.target.value = app.person;
});
find(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says what is shown
  find("#work").focus();
});
find("#keys").addEventListener("click", () => find("#help").showModal());
find("#again").addEventListener("click", () => {
  if (outbox.trouble === null) outbox.forgive();
  outbox.now();
  look();
});
window.addEventListener("hashchange", () => app.state && enter(fromAddress()));
window.addEventListener("beforeunload", (event) => {
  if (outbox.waiting) event.preventDefault();
});
told();
watch();
