"use strict";

// Everything that pairs say was written by models and strangers: it reaches the page as text (`textContent`, text
// nodes), never as markup. The page's policy (see review.py) lets no other way work.

const LONGEST = 20000; // characters shown at once
const SIGNS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]|[\u{e0000}-\u{e007f}]/gu;
const WORDS = { accept: "accepted", edit: "edited", reject: "rejected", skip: "skipped" };
const OPINIONS = {
  accepted: "The user accepted the answer. If you accept the pair, it is what a model learns.",
  edited: "The user edited the answer. If you accept the pair, the edit is what a model learns.",
  rejected: "The user rejected the answer. If you accept the pair, a model learns not to say so.",
};

const $ = (id) => document.getElementById(id);

let desk = null; // the overview
let sight = null; // the pair that is shown
let busy = false;

function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.append(text);
  return made;
}

// Put text into a node: characters that cannot be seen are named, what is very long is cut until somebody asks.
function put(node, text, longest = LONGEST) {
  const shown = text.length > longest ? text.slice(0, longest) : text;
  let last = 0;
  for (const found of shown.matchAll(SIGNS)) {
    node.append(shown.slice(last, found.index));
    const code = found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    const sign = make("span", "sign", "U+" + code);
    sign.title = "a character that cannot be seen";
    node.append(sign);
    last = found.index + found[0].length;
  }
  node.append(shown.slice(last));
  if (shown.length === text.length) return;
  const more = make("button", "more", `show all ${text.length.toLocaleString("en")} characters`);
  more.type = "button";
  more.addEventListener("click", () => {
    node.replaceChildren();
    put(node, text, Infinity);
  });
  node.append(more);
}

function putChanges(node, pieces) {
  const tags = { same: "span", gone: "del", new: "ins" };
  for (const piece of pieces) {
    const part = make(tags[piece.kind]);
    put(part, piece.text);
    node.append(part);
  }
}

function contentOf(message) {
  const parts = [];
  if (typeof message.content === "string") parts.push(message.content);
  else if (Array.isArray(message.content)) {
    for (const part of message.content) {
      parts.push(part && typeof part.text === "string" ? part.text : JSON.stringify(part, null, 1));
    }
  }
  const { role, content, ...rest } = message;
  if (Object.keys(rest).length) parts.push(JSON.stringify(rest, null, 1));
  return parts.join("\n");
}

function showMessages(messages) {
  $("messages").replaceChildren(
    ...messages.map((message) => {
      const role = String(message.role);
      const box = make("div", "message");
      if (["system", "developer"].includes(role)) box.classList.add(role);
      box.append(make("span", "role", role));
      const text = make("div");
      text.dir = "auto";
      put(text, contentOf(message));
      box.append(text);
      return box;
    }),
  );
}

function labelText(label) {
  const said = label.judgement;
  if (!said) return `${label.model} gave no label: ${label.problem}`;
  const right = { yes: "correct", no: "not correct", unsure: "unsure whether correct" }[said.correct];
  return `${label.model}: quality ${said.quality} of 5, ${right}, ${said.category}. ${said.reason}`;
}

function showNotes() {
  const notes = [];
  const add = (className, text) => {
    const note = make("li", className);
    put(note, text);
    notes.push(note);
  };
  if (sight.entry.disputed) add("warn", "Reviewers disagree. The pair stays out until more of you say the same than anything else.");
  if (sight.held) add("warn", `Held back (${sight.held}): ${sight.detail}`);
  add("", OPINIONS[sight.opinion] || sight.opinion);
  for (const label of sight.labels) add("", labelText(label));
  if (sight.mine) {
    const why = sight.mine.note ? `: ${sight.mine.note}` : "";
    add("done", `You ${WORDS[sight.mine.action]} it${why}`);
  }
  $("notes").replaceChildren(...notes);
}

function fill(id, draw) {
  const node = $(id);
  node.replaceChildren();
  draw(node);
}

function showWords(node, words) {
  for (const word of words) {
    const box = make("div", "message");
    put(box, `${word.reviewer} ${WORDS[word.action]} it${word.note ? ": " + word.note : ""}`);
    if (word.changes.length) {
      const changed = make("div");
      putChanges(changed, word.changes);
      box.append(changed);
    }
    node.append(box);
  }
}

function show() {
  const count = desk.entries.length;
  $("where").textContent = `Pair ${sight.place + 1} of ${count}`;
  const facts = [sight.id, sight.at, sight.model, sight.prompt, sight.release].filter(Boolean);
  fill("facts", (node) => put(node, facts.join(" · ")));
  showNotes();
  showMessages(sight.messages);
  fill("output", (node) => put(node, sight.output));
  $("edit").hidden = sight.edit === null;
  fill("edit-text", (node) => putChanges(node, sight.changes));
  $("mine").hidden = !(sight.mine && sight.mine.action === "edit");
  fill("mine-text", (node) => putChanges(node, sight.mine ? sight.mine.changes : []));
  $("others").hidden = sight.others.length === 0;
  fill("others-list", (node) => showWords(node, sight.others));
  closeEditor();
  $("note").value = sight.mine ? sight.mine.note : "";
  for (const button of document.querySelectorAll("footer [data-key]")) {
    const action = { a: "accept", e: "edit", r: "reject", s: "skip" }[button.dataset.key];
    if (action) button.setAttribute("aria-pressed", String(Boolean(sight.mine) && sight.mine.action === action));
  }
  showProgress();
  location.replace("#" + encodeURIComponent(sight.id)); // a reload comes back to it
}

