// Makes one element equal to another, but keeps what belongs to the reader: focus, selection, and what
// is open, checked, typed or scrolled. Children are matched by id or data-key, or else by position.

const key = (node) => (node.nodeType === Node.ELEMENT_NODE && (node.dataset?.key ?? node.id)) || "";
const like = (a, b) => a.nodeName === b.nodeName && key(a) === key(b);

export function morph(have, want) {
  if (have.nodeType !== Node.ELEMENT_NODE) {
    if (have.data !== want.data) have.data = want.data;
    return;
  }
  attributes(have, want);
  if (have.localName === "time" && want.textContent && isTicking(have)) return; // times.js writes that
  children(have, want);
}

const isTicking = (time) => "ago" in time.dataset || "age" in time.dataset;

function attributes(have, want) {
  for (const { name } of [...have.attributes]) {
    if (!want.hasAttribute(name) && !own(have, name)) have.removeAttribute(name);
  }
  for (const { name, value } of want.attributes) {
    if (have.getAttribute(name) !== value && !own(have, name)) have.setAttribute(name, value);
  }
}

// Whether an attribute belongs to the reader, or to this session.
function own(element, name) {
  if (name === "open") return element.localName === "details" || element.localName === "dialog";
  if (name === "value") return element.name === "csrf";
  return name === "data-own";
}

function children(have, want) {
  const wanted = [...want.childNodes];
  const keys = new Set(wanted.map(key));
  const keyed = new Map([...have.children].map((child) => [key(child), child]));
  let at = have.firstChild;
  for (const child of wanted) {
    const name = key(child);
    while (at && key(at) && !keys.has(key(at))) at = remove(at);
    const known = name ? keyed.get(name) : undefined;
    if (known && like(known, child)) {
      while (at && at !== known && !key(at)) at = remove(at);
      if (at === known) at = at.nextSibling;
      else move(have, known, at);
      morph(known, child);
    } else if (!name && at && like(at, child)) {
      morph(at, child);
      at = at.nextSibling;
    } else {
      have.insertBefore(document.importNode(child, true), at);
    }
  }
  while (at) at = remove(at);
}

function remove(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function move(parent, node, before) {
  if (parent.moveBefore) parent.moveBefore(node, before);
  else {
    const focus = node.contains(document.activeElement) ? document.activeElement : null;
    parent.insertBefore(node, before);
    focus?.focus({ preventScroll: true });
  }
}
