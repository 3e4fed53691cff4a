// Cells to which people gave different answers, each of which can be looked at again.
import { answersOf, element, find, hints, named, thumbnail } from "./review-parts.js";
import { read } from "./review-server.js";

const MOST = 200;

export const disputes = (app) => {
  const root = find("#disputes");

  const look = ({ row, name, column, answers }) => {
    const others = answers.filter(({ person }) => person !== app.person);
    const cell = { column, p: null, given: null, because: null, answers: others };
    app.look({ row, name, split: null, cells: [cell], others: [] });
  };

  const shown = (item) => {
    const [what, where] = [named(app.className(item.column)), named(item.name)];
    const words = element("div", {}, element("strong", {}, what), element("small", {}, where));
    words.append(element("p", {}, ...answersOf(item.answers)));
    const button = element("button", { type: "button" }, "Look again");
    button.addEventListener("click", () => look(item));
    return element("li", {}, thumbnail(item.row, item.name), words, button);
  };

  const load = async () => {
    try {
      const { items } = await read("disagreements");
      app.failed(null);
      find("ul", root).replaceChildren(...items.slice(0, MOST).map(shown));
      find(".nothing", root).hidden = items.length > 0 && items.length <= MOST;
      find(".nothing", root).textContent = items.length ? `${items.length - MOST} more are not shown.` : "Nobody disagrees.";
    } catch (error) {
      app.failed(error);
    }
  };

  return {
    enter() {
      hints([["Tab"], "from one to the next"], [["Enter"], "look again"], [["D"], "back"], [["?"], "all keys"]);
      load();
    },
    chosen: load,
    ranked: () => {},
    key: () => false,
    back: load,
  };
};
