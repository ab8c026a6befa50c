// Keeps relative times current: "3 s ago" becomes "4 s ago". One timer per page, on the server's clock.

const UNITS = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
const skew = Number(document.documentElement.dataset.now || 0) - performance.timeOrigin / 1000
  - (performance.getEntriesByType("navigation")[0]?.responseStart ?? performance.now()) / 1000;

const now = () => Date.now() / 1000 + skew;

function relative(distance, bare) {
  const seconds = Math.floor(Math.abs(distance));
  const [length, unit] = UNITS.find(([length]) => seconds >= length) ?? [1, "s"];
  const number = Math.floor(seconds / length);
  if (bare) return `${number} ${unit}`;
  if (number === 0) return "now";
  return distance > 0 ? `in ${number} ${unit}` : `${number} ${unit} ago`;
}

function write(element, text) {
  if (element.firstChild?.nodeType === Node.TEXT_NODE) {
    if (element.firstChild.data !== text) element.firstChild.data = text;
  } else element.textContent = text;
}

export function tick() {
  const at = now();
  for (const element of document.querySelectorAll("time[data-ago], time[data-age]")) {
    const { ago, age } = element.dataset;
    write(element, ago === undefined ? relative(age - at, true) : relative(ago - at, false));
  }
}

function local(event) {
  const element = event.target.closest?.("time[data-at], time[data-ago], time[data-age]");
  if (!element) return;
  const { at, ago, age } = element.dataset;
  const text = new Date(Number(at ?? ago ?? age) * 1000).toLocaleString();
  element.title = `${element.dateTime.replace("T", " ").replace("Z", " UTC")}\n${text} here`;
}

export function start() {
  tick();
  setInterval(() => document.hidden || tick(), 1000);
  document.addEventListener("visibilitychange", () => document.hidden || tick());
  document.addEventListener("mouseover", local);
}
