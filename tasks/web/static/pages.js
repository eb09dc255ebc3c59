// Keeps a page up to date: asks every few seconds what has changed, and changes just that.
"use strict";

const SECONDS = 2.5;
const LISTED = 20;
const KINDS = ["done", "running", "failed", "interrupted", "damaged", "missing"];
const TROUBLE = ["failed", "damaged", "interrupted"];
const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const data = document.body.dataset;

async function ask(address) {
  const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(20000) });
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.json();
}

// Calls `refresh` now and again; not while the page is hidden; says so when the server is gone, and goes on asking.
function keepFresh(refresh) {
  let timer = 0, busy = false;
  const line = one("#line");
  async function turn() {
    clearTimeout(timer);
    if (busy || document.hidden) return;
    busy = true;
    try {
      await refresh();
      say(`as of ${new Date().toLocaleTimeString()}`, false);
    } catch (error) {
      say("no connection", true);
    }
    busy = false;
    timer = setTimeout(turn, SECONDS * 1000);
  }
  function say(text, lost) {
    // Only a change of connection is worth reading aloud.
    line.setAttribute("aria-live", lost === line.classList.contains("lost") ? "off" : "polite");
    line.classList.toggle("lost", lost);
    line.textContent = text;
  }
  document.addEventListener("visibilitychange", turn);
  turn();
}

// ------------------------------------------------------------------------------------------------------- the grid

function showGrid() {
  const tasks = JSON.parse(one("#explained").textContent);
  const squares = new Map(all("a.sq").map((square) => [square.pathname.slice(6), square]));
  let revision = data.revision;
  for (const square of squares.values()) {
    square.setAttribute("aria-label", square.title);
    square.removeAttribute("title");
  }
  for (const [digits, facts] of Object.entries(tasks)) paint(digits, facts);
  all("table.block, td.squares").forEach(walkable);
  pointable(tasks);
  one(".legend").addEventListener("click", pick);
  fill(tasks);
  tally();

  function paint(digits, facts) {
    const square = squares.get(digits);
    square.className = `sq ${facts.state}`;
    square.setAttribute("aria-label", `${square.ariaLabel.split(": ")[0]}: ${told(facts)}`);
    if (square.closest(".wide")) square.textContent = facts.score === undefined ? "" : percent(facts.score);
    if (facts.state === "running") square.style.setProperty("--share", facts.share ?? 0);
  }

  keepFresh(async () => {
    const answer = await ask(`/status.json?since=${encodeURIComponent(revision)}`);
    if (answer.grid !== data.grid) return location.reload();
    revision = answer.revision;
    for (const [digits, facts] of Object.entries(answer.tasks)) {
      if ("why" in facts) tasks[digits] = facts;
      else delete tasks[digits];
      paint(digits, facts);
    }
    fill(tasks);
    count(answer.counts);
    tally();
  });
}

const percent = (share) => (100 * share).toFixed(1);

function told(facts) {
  if (facts.score !== undefined) return `done, mAP ${percent(facts.score)} %`;
  return facts.state + (facts.state === "running" && facts.share !== null ? `, ${(100 * facts.share).toFixed(0)} %` : "");
}

// The counts of every stage, and their sum as a bar.
function count(counts) {
  const sums = Object.fromEntries(KINDS.map((kind) => [kind, 0]));
  for (const row of all(".stages tr[data-family]")) {
    const of = counts[row.dataset.family] ?? {};
    KINDS.forEach((kind, index) => {
      const cell = row.cells[2 + index];
      cell.textContent = of[kind] || "";
      cell.className = of[kind] ? kind : "";
      sums[kind] += of[kind] ?? 0;
    });
  }
  const whole = Object.values(sums).reduce((a, b) => a + b, 0);
  one("#sum").textContent = `${sums.done.toLocaleString("en")} of ${whole.toLocaleString("en")} results done`;
  document.title = `${sums.failed ? `${sums.failed} failed, ` : ""}${Math.floor((100 * sums.done) / whole)} % – remove and retrain`;
  one("#bar").replaceChildren(...KINDS.slice(0, -1).filter((kind) => sums[kind]).map((kind) => {
    const part = document.createElement("i");
    part.className = kind;
    part.style.width = `${(100 * sums[kind]) / whole}%`;
    return part;
  }));
}

