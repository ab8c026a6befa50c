// Asks before something is destroyed: in a dialog, instead of by the <details> that is there without
// JavaScript and that says what is asked.

let dialog = null;
let chosen = null;

function make() {
  dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "question");
  const form = document.createElement("form");
  form.method = "dialog";
  const text = document.createElement("p");
  text.id = "question";
  const no = document.createElement("button");
  no.value = "no";
  no.textContent = "Keep";
  no.autofocus = true;
  const yes = document.createElement("button");
  yes.value = "yes";
  yes.className = "bad";
  form.append(text, no, yes);
  dialog.append(form);
  dialog.addEventListener("close", () => {
    const button = chosen;
    chosen = null;
    if (dialog.returnValue === "yes" && button?.form) button.form.requestSubmit(button);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close("no"));
  document.body.append(dialog);
}

document.addEventListener("click", (event) => {
  const summary = event.target.closest?.("details.sure > summary");
  if (!summary) return;
  event.preventDefault();
  if (!dialog) make();
  const [text, , yes] = dialog.firstElementChild.children;
  chosen = summary.parentElement.querySelector("button").cloneNode(true);
  chosen.hidden = true; // a copy: a live update may take the original away meanwhile
  document.body.append(chosen);
  dialog.addEventListener("close", ((copy) => () => copy.remove())(chosen), { once: true });
  text.textContent = summary.parentElement.querySelector("p").textContent;
  yes.textContent = chosen.textContent;
  dialog.returnValue = "no";
  dialog.showModal();
});
