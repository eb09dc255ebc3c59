// Keeps a page up to date: fetches the parts that the server has drawn, and updates the page's elements in place.
"use strict";

const SECONDS = 2.5;
const query = (selector, root = document) => root.querySelector(selector);
const queryAll = (selector, root = document) => [...root.querySelectorAll(selector)];
const follow = query("#follow"), log = query("#log"), tip = query("#tip"), statusLine = query("#line");
let { source, layout } = document.body.dataset;
let tag = "", timer = 0, isUpdating = false;

async function refresh() {
  const headers = tag ? { "If-None-Match": tag } : {};
  const answer = await fetch(source, { cache: "no-store", headers, signal: AbortSignal.timeout(20000) });
  if (answer.status === 304) return;
  if (!answer.ok) throw new Error(`${source}: ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (page.body.dataset.layout !== layout) return location.reload();
  source = page.body.dataset.source;
  tag = answer.headers.get("ETag") ?? "";
  for (const part of queryAll("[data-part]", page)) {
    // The log stays unchanged unless its reader follows it.
    if (part.id !== "log" || follow.checked) morph(document.getElementById(part.id), part);
  }
  scrollLog();
}

// Changes a node in place to equal a drawn one, so that focus, selection and scroll positions stay.
function morph(old, drawn) {
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
    const present = old.childNodes[index];
    if (present && (!child.id || child.id === present.id)) morph(present, child);
    else old.insertBefore(child, present ?? null);
  });
  while (old.childNodes.length > children.length) old.lastChild.remove();
}

async function update() {
  clearTimeout(timer);
  if (isUpdating || document.hidden) return;
  isUpdating = true;
  const isOffline = await refresh().then(() => false, () => true);
  // Screen readers announce only a change of the connection.
  statusLine.setAttribute("aria-live", isOffline === statusLine.classList.contains("offline") ? "off" : "polite");
  statusLine.classList.toggle("offline", isOffline);
  statusLine.textContent = isOffline ? "no connection" : `as of ${new Date().toLocaleTimeString()}`;
  isUpdating = false;
  timer = setTimeout(update, SECONDS * 1000);
}

function scrollLog() {
  if (follow?.checked) log.scrollTop = log.scrollHeight;
}

// One square of a table is in the tab order; arrow keys move the focus to the others.
function moveFocus(event) {
  if (event.key === "Escape") tip.hidden = true;
  if (!event.target.matches("a.sq") || event.altKey || event.ctrlKey || event.metaKey) return;
  const squares = queryAll("a.sq", event.target.closest("table")), index = squares.indexOf(event.target);
  const next = {
    ArrowRight: () => squares[index + 1], ArrowLeft: () => squares[index - 1],
    ArrowDown: () => nearest(squares, event.target, 1), ArrowUp: () => nearest(squares, event.target, -1),
    Home: () => squares[0], End: () => squares.at(-1),
  }[event.key]?.();
  if (!next) return;
  event.preventDefault();
  next.focus();
}

// The nearest square of the line below (1) or above (-1).
function nearest(squares, origin, sign) {
  const start = origin.getBoundingClientRect();
  const distances = squares.map((square) => {
    const { top, left } = square.getBoundingClientRect(), down = sign * (top - start.top);
    return down < 4 ? Infinity : down * 1000 + Math.abs(left - start.left);
  });
  const least = Math.min(...distances);
  return least < Infinity ? squares[distances.indexOf(least)] : undefined;
}

function showTip({ target, type }) {
  const square = target.closest?.("a.sq");
  tip.hidden = !square;
  if (!square) return;
  if (type === "focusin") for (const other of queryAll("a.sq", square.closest("table"))) other.tabIndex = other === square ? 0 : -1;
  if (square.title) square.setAttribute("aria-label", square.title); // instead of the browser's own tip
  square.removeAttribute("title");
  const row = [square.closest("table").dataset.block, square.closest("td").dataset.cell, square.ariaLabel];
  tip.textContent = row.filter(Boolean).join(", ") + (square.dataset.why ? ` – ${square.dataset.why}` : "");
  const { left, bottom, top } = square.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${bottom + 6 + tip.offsetHeight < innerHeight ? bottom + 6 : top - tip.offsetHeight - 6}px`;
}

function filterByState(button) {
  const isOn = button.getAttribute("aria-pressed") !== "true";
  for (const other of queryAll(".legend button")) other.setAttribute("aria-pressed", isOn && other === button);
  for (const part of queryAll(".state-of")) part.dataset.only = isOn ? button.dataset.kind : "all";
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
  if (button) (button.matches(".copy") ? copy : filterByState)(button);
});
if (tip) {
  for (const table of queryAll(".state-of table, table.state-of")) queryAll("a.sq", table).forEach((square, index) => (square.tabIndex = index ? -1 : 0));
  for (const type of ["mouseover", "focusin"]) document.addEventListener(type, showTip);
  document.addEventListener("keydown", moveFocus);
  document.addEventListener("scroll", () => (tip.hidden = true), { passive: true });
}
if (follow) {
  const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.addEventListener("wheel", () => (follow.checked = isAtEnd()), { passive: true });
  follow.addEventListener("change", scrollLog);
  scrollLog();
}
if (source) {
  document.addEventListener("visibilitychange", update);
  update();
}