// How many cells of each block are done, and of the whole grid in each state.
function tally() {
  for (const block of all(".block")) {
    one(".tally", block).textContent = `${all("a.done", block).length} of ${all("a.sq", block).length}`;
  }
  for (const button of all(".legend button")) {
    one("span", button).textContent = all(`.state-of a.${button.dataset.kind}`).length || "";
  }
}

function pick(event) {
  const button = event.target.closest("button");
  if (!button) return;
  const on = button.getAttribute("aria-pressed") !== "true";
  all(".legend button").forEach((each) => each.setAttribute("aria-pressed", on && each === button));
  for (const part of all(".state-of")) {
    if (on) part.dataset.only = button.dataset.kind;
    else delete part.dataset.only;
  }
}

function fill(tasks) {
  const entries = Object.entries(tasks);
  list("running", entries.filter(([, facts]) => facts.state === "running"), (item, facts) => {
    const bar = one("progress", item);
    if (facts.share === null) bar.removeAttribute("value");
    else bar.value = facts.share;
    bar.setAttribute("aria-label", facts.title);
  });
  const trouble = entries.filter(([, facts]) => TROUBLE.includes(facts.state));
  trouble.sort(([, a], [, b]) => TROUBLE.indexOf(a.state) - TROUBLE.indexOf(b.state));
  list("attention", trouble, (item, facts) => {
    one(".badge", item).className = `badge ${facts.state}`;
    one("i", item).className = `sq ${facts.state}`;
    write(one("b", item), facts.state);
    write(one("code", item), facts.command);
  });
}

