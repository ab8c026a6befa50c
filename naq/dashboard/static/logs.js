// The lines of a service as it prints them; the last thousand stay.

const KEPT = 1000;
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)|[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

const log = document.getElementById("log");
const follow = document.getElementById("follow");

function add({ lines, reset }) {
  const some = document.createDocumentFragment();
  for (const line of lines.slice(-KEPT)) {
    const element = document.createElement("div");
    element.textContent = line.replace(ESCAPES, "");
    some.append(element);
  }
  if (reset) log.replaceChildren(some);
  else log.append(some);
  while (log.childElementCount > KEPT) log.firstElementChild.remove();
  if (follow.checked) bottom();
}

const bottom = () => { log.scrollTop = log.scrollHeight; };

if (log) {
  bottom();
  let source = null;
  const open = () => {
    source ??= new EventSource(log.dataset.stream);
    source.onmessage = (event) => add(JSON.parse(event.data));
    source.onerror = () => {
      if (source?.readyState !== EventSource.CLOSED) return;
      source = null;
      setTimeout(open, 3000);
    };
  };
  open();
  addEventListener("pagehide", () => {
    source?.close();
    source = null;
  });
  addEventListener("pageshow", (event) => event.persisted && open());
  follow.addEventListener("change", () => follow.checked && bottom());
  log.addEventListener("scroll", () => {
    follow.checked = log.scrollHeight - log.scrollTop - log.clientHeight < 8;
  });
}
