// What is read from the server, and answers that are sent to it, in order, until it has confirmed them.

/** The server's own sentence of why not. */
export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** Why something went wrong, to be put into a sentence. */
export const reason = (error) => (error instanceof Refused ? error.message.replace(/\.$/, "") : "the server is not there");

const PATIENCE = 20000; // milliseconds after which a server that says nothing counts as gone
const LONGEST_WAIT = 4000;
const MOST_TOGETHER = 200; // answers of one request
const NEVER = [400, 409, 413, 415, 422]; // it would say the same again

const checked = async (response) => {
  if (response.ok) return response.json();
  const told = await response.json().catch(() => null);
  throw new Refused(response.status, told?.error ?? `the server says ${response.status}`);
};

export const read = async (path, asked = {}, signal = undefined) => {
  const given = Object.entries(asked).filter(([, value]) => value !== null && value !== undefined);
  const patience = AbortSignal.timeout(PATIENCE);
  const either = signal ? AbortSignal.any([signal, patience]) : patience;
  return checked(await fetch(`${path}?${new URLSearchParams(given)}`, { signal: either, cache: "no-store" }));
};

const post = async (path, body) => {
  const headers = { "Content-Type": "application/json" };
  const signal = AbortSignal.timeout(PATIENCE);
  return checked(await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal }));
};

/** Sixteen random bytes by which an answer that is sent twice is known to be one. */
export const token = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Kept as long as the tab is, for this address alone: the same row of other data is another image. */
export const kept = (name, otherwise) => {
  try {
    return JSON.parse(sessionStorage.getItem(`${location.pathname} ${name}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
};

export const keep = (name, value) => {
  try {
    sessionStorage.setItem(`${location.pathname} ${name}`, JSON.stringify(value));
  } catch {
    // a full store: what is kept in memory is sent all the same
  }
};

/** Who answers in this browser, at whatever address. */
export const remembered = () => {
  try {
    return localStorage.getItem("person") ?? "";
  } catch {
    return "";
  }
};

export const remember = (person) => {
  try {
    localStorage.setItem("person", person);
  } catch {
    // it is asked again
  }
};

const size = (one) => (one.answers ?? one.tokens).length;

export class Outbox {
  #waiting = kept("waiting", []);
  #changed;
  #takenBack;
  #wake = () => {};
  #running = false;
  #together = MOST_TOGETHER;
  saved = kept("saved", 0);
  trouble = null;
  refused = [];

  /** `changed()` hears of every change, `takenBack(answers)` of answers that the server refused. */
  constructor(changed, takenBack) {
    this.#changed = changed;
    this.#takenBack = takenBack;
    this.#send();
  }

  /** Answers and undos that the server has not confirmed. */
  get waiting() {
    return this.#waiting.reduce((sum, one) => sum + size(one), 0);
  }

  /** What a person has answered that is not confirmed. */
  of(person) {
    return this.#waiting.filter((one) => one.person === person).flatMap((one) => one.answers ?? []);
  }

  answer(person, answers) {
    this.#add({ person, answers });
  }

  undo(person, tokens) {
    this.#add({ person, tokens });
  }

  now() {
    this.#wake();
  }

  forgive() {
    this.refused = [];
    this.#changed();
  }

  #add(one) {
    this.#waiting.push(one);
    this.#note();
    this.#send();
  }

  #note() {
    keep("waiting", this.#waiting);
    keep("saved", this.saved);
    this.#changed();
  }

  /** The first that waits, with the answers of the same person that follow it. */
  #batch() {
    const [first] = this.#waiting;
    const joins = (one) => first.answers && one?.answers && one.person === first.person;
    let count = 1;
    let answers = size(first);
    while (joins(this.#waiting[count]) && answers + size(this.#waiting[count]) <= this.#together) {
      answers += size(this.#waiting[count]);
      count += 1;
    }
    return this.#waiting.slice(0, count);
  }

  async #send() {
    if (this.#running) return;
    this.#running = true;
    let wait = 250;
    while (this.#waiting.length) {
      try {
        await this.#once(this.#batch());
        wait = 250;
      } catch (error) {
        this.trouble = reason(error);
        this.#changed();
        await new Promise((resolve) => {
          this.#wake = resolve;
          setTimeout(resolve, wait);
        });
        wait = Math.min(2 * wait, LONGEST_WAIT);
      }
    }
    this.#running = false;
  }

  async #once(batch) {
    const [{ person, tokens }] = batch;
    try {
      if (tokens) this.saved -= (await post("undo", { person, tokens })).undone;
      else {
        const answers = batch.flatMap((one) => one.answers);
        await post("answers", { person, answers });
        this.saved += answers.length;
      }
    } catch (error) {
      if (!(error instanceof Refused) || !NEVER.includes(error.status)) throw error;
      if (batch.length > 1) {
        this.#together = 1; // the others of the batch may be good
        return;
      }
      this.refused.push(error.message);
      this.#takenBack(batch[0].answers ?? []);
    }
    this.#waiting.splice(0, batch.length);
    if (!this.#waiting.length) this.#together = MOST_TOGETHER;
    this.trouble = null;
    this.#note();
  }
}
