"use strict";

// Texts of pairs are untrusted: they are inserted as text only (`textContent`, text nodes), never as markup. The content
// security policy (see app.py) blocks everything else.

const MAX_SHOWN_CHARACTERS = 20000; // longer texts get a button
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]|[\u{e0000}-\u{e007f}]/gu;
const DONE = { accept: "accepted", edit: "edited", reject: "rejected", skip: "skipped" };
const LABELLED = { accept: "labelled pass", reject: "labelled fail", skip: "skipped" };
const OPINIONS = {
  accepted: "The user accepted the answer. If you accept the pair, a model learns this answer.",
  edited: "The user edited the answer. If you accept the pair, a model learns the edit.",
  rejected: "The user rejected the answer. If you accept the pair, a model learns to avoid it.",
};

const $ = (id) => document.getElementById(id);

let queue = null; // the overview
const hasLabels = () => queue !== null && queue.kind === "labels"; // answers get a label; nothing is edited
const doneWord = (action) => (hasLabels() ? LABELLED : DONE)[action];
const noun = () => (hasLabels() ? "Answer" : "Pair");
let item = null; // the shown pair
let busy = false; // an action is running

function createElement(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.append(text);
  return element;
}

// Append text to a node: invisible characters are shown by their code, long texts are cut until the reviewer asks.
function appendText(node, text, maxCharacters = MAX_SHOWN_CHARACTERS) {
  const shown = text.length > maxCharacters ? text.slice(0, maxCharacters) : text;
  let end = 0;
  for (const match of shown.matchAll(INVISIBLE)) {
    node.append(shown.slice(end, match.index));
    const code = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    const sign = createElement("span", "sign", "U+" + code);
    sign.title = "invisible character";
    node.append(sign);
    end = match.index + match[0].length;
  }
  node.append(shown.slice(end));
  if (shown.length === text.length) return;
  const more = createElement("button", "more", `show all ${text.length.toLocaleString("en")} characters`);
  more.type = "button";
  more.addEventListener("click", () => {
    node.replaceChildren();
    appendText(node, text, Infinity);
  });
  node.append(more);
}

function appendChanges(node, parts) {
  const tags = { same: "span", removed: "del", added: "ins" };
  for (const part of parts) {
    const element = createElement(tags[part.kind]);
    appendText(element, part.text);
    node.append(element);
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
      const box = createElement("div", "message");
      if (["system", "developer"].includes(role)) box.classList.add(role);
      box.append(createElement("span", "role", role));
      const text = createElement("div");
      text.dir = "auto";
      appendText(text, contentOf(message));
      box.append(text);
      return box;
    }),
  );
}

function labelText(label) {
  const judgement = label.judgement;
  if (!judgement) return `${label.model} gave no label: ${label.problem}`;
  const correct = { yes: "correct", no: "not correct", unsure: "unsure whether correct" }[judgement.correct];
  return `${label.model}: quality ${judgement.quality} of 5, ${correct}, ${judgement.category}. ${judgement.reason}`;
}

function showNotes() {
  const notes = [];
  const add = (className, text) => {
    const note = createElement("li", className);
    appendText(note, text);
    notes.push(note);
  };
  if (item.row.disputed) {
    add("warn", hasLabels()
      ? "Reviewers disagree. The answer is left out until one label has more reviewers than the other."
      : "Reviewers disagree. The pair is not exported until one decision has more reviewers than any other.");
  }
  if (item.quarantine_reason) add("warn", `Waits for review (${item.quarantine_reason}): ${item.detail}`);
  if (item.opinion) add("", OPINIONS[item.opinion] || item.opinion);
  for (const label of item.labels) add("", labelText(label));
  if (item.own_decision) {
    const note = item.own_decision.note ? `: ${item.own_decision.note}` : "";
    add("done", `You ${doneWord(item.own_decision.action)} it${note}`);
  }
  $("notes").replaceChildren(...notes);
}

function fill(id, draw) {
  const node = $(id);
  node.replaceChildren();
  draw(node);
}

function showDecisions(node, decisions) {
  for (const decision of decisions) {
    const box = createElement("div", "message");
    appendText(box, `${decision.reviewer} ${doneWord(decision.action)} it${decision.note ? ": " + decision.note : ""}`);
    if (decision.changes.length) {
      const changed = createElement("div");
      appendChanges(changed, decision.changes);
      box.append(changed);
    }
    node.append(box);
  }
}

function show() {
  const count = queue.rows.length;
  $("position").textContent = `${noun()} ${item.position + 1} of ${count}`;
  const facts = [item.id, item.at, item.model, item.prompt, item.release].filter(Boolean);
  fill("facts", (node) => appendText(node, facts.join(" · ")));
  showNotes();
  showMessages(item.messages);
  fill("output", (node) => appendText(node, item.output));
  $("edit").hidden = item.edit === null;
  fill("edit-text", (node) => appendChanges(node, item.changes));
  $("own").hidden = !(item.own_decision && item.own_decision.action === "edit");
  fill("own-text", (node) => appendChanges(node, item.own_decision ? item.own_decision.changes : []));
  $("others").hidden = item.other_decisions.length === 0;
  fill("others-list", (node) => showDecisions(node, item.other_decisions));
  closeEditor();
  $("note").value = item.own_decision ? item.own_decision.note : "";
  for (const button of document.querySelectorAll("footer [data-key]")) {
    const action = { a: "accept", e: "edit", r: "reject", s: "skip" }[button.dataset.key];
    if (action) button.setAttribute("aria-pressed", String(Boolean(item.own_decision) && item.own_decision.action === action));
  }
  showProgress();
  location.replace("#" + encodeURIComponent(item.id)); // a reload shows the same pair
}