// Brings a list up to date item by item, so that focus and selection stay where they are.
function list(name, entries, detail) {
  const section = one(`#${name}`), ul = one("ul", section);
  const items = new Map([...ul.children].map((item) => [item.dataset.task, item]));
  const shown = entries.slice(0, LISTED);
  const wanted = new Set(shown.map(([digits]) => digits));
  for (const [digits, item] of items) if (!wanted.has(digits)) item.remove();
  shown.forEach(([digits, facts], index) => {
    let item = items.get(digits);
    if (!item) {
      item = one(`#${name}-item`).content.firstElementChild.cloneNode(true);
      item.dataset.task = digits;
      one("a", item).href = `/task/${digits}`;
    }
    write(one("a", item), facts.title);
    write(one("p", item), facts.why);
    detail(item, facts);
    if (ul.children[index] !== item) ul.insertBefore(item, ul.children[index] ?? null);
  });
  const more = one(".more", section), rest = entries.length - shown.length;
  more.hidden = rest <= 0;
  write(more, `and ${rest} more, see the squares`);
  write(one("h2 span", section), String(entries.length));
  section.hidden = entries.length === 0;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// One square of a block takes part in tabbing; arrows lead to the others.
function walkable(block) {
  const squares = all("a.sq", block);
  squares.forEach((square, index) => (square.tabIndex = index ? -1 : 0));
  block.addEventListener("focusin", (event) => {
    squares.forEach((square) => (square.tabIndex = square === event.target ? 0 : -1));
  });
  block.addEventListener("keydown", (event) => {
    const at = squares.indexOf(event.target);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const next = {
      ArrowRight: () => squares[at + 1],
      ArrowLeft: () => squares[at - 1],
      ArrowDown: () => beyond(squares, event.target, 1),
      ArrowUp: () => beyond(squares, event.target, -1),
      Home: () => squares[0],
      End: () => squares[squares.length - 1],
    }[event.key]?.();
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
}

// The nearest square of the line below (1) or above (-1).
function beyond(squares, from, sign) {
  const here = from.getBoundingClientRect();
  const distance = (square) => {
    const there = square.getBoundingClientRect();
    const down = sign * (there.top - here.top);
    return down < 4 ? Infinity : down * 1000 + Math.abs(there.left - here.left);
  };
  const best = squares.reduce((a, b) => (distance(b) < distance(a) ? b : a));
  return distance(best) < Infinity ? best : undefined;
}

function pointable(tasks) {
  const tip = one("#tip");
  function show(event) {
    const square = event.target.closest?.("a.sq");
    tip.hidden = !square;
    if (!square) return;
    const cell = square.closest("[data-cell], [data-row]");
    const place = [square.closest("[data-block]")?.dataset.block, cell?.dataset.cell ?? cell?.dataset.row];
    const why = tasks[square.pathname.slice(6)]?.why;
    tip.textContent = [...place.filter(Boolean), square.ariaLabel].join(", ") + (why ? ` – ${why}` : "");
    const { left, bottom, top } = square.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 8))}px`;
    tip.style.top = `${bottom + 6 + height < innerHeight ? bottom + 6 : top - height - 6}px`;
  }
  document.addEventListener("mouseover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("scroll", () => (tip.hidden = true), { passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
}

// ------------------------------------------------------------------------------------------------------- a result

function showTask() {
  const here = `/task/${data.task}`;
  const select = one("#attempt"), log = one("#log"), follow = one("#follow");
  let kind = one("#state").dataset.kind, epochs = null, shown = select.value, next = null;

  async function readLog() {
    if (!select.value) return;
    if (shown !== select.value) {
      [shown, next] = [select.value, null];
      one("#whole").href = `${here}/log/${shown}`;
    }
    for (let more = true; more; ) {
      const asked = shown;
      const piece = await ask(`${here}/log/${asked}.json${next === null ? "" : `?offset=${next}`}`);
      if (asked !== shown) return;
      if (piece.offset !== next) {
        log.textContent = piece.offset ? "… the beginning is in the whole log\n" : "";
      }
      if (piece.text) log.append(piece.text);
      more = piece.next < piece.size && piece.next !== next;
      next = piece.next;
      if (piece.text && follow.checked) log.scrollTop = log.scrollHeight;
    }
  }

  function attempts(numbers) {
    const newest = select.options.length && select.selectedIndex === select.options.length - 1;
    const known = all("option", select).map((option) => option.textContent);
    for (const number of numbers.map(String)) if (!known.includes(number)) select.add(new Option(number));
    if (numbers.length && (newest || !known.length)) select.selectedIndex = select.options.length - 1;
    one("#logs").hidden = !select.options.length;
  }

  async function reread(...parts) {
    const answer = await fetch(here, { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of parts) one(part).replaceWith(one(part, page));
  }

  select.addEventListener("change", () => readLog().catch(() => {}));
  log.addEventListener("wheel", () => (follow.checked = log.scrollHeight - log.scrollTop - log.clientHeight < 40), { passive: true });
  follow.addEventListener("change", () => { if (follow.checked) log.scrollTop = log.scrollHeight; });
  keepFresh(async () => {
    const now = await ask(`${here}/status.json`);
    if (now.state !== kind) {
      await reread("#head", "#result", "#facts");
      kind = now.state;
    } else if (kind === "running") {
      const bar = one("#state progress"), why = one("#why");
      bar.value = now.share ?? 0;
      why.hidden = !now.why;
      write(why, now.why);
      if (epochs !== null && epochs !== now.epochs) await reread("#result");
    }
    epochs = now.epochs;
    attempts(now.logs);
    await readLog();
  });
}

// ------------------------------------------------------------------------------------------------------- all pages

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const code = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = "Ctrl+C";
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
});

if (data.page === "grid") showGrid();
if (data.page === "task") showTask();
