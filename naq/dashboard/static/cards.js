// On a phone the rows of a table become cards (naq.css): each value is labelled with the head of its
// column.

function label() {
  for (const table of document.querySelectorAll("table.fixed")) {
    const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    for (const row of table.querySelectorAll("tbody > tr:not(.group)")) {
      [...row.cells].forEach((cell, at) => {
        if (cell.dataset.own !== heads[at]) cell.dataset.own = heads[at];
      });
    }
  }
}

document.addEventListener("naq:update", label);
label();
