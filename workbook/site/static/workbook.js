// Sorts the tables of results: a click on the head of a column, or Enter or Space on it. And marks
// boxes that scroll sideways, on the side on which there is more to see.

function valueOf(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.value !== undefined) {
    return Number(cell.dataset.value);
  }
  return cell.textContent;
}

function compare(a, b) {
  if (a === b) {
    return 0;
  }
  // rows without a value come last, in both directions
  if (a === "" || b === "") {
    return a === "" ? Infinity : -Infinity;
  }
  if (typeof a === "number") {
    return a - b;
  }
  return a.localeCompare(b, "en", { numeric: true });
}

function sort(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const head = heads[column];
  const isAscending = head.getAttribute("aria-sort") !== "ascending";
  for (const other of heads) {
    other.removeAttribute("aria-sort");
  }
  head.setAttribute("aria-sort", isAscending ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => {
    const difference = compare(valueOf(a, column), valueOf(b, column));
    const isFixed = Math.abs(difference) === Infinity;
    return isAscending || isFixed ? difference : -difference;
  });
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.results")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => sort(table, column));
  });
}

const BOXES = ".wide, .math, .pst-scrollable-table-container, .cell_output > .output";

function markMore(box) {
  const left = box.scrollWidth - box.clientWidth - box.scrollLeft;
  box.classList.toggle("more-before", box.scrollLeft > 1);
  box.classList.toggle("more-after", left > 1);
}

const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => markMore(target)));
for (const box of document.querySelectorAll(`.bd-article :is(${BOXES})`)) {
  sizes.observe(box);
  box.addEventListener("scroll", () => markMore(box), { passive: true });
}
