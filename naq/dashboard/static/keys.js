// "/" moves to the search field of the page; Escape leaves it, or closes the form around it.

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const typing = event.target.closest?.("input, select, textarea");
  if (event.key === "/" && (!typing || typing.type === "checkbox")) {
    const found = document.querySelector("main [data-search]") ?? document.querySelector("[data-search]");
    if (!found) return;
    event.preventDefault();
    found.focus();
    found.select();
  } else if (event.key === "Escape") {
    const open = event.target.closest?.("details.more[open]");
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
    } else if (typing?.type === "search") typing.blur();
  }
});
