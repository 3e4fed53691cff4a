"use strict";
// Sorts tables, filters classes and pictures, and opens curves. Names reach this script as text alone.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const told = (name, text) => all(`[data-count="${name}"]`).forEach((place) => { place.textContent = text; });

  const value = (row, column, numeric) => {
    const cell = row.cells[column];
    const text = "value" in cell.dataset ? cell.dataset.value : cell.textContent.trim();
    if (!numeric) return text;
    const number = Number.parseFloat(text.replace("+", ""));
    return Number.isNaN(number) ? null : number;
  };

  const sort = (table, head, column) => {
    const numeric = head.dataset.kind === "number";
    const before = head.getAttribute("aria-sort");
    const first = numeric ? "descending" : "ascending";
    const other = numeric ? "ascending" : "descending";
    const order = before === first ? other : first;
    const way = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [value(row, column, numeric), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // without a figure: last, either way
      return way * (numeric ? a - b : a.localeCompare(b, undefined, { numeric: true }));
    });
    [...table.tHead.rows[0].cells].forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };

  all("table.sortable").forEach((table) => {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, head, column));
      head.append(button);
    });
  });

  all("input[data-filter]").forEach((input) => {
    const rows = [...document.getElementById(input.dataset.filter).tBodies[0].rows];
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLocaleLowerCase();
      rows.forEach((row) => { row.hidden = !row.cells[0].textContent.toLocaleLowerCase().includes(wanted); });
      told(input.dataset.filter, `${rows.filter((row) => !row.hidden).length} of ${rows.length} classes`);
    });
  });

  const chosen = (name) => document.querySelector(`select[data-gallery="${name}"]`)?.value ?? "";
  const choose = () => {
    const [ofClass, ofGroup] = [chosen("class"), chosen("group")];
    all(".group").forEach((group) => {
      group.hidden = ofGroup !== "" && group.dataset.group !== ofGroup;
      all("[data-class]", group).forEach((item) => { item.hidden = ofClass !== "" && item.dataset.class !== ofClass; });
    });
    const shown = all(".group:not([hidden]) [data-class]:not([hidden])").length;
    told("gallery", `${shown} of ${all(".group [data-class]").length} pictures`);
  };
  all("select[data-gallery]").forEach((select) => select.addEventListener("change", choose));

  const opened = (name, open) => all(`#${name} details`).forEach((each) => { each.open = open; });
  all("[data-open]").forEach((button) => button.addEventListener("click", () => opened(button.dataset.open, true)));
  all("[data-close]").forEach((button) => button.addEventListener("click", () => opened(button.dataset.close, false)));

  const reveal = () => {
    const target = document.getElementById(window.location.hash.slice(1));
    const closed = target?.closest("details");
    if (closed) {
      closed.open = true;
      closed.scrollIntoView();
    }
  };
  window.addEventListener("hashchange", reveal);
  reveal();
  all(".controls").forEach((controls) => { controls.hidden = false; });
})();
