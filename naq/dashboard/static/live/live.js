// Keeps the page up to date, by server-sent events.
//
// EventSource reconnects by itself after a lost connection, but not after a refused one; that is
// retried here, less and less often. A hidden page gives up its connection: a browser has only six for
// all pages of a server.

import { morph } from "./morph.js";
import { tick } from "./times.js";

const FIRST = 1000;
const LONGEST = 30000;
const HIDDEN = 10000;

const link = document.getElementById("link");
const banner = document.getElementById("problem");
let source = null;
let pause = FIRST;
let timer = 0;

function say(state) {
  link.textContent = state;
  link.dataset.state = state;
}

function open() {
  clearTimeout(timer);
  if (source) return;
  const path = location.pathname + location.search;
  source = new EventSource(`/events?page=${encodeURIComponent(path)}`);
  source.addEventListener("open", () => {
    pause = FIRST;
    say("live");
  });
  source.addEventListener("update", (event) => update(JSON.parse(event.data)));
  source.addEventListener("problem", (event) => problem(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    say("reconnecting");
    if (source?.readyState !== EventSource.CLOSED) return;
    source = null;
    timer = setTimeout(open, pause * (0.75 + Math.random() / 2));
    pause = Math.min(LONGEST, pause * 2);
    checkLogin();
  });
}

// An EventSource does not say why it was refused: reload if the visitor has to log in again.
async function checkLogin() {
  const answer = await fetch(location.href, { method: "HEAD" }).catch(() => null);
  if (answer?.status === 401) location.reload();
}

function close() {
  clearTimeout(timer);
  source?.close();
  source = null;
}

function update(parts) {
  if ("away" in document.body.dataset && Object.keys(parts).some((name) => name !== "live_away")) {
    location.reload(); // there is something to show now
    return;
  }
  for (const [name, html] of Object.entries(parts)) {
    const have = document.getElementById(name);
    const template = document.createElement("template");
    template.innerHTML = html;
    const want = template.content.querySelector(`#${CSS.escape(name)}`);
    if (have && want) morph(have, want);
  }
  const token = document.querySelector("#act > [name=csrf]")?.value;
  if (token) for (const field of document.getElementsByName("csrf")) field.value = token;
  tick();
  link.dataset.updated = "";
  document.dispatchEvent(new Event("naq:update"));
}

function problem(text) {
  if (banner.textContent !== (text ?? "")) banner.textContent = text ?? "";
  banner.hidden = !text;
}

export function start() {
  if (!link || !document.querySelector("main [id^=live_]")) {
    link?.remove();
    return;
  }
  open();
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(close, HIDDEN);
    else open();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open());
}
