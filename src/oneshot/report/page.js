// Click on a heading: its table is sorted by that column, again: the other way round; missing values stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.ariaSort === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const missing = row => value(row) === "";
      const compare = (a, b) => value(a).localeCompare(value(b), "en", {numeric: true});
      const numeric = [...body.rows].every(row => missing(row) || !isNaN(value(row)));
      body.append(...[...body.rows].sort((a, b) => missing(a) - missing(b)
        || (down ? -1 : 1) * (numeric ? value(a) - value(b) : compare(a, b))));
    });
  });
}
