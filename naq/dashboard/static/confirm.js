// Asks before something is destroyed, in a dialog. Without JavaScript the <details> asks instead; the
// question is the same.

// A new dialog for each question: the close event comes a little late, when the next may be open.
function ask(question, word, confirmed) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "question");
  const form = document.createElement("form");
  form.method = "dialog";
  const text = document.createElement("p");
  text.id = "question";
  text.textContent = question;
  const no = document.createElement("button");
  no.value = "no";
  no.textContent = "Keep";
  no.autofocus = true;
  const yes = document.createElement("button");
  yes.value = "yes";
  yes.className = "bad";
  yes.textContent = word;
  form.append(text, no, yes);
  dialog.append(form);
  dialog.addEventListener("close", () => {
    dialog.remove();
    confirmed(dialog.returnValue === "yes");
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close("no"));
  document.body.append(dialog);
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const summary = event.target.closest?.("details.sure > summary");
  if (!summary) return;
  event.preventDefault();
  const button = summary.parentElement.querySelector("button").cloneNode(true);
  button.hidden = true; // a copy: a live update may remove the original meanwhile
  document.body.append(button);
  ask(summary.parentElement.querySelector("p").textContent, button.textContent, (sure) => {
    if (sure && button.form) button.form.requestSubmit(button);
    button.remove();
  });
});
