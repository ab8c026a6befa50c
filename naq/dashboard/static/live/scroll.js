// After an action, scrolls back to where the reader was.

const KEY = "naq-scroll";

try {
  const { path, y } = JSON.parse(sessionStorage.getItem(KEY) ?? "{}");
  sessionStorage.removeItem(KEY);
  if (path === location.pathname + location.search) scrollTo(0, y);
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    const where = { path: location.pathname + location.search, y: scrollY };
    sessionStorage.setItem(KEY, JSON.stringify(where));
  });
} catch {
  // without storage the page starts at the top
}
