// Light or dark, as last chosen. Not a module, so that it runs before anything is drawn.
(() => {
  document.documentElement.classList.add("has-js");
  try {
    const theme = localStorage.getItem("naq-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // storage may be forbidden: the system decides, then
  }
})();
