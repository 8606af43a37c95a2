"use strict";

// Compare page of a run. The files are joined in this order: texts, word_diff, filters, labels, details, compare.
// Answers, inputs and reasons are hostile: they are inserted as text only (`textContent`, text nodes), never as markup.
//
// data.rows[i].cells[j] is case i on data.columns[j] (prompt and model), or null. Texts are numbers of data.texts.

const data = JSON.parse(document.getElementById("data").textContent);
const OUTCOMES = ["pass", "fail", "error", "unscored"];
const SIGNS = { pass: "\u2713", fail: "\u2717", error: "!", unscored: "?" };
const TURN_SIGNS = { worse: "\u25bc worse", better: "\u25b2 better", noise: "\u2248 noise" };
const INVISIBLE =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]|[\u{e0000}-\u{e007f}]/gu;

const $ = (id) => document.getElementById(id);

function createElement(tag, className, ...content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

function createButton(text, title, action) {
  const button = createElement("button", "", text);
  button.type = "button";
  if (title) button.title = title;
  button.addEventListener("click", action);
  return button;
}

const textOf = (number) => (number === undefined || number === null ? "" : data.texts[number]);

// Append a text; characters that are invisible or turn the text around are shown by their code.
function appendText(node, text) {
  let end = 0;
  for (const match of text.matchAll(INVISIBLE)) {
    node.append(text.slice(end, match.index));
    const code = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    node.append(createElement("span", "sign", "U+" + code));
    end = match.index + match[0].length;
  }
  node.append(text.slice(end));
}

function appendStored(node, number) {
  appendText(node, textOf(number));
  const leftOut = data.left_out[number];
  if (leftOut) node.append(createElement("span", "quiet", ` [\u2026 ${formatCount(leftOut)} more characters]`));
}

// The beginning of a text on one line, for a row of the table.
function excerpt(text, length) {
  const line = text.slice(0, length * 2).replace(/\s+/g, " ").replace(INVISIBLE, "\u00b7").trim();
  return line.length > length ? line.slice(0, length) + "\u2026" : line;
}

const formatCount = (number) => number.toLocaleString("en");

function formatTime(ms) {
  if (ms === null) return "-";
  return ms < 9995 ? `${(ms / 1000).toFixed(2)} s` : `${(ms / 1000).toFixed(1)} s`;
}

function formatCost(usd) {
  if (usd === null) return "-";
  if (usd === 0) return "$0";
  return usd < 0.0001 ? "<$0.0001" : "$" + usd.toFixed(usd < 1 ? 4 : 2);
}

// The outcome of repeats by sign and number: "✓" for one, "✓ 4/5" for several.
function outcomeOf(counts) {
  const [passed, failed, errors, unscored] = counts;
  const total = passed + failed + errors + unscored;
  const name = failed ? "fail" : errors ? "error" : unscored ? "unscored" : "pass";
  return { name, text: total > 1 ? `${SIGNS[name]} ${passed}/${total}` : SIGNS[name] };
}

function outcomeBadge(counts) {
  const { name, text } = outcomeOf(counts);
  const badge = createElement("span", `badge ${name}`, text);
  const named = OUTCOMES.map((outcome, index) => [counts[index], outcome]).filter(([count]) => count);
  badge.title = named.map(([count, outcome]) => `${count} ${outcome}`).join(", ");
  return badge;
}

const columnName = (column) => {
  const { prompt, model } = data.columns[column];
  return `${prompt} \u00b7 ${model}`;
};
