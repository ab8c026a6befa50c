// The theme button: auto, light, dark, and round again. The browser remembers the choice.

const button = document.getElementById("theme");
const root = document.documentElement;
const next = { auto: "light", light: "dark", dark: "auto" };

function show() {
  const theme = root.dataset.theme ?? "auto";
  button.textContent = theme;
  button.setAttribute("aria-label", `Theme: ${theme}. Change to ${next[theme]}`);
}

button?.addEventListener("click", () => {
  const theme = next[root.dataset.theme ?? "auto"];
  if (theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = theme;
  try {
    localStorage.setItem("naq-theme", theme);
  } catch {
    // not remembered, then
  }
  show();
});
if (button) show();