function showProgress() {
  $("feature").textContent = queue.feature;
  $("reviewer").textContent = queue.reviewer;
  $("bar").max = queue.rows.length || 1;
  $("bar").value = queue.decided_count;
  $("progress").textContent = `${queue.decided_count} of ${queue.rows.length} decided`;
  document.title = `${queue.decided_count}/${queue.rows.length} Review ${queue.feature}`;
}

function showStatus(text) {
  $("status").textContent = text;
}

function showError(text) {
  $("error").hidden = !text;
  $("error").textContent = text || "";
}

async function request(path, body) {
  const options = body === undefined
    ? {}
    : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let response, text;
  try {
    response = await fetch(path, options);
    text = await response.text(); // fails if the server stops during its response
  } catch {
    throw new Error("the server has stopped; start the command again. Every decision that the page counts is on disk.");
  }
  if (response.ok) return JSON.parse(text);
  let problem = {};
  try {
    problem = JSON.parse(text);
  } catch {
    // not JSON: the status is the message
  }
  throw new Error((problem.error && problem.error.message) || `the server answered with status ${response.status}`);
}

// Only one action at a time: an early key would decide a pair that the reviewer has not seen.
async function runAlone(work) {
  if (busy) return;
  busy = true;
  try {
    await work();
    showError("");
  } catch (error) {
    showError(error.message);
  } finally {
    busy = false;
  }
}

async function openPair(position) {
  item = await request(`/api/pairs/${position}`);
  show();
  window.scrollTo(0, 0);
  $("main").focus({ preventScroll: true });
}

const isOpen = (row) => row.action === null || row.disputed;

// Position of the next open pair, from the start again after the end; -1 if no other pair is open.
function nextOpen(position) {
  const count = queue.rows.length;
  for (let step = 1; step < count; step++) {
    if (isOpen(queue.rows[(position + step) % count])) return (position + step) % count;
  }
  return -1;
}

const decide = (action, text) => runAlone(async () => {
  const position = item.position;
  const note = $("note").value;
  const body = text === undefined ? { action, note } : { action, text, note };
  queue = await request(`/api/pairs/${position}/decisions`, body);
  const next = nextOpen(position);
  await openPair(next < 0 ? position : next);
  const done = `${noun()} ${position + 1} ${doneWord(action)}.`;
  showStatus(next >= 0 ? done : `${done} No other ${noun().toLowerCase()} is open: press Ctrl-C in the terminal.`);
});

const undo = () => runAlone(async () => {
  const result = await request("/api/undo", {});
  queue = result.queue;
  if (result.position === null) {
    showStatus("There is nothing to undo.");
    return;
  }
  await openPair(result.position);
  showStatus(`${noun()} ${result.position + 1}: your last decision is undone.`);
});

const move = (step) => runAlone(async () => {
  const position = item.position + step;
  if (position < 0 || position >= queue.rows.length) {
    showStatus(step < 0 ? `This is the first ${noun().toLowerCase()}.` : `This is the last ${noun().toLowerCase()}.`);
    return;
  }
  await openPair(position);
  showStatus("");
});

function openEditor() {
  if (busy || hasLabels()) return;
  $("editor").hidden = false;
  $("draft").value = item.draft;
  $("draft").focus({ preventScroll: true });
  $("editor").scrollIntoView({ block: "nearest" });
  showStatus("Ctrl Enter saves, Esc cancels.");
}

function closeEditor() {
  $("editor").hidden = true;
  $("draft").value = "";
}

function isChanged() {
  return !$("editor").hidden && $("draft").value !== item.draft.replace(/\r\n?/g, "\n");
}

function save() {
  const text = $("draft").value;
  if (!text.trim()) {
    showStatus("An edit needs a text; reject the pair if a model must not learn it.");
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
  if ($("help").open || !item || event.isComposing) return;
  if (event.target === $("draft")) {
    if (event.key === "Escape") {
      closeEditor();
      $("main").focus();
      showStatus("The edit was cancelled.");
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

// Words and keys of a page that labels answers: p and f work besides a and r.
function showLabelWords() {
  document.querySelector("header h1").firstChild.textContent = "Label ";
  document.querySelector('footer [data-key="e"]').hidden = true;
  const words = { a: ["p", " Pass"], r: ["f", " Fail"] };
  for (const [key, [shown, word]] of Object.entries(words)) {
    document.querySelector(`footer [data-key="${key}"]`).replaceChildren(createElement("kbd", "", shown), word);
    KEYS[shown] = KEYS[key];
  }
  for (const line of document.querySelectorAll("#help [data-pairs]")) line.hidden = true;
  for (const line of document.querySelectorAll("#help [data-labels]")) line.hidden = false;
}

async function start() {
  queue = await request("/api/queue");
  if (hasLabels()) showLabelWords();
  if (!queue.rows.length) {
    showProgress();
    return;
  }
  let id = "";
  try {
    id = decodeURIComponent(location.hash.slice(1));
  } catch {
    // an address typed by hand
  }
  const position = queue.rows.findIndex((row) => row.id === id);
  await openPair(position >= 0 ? position : Math.max(0, queue.rows.findIndex(isOpen)));
}

document.addEventListener("keydown", onKey);
for (const button of document.querySelectorAll("footer [data-key]")) {
  button.addEventListener("click", () => {
    if (!item) return;
    if ($("editor").hidden) KEYS[button.dataset.key]();
    else showStatus("Save the edit or cancel it first.");
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
  if (item && isChanged()) event.preventDefault();
});
runAlone(start);
