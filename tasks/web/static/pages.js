// Keeps a page up to date: the server draws, and here its parts are fetched and taken over in place.
"use strict";

const SECONDS = 2.5;
const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const follow = one("#follow"), log = one("#log"), tip = one("#tip"), line = one("#line");
let { source, layout } = document.body.dataset;
let tag = "", timer = 0, busy = false;

async function refresh() {
  const headers = tag ? { "If-None-Match": tag } : {};
  const answer = await fetch(source, { cache: "no-store", headers, signal: AbortSignal.timeout(20000) });
  if (answer.status === 304) return;
  if (!answer.ok) throw new Error(`${source}: ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (page.body.dataset.layout !== layout) return location.reload();
  source = page.body.dataset.source;
  tag = answer.headers.get("ETag") ?? "";
  for (const part of all("[data-part]", page)) {
    // A log that nobody follows stays as it is being read.
    if (part.id !== "log" || follow.checked) become(document.getElementById(part.id), part);
  }
  scrollLog();
}

// Makes a node what the server has drawn, in place: what has the focus, is selected or scrolled stays so.
function become(old, drawn) {
  if (old.isEqualNode(drawn)) return;
  if (old.nodeName !== drawn.nodeName || old.id !== drawn.id) return old.replaceWith(drawn);
  if (!old.attributes) return void (old.data = drawn.data);
  for (const { name } of [...old.attributes]) {
    if (!drawn.hasAttribute(name) && name !== "tabindex") old.removeAttribute(name);
  }
  for (const { name, value } of drawn.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const children = [...drawn.childNodes], ids = children.map((child) => child.id);
  for (const child of [...old.children]) if (child.id && !ids.includes(child.id)) child.remove();
  children.forEach((child, index) => {
    const at = old.childNodes[index];
    if (at && (!child.id || child.id === at.id)) become(at, child);
    else old.insertBefore(child, at ?? null);
  });
  while (old.childNodes.length > children.length) old.lastChild.remove();
}

async function turn() {
  clearTimeout(timer);
  if (busy || document.hidden) return;
  busy = true;
  const lost = await refresh().then(() => false, () => true);
  // Only a change of connection is worth reading aloud.
  line.setAttribute("aria-live", lost === line.classList.contains("lost") ? "off" : "polite");
  line.classList.toggle("lost", lost);
  line.textContent = lost ? "no connection" : `as of ${new Date().toLocaleTimeString()}`;
  busy = false;
  timer = setTimeout(turn, SECONDS * 1000);
}

function scrollLog() {
  if (follow?.checked) log.scrollTop = log.scrollHeight;
}

// Of the squares of a table one takes part in tabbing; arrows lead to the others.
function walk(event) {
  if (event.key === "Escape") tip.hidden = true;
  if (!event.target.matches("a.sq") || event.altKey || event.ctrlKey || event.metaKey) return;
  const squares = all("a.sq", event.target.closest("table")), at = squares.indexOf(event.target);
  const to = {
    ArrowRight: () => squares[at + 1], ArrowLeft: () => squares[at - 1], Home: () => squares[0], End: () => squares.at(-1),
    ArrowDown: () => nearest(squares, event.target, 1), ArrowUp: () => nearest(squares, event.target, -1),
  }[event.key]?.();
  if (!to) return;
  event.preventDefault();
  to.focus();
}

// The nearest square of the line below (1) or above (-1).
function nearest(squares, from, sign) {
  const here = from.getBoundingClientRect();
  const distances = squares.map((square) => {
    const there = square.getBoundingClientRect(), down = sign * (there.top - here.top);
    return down < 4 ? Infinity : down * 1000 + Math.abs(there.left - here.left);
  });
  const least = Math.min(...distances);
  return least < Infinity ? squares[distances.indexOf(least)] : undefined;
}

function point({ target, type }) {
  const square = target.closest?.("a.sq");
  tip.hidden = !square;
  if (!square) return;
  if (type === "focusin") all("a.sq", square.closest("table")).forEach((each) => (each.tabIndex = each === square ? 0 : -1));
  if (square.title) square.setAttribute("aria-label", square.title); // instead of the browser's own tip
  square.removeAttribute("title");
  const row = [square.closest("table").dataset.block, square.closest("td").dataset.cell, square.ariaLabel];
  tip.textContent = row.filter(Boolean).join(", ") + (square.dataset.why ? ` – ${square.dataset.why}` : "");
  const { left, bottom, top } = square.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${bottom + 6 + tip.offsetHeight < innerHeight ? bottom + 6 : top - tip.offsetHeight - 6}px`;
}

function showAlone(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  for (const each of all(".legend button")) each.setAttribute("aria-pressed", on && each === button);
  for (const part of all(".state-of")) part.dataset.only = on ? button.dataset.kind : "all";
}

async function copy(button) {
  const code = button.previousElementSibling;
  const done = await navigator.clipboard?.writeText(code.textContent).then(() => true, () => false);
  if (!done) getSelection().selectAllChildren(code);
  button.textContent = done ? "Copied" : "Ctrl+C";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button) (button.matches(".copy") ? copy : showAlone)(button);
});
if (tip) {
  for (const table of all(".state-of table, table.state-of")) all("a.sq", table).forEach((each, at) => (each.tabIndex = at ? -1 : 0));
  for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, point);
  document.addEventListener("keydown", walk);
  document.addEventListener("scroll", () => (tip.hidden = true), { passive: true });
}
if (follow) {
  const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.addEventListener("wheel", () => (follow.checked = isAtEnd()), { passive: true });
  follow.addEventListener("change", scrollLog);
  scrollLog();
}
if (source) {
  document.addEventListener("visibilitychange", turn);
  turn();
}