function showProgress() {
  $("feature").textContent = desk.feature;
  $("reviewer").textContent = desk.reviewer;
  $("bar").max = desk.entries.length || 1;
  $("bar").value = desk.decided_count;
  $("progress").textContent = `${desk.decided_count} of ${desk.entries.length} decided`;
  document.title = `${desk.decided_count}/${desk.entries.length} Review ${desk.feature}`;
}

function say(text) {
  $("status").textContent = text;
}

function trouble(text) {
  $("trouble").hidden = !text;
  $("trouble").textContent = text || "";
}

async function ask(path, body) {
  const sent = body === undefined
    ? {}
    : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let answer, text;
  try {
    answer = await fetch(path, sent);
    text = await answer.text(); // a server that dies half-way through its answer is gone as well
  } catch {
    throw new Error("the server is gone; start `flowai finetune review` again. What the page counts as decided is on disk.");
  }
  if (answer.ok) return JSON.parse(text);
  let told = {};
  try {
    told = JSON.parse(text);
  } catch {
    // no JSON: the status must do
  }
  throw new Error((told.error && told.error.message) || `the server said ${answer.status}`);
}

// One thing at a time: a key that comes too early would decide a pair that nobody has seen.
async function alone(work) {
  if (busy) return;
  busy = true;
  try {
    await work();
    trouble("");
  } catch (error) {
    trouble(error.message);
  } finally {
    busy = false;
  }
}

async function go(place) {
  sight = await ask(`/api/pairs/${place}`);
  show();
  window.scrollTo(0, 0);
  $("main").focus({ preventScroll: true });
}

const isOpen = (entry) => entry.action === null || entry.disputed;

// The next pair that needs a decision, after a place and around; -1 where there is none but that place itself.
function nextOpen(place) {
  const count = desk.entries.length;
  for (let step = 1; step < count; step++) {
    if (isOpen(desk.entries[(place + step) % count])) return (place + step) % count;
  }
  return -1;
}

const decide = (action, text) => alone(async () => {
  const place = sight.place;
  const note = $("note").value;
  const body = text === undefined ? { action, note } : { action, text, note };
  desk = await ask(`/api/pairs/${place}/decisions`, body);
  const next = nextOpen(place);
  await go(next < 0 ? place : next);
  if (next >= 0) say(`Pair ${place + 1} ${WORDS[action]}.`);
  else say(`Pair ${place + 1} ${WORDS[action]}. Nothing else is left to decide: press Ctrl-C in the terminal.`);
});

const undo = () => alone(async () => {
  const told = await ask("/api/undo", {});
  desk = told.desk;
  if (told.place === null) {
    say("There is nothing to undo.");
    return;
  }
  await go(told.place);
  say(`Pair ${told.place + 1}: your last decision is taken back.`);
});

const move = (step) => alone(async () => {
  const place = sight.place + step;
  if (place < 0 || place >= desk.entries.length) {
    say(step < 0 ? "This is the first pair." : "This is the last pair.");
    return;
  }
  await go(place);
  say("");
});

function openEditor() {
  if (busy) return;
  $("editor").hidden = false;
  $("draft").value = sight.draft;
  $("draft").focus({ preventScroll: true });
  $("editor").scrollIntoView({ block: "nearest" });
  say("Ctrl Enter saves, Esc cancels.");
}

function closeEditor() {
  $("editor").hidden = true;
  $("draft").value = "";
}

function isChanged() {
  return !$("editor").hidden && $("draft").value !== sight.draft.replace(/\r\n?/g, "\n");
}

function save() {
  const text = $("draft").value;
  if (!text.trim()) {
    say("An edit needs a text; reject the pair where nothing is to be learned.");
    return;
  }
  decide("edit", text);
}

const KEYS = {
  a: () => decide("accept"),
  e: openEditor,
  r: () => decide("reject"),
  s: () => decide("skip"),
  u: undo,
  j: () => move(1),
  k: () => move(-1),
  n: () => $("note").focus(),
  "?": () => $("help").showModal(),
};

function onKey(event) {
  if ($("help").open || !sight || event.isComposing) return;
  if (event.target === $("draft")) {
    if (event.key === "Escape") {
      closeEditor();
      $("main").focus();
      say("Nothing was changed.");
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
    else return;
    event.preventDefault();
    return;
  }
  if (event.target === $("note")) {
    if (event.key === "Enter" || event.key === "Escape") {
      event.preventDefault();
      $("main").focus();
    }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !$("editor").hidden) return;
  const act = KEYS[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
}

async function begin() {
  desk = await ask("/api/desk");
  if (!desk.entries.length) {
    showProgress();
    return;
  }
  let wanted = "";
  try {
    wanted = decodeURIComponent(location.hash.slice(1));
  } catch {
    // an address that somebody wrote by hand
  }
  const before = desk.entries.findIndex((entry) => entry.id === wanted);
  await go(before >= 0 ? before : Math.max(0, desk.entries.findIndex(isOpen)));
}

document.addEventListener("keydown", onKey);
for (const button of document.querySelectorAll("footer [data-key]")) {
  button.addEventListener("click", () => {
    if (!sight) return;
    if ($("editor").hidden) KEYS[button.dataset.key]();
    else say("Save the edit or cancel it first.");
  });
}
$("help-open").addEventListener("click", () => $("help").showModal());
$("editor").addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
$("cancel").addEventListener("click", () => {
  closeEditor();
  $("main").focus();
});
window.addEventListener("beforeunload", (event) => {
  if (sight && isChanged()) event.preventDefault();
});
alone(begin);
