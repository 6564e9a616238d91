"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const valueOf = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();

  // What is not known comes last either way round.
  function compare(one, other, numeric, sign) {
    if (one === "" || other === "") return (one === "") - (other === "");
    return sign * (numeric ? one - other : one.localeCompare(other, "en", { numeric: true }));
  }

  function sort(table, header, descending = header.getAttribute("aria-sort") === "ascending") {
    for (const each of all("[aria-sort]", table)) each.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const { column, kind } = header.dataset;
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
    rows.sort(([one], [other]) => compare(one, other, kind === "number", descending ? -1 : 1));
    for (const row of body.rows) row.classList.remove("next");
    body.append(...rows.map(([, row]) => row));
  }

  for (const table of all("table.sortable")) {
    for (const header of all("th[data-column]", table)) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sort(table, header));
      header.append(button);
      header.setAttribute("aria-sort", "none");
    }
  }

  const form = document.getElementById("filters");
  const main = document.getElementById("table");

  // Where the table has no headings to click at, on a phone.
  function offerSorting() {
    const label = document.createElement("span");
    const select = document.createElement("select");
    const headers = all("th[data-column]", main);
    label.className = "phone";
    select.ariaLabel = "Sort by";
    select.append(new Option("as listed", ""), ...headers.map((header) => new Option(header.dataset.heading, header.dataset.column)));
    select.addEventListener("input", () => {
      const header = headers.find((each) => each.dataset.column === select.value);
      if (header) sort(main, header, header.dataset.kind === "number");
    });
    label.append("Sort by ", select);
    form.querySelector("button").before(label);
  }
  const rows = all("#table tbody tr");

  function filter() {
    const words = form.elements.text.value.toLowerCase().split(/\s+/);
    const chosen = all("select[data-column]", form).filter((select) => select.value !== "");
    const shown = new Set();
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(
        words.every((word) => text.includes(word)) &&
        chosen.every((select) => valueOf(row, select.dataset.column) === select.value)
      );
      if (!row.hidden) shown.add(row.dataset.row);
    }
    for (const each of all("[data-rows]")) each.hidden = !each.dataset.rows.split(" ").some((key) => shown.has(key));
    form.querySelector("output").value = `${shown.size} of ${rows.length} rows`;
  }

  if (form) {
    form.addEventListener("input", filter);
    form.addEventListener("reset", () => setTimeout(filter));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    offerSorting();
    filter();
  }

  for (const buttons of all(".buttons")) {
    buttons.hidden = false;
    buttons.addEventListener("click", (event) => {
      if (!event.target.matches("button")) return;
      for (const each of all("details.row")) each.open = event.target.dataset.open === "open";
    });
  }

  // A link leads to its row even where the row was filtered out or its details are closed.
  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.hidden) {
      form.reset();
      filter();
    }
    if (target.matches("details")) target.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  reveal();
})();
