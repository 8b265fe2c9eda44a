"use strict";
// Every table is whole without this script, which adds sorting and a filter to each.
(() => {
  const collator = new Intl.Collator("en", { numeric: true });

  // A number where the cell has one; null sorts last in both directions.
  const keyOf = (row, column, byValue) => {
    const cell = row.cells[column];
    if (byValue) return "value" in cell.dataset ? Number(cell.dataset.value) : null;
    return "none" in cell.dataset ? null : cell.textContent.trim();
  };

  const sorted = (rows, column, sign) => {
    const byValue = rows.some((row) => "value" in row.cells[column].dataset);
    const compare = byValue ? (a, b) => (a < b ? -1 : a > b ? 1 : 0) : collator.compare;
    return rows
      .map((row) => ({ row, key: keyOf(row, column, byValue) }))
      .sort((a, b) =>
        a.key === null || b.key === null
          ? (a.key === null) - (b.key === null)
          : sign * compare(a.key, b.key))
      .map((pair) => pair.row);
  };

  // Once ascending, once descending, then as the report has it.
  const addSorting = (table) => {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.querySelectorAll("th[data-column]")];
    for (const head of heads) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const order = { null: "ascending", ascending: "descending", descending: null }[before];
        for (const other of heads) other.removeAttribute("aria-sort");
        if (order !== null) head.setAttribute("aria-sort", order);
        const sign = order === "descending" ? -1 : 1;
        const column = Number(head.dataset.column);
        body.append(...(order === null ? original : sorted(original, column, sign)));
      });
    }
  };

  // Rows that hold every word stay; paper gets all rows.
  const addFilter = (table) => {
    const rows = [...table.tBodies[0].rows];
    const tools = document.createElement("p");
    const box = document.createElement("input");
    const count = document.createElement("output");
    tools.className = "tools";
    box.type = "search";
    box.placeholder = "Filter rows";
    box.autocomplete = "off";
    box.setAttribute("aria-label", `Filter the rows of table ${table.dataset.number}`);
    box.addEventListener("input", () => {
      const words = box.value.toLowerCase().split(/\s+/);
      for (const row of rows) {
        const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      const left = rows.filter((row) => !row.hidden).length;
      count.value = left < rows.length ? `${left} of ${rows.length} rows` : "";
    });
    tools.append(box, count);
    table.parentElement.before(tools);
  };

  for (const table of document.querySelectorAll("table")) {
    addSorting(table);
    addFilter(table);
  }
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const box of document.querySelectorAll("label.zoom input")) box.checked = false;
  });
})();
