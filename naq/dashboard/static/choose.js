// Rows of tables: which fit the filter, and which are checked.

function filter(input) {
  const text = input.value.trim().toLowerCase();
  for (const row of document.querySelectorAll(`#${input.dataset.filter} tbody > tr`)) {
    const fits = !text || row.textContent.toLowerCase().includes(text);
    row.toggleAttribute("hidden", !fits);
  }
}

const filters = document.querySelectorAll("[data-filter]");
for (const input of filters) {
  input.addEventListener("input", () => filter(input));
  filter(input); // browsers may restore what was typed
}

const all = document.querySelector("[data-all]");
const boxes = () => [...document.getElementsByName(all.dataset.all)];

function report() {
  if (!all) return;
  const every = boxes();
  const checked = every.filter((box) => box.checked).length;
  all.checked = checked > 0 && checked === every.length;
  all.indeterminate = checked > 0 && checked < every.length;
  document.querySelector("[data-chosen]").textContent = checked ? `${checked} selected` : "";
}

all?.addEventListener("change", () => {
  for (const box of boxes()) box.checked = all.checked;
  report();
});
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
  else report();
});
document.addEventListener("naq:update", () => {
  filters.forEach(filter);
  report();
});
report();
