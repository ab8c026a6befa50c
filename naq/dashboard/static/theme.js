// Light or dark, as it was chosen last. Not a module: it runs before anything is drawn.
(() => {
  document.documentElement.classList.add("has-js");
  try {
    const theme = localStorage.getItem("naq-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // storage may be forbidden: then it is as the system has it
  }
})();
