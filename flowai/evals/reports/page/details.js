
// Details of one case on one prompt and model: inputs, answers, reasons, baseline, rerun command.

const CHECK_SIGNS = { true: ["pass", "\u2713"], false: ["fail", "\u2717"], null: ["unscored", "?"] };
const SOURCES = { exact: "cached", replay: "replayed", miss: "" };

const quoteShell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// The command that runs this case again.
function rerunCommand(row, column) {
  const pattern = `^${row.case.replace(/[.^$*+?{}[\]\\|()]/g, "\\$&")}$`;
  const words = ["flowai", data.kind];
  if (data.kind === "eval") words.push(data.suites[row.suite]);
  words.push("--filter-pattern", pattern);
  if (data.kind === "eval" && new Set(data.columns.map(({ model }) => model)).size > 1) {
    words.push("--model", data.columns[column].model);
  }
  return words.map(quoteShell).join(" ");
}

// What answers can be compared with: the baseline's most frequent answer, the expected text.
function diffBases(row, cell) {
  const bases = {};
  const before = cell.baseline?.answers.find((answer) => answer.text !== undefined);
  if (before) bases.baseline = before.text;
  if (row.expected !== undefined) bases.expected = row.expected;
  return bases;
}

function detailNodes(rowIndex, column, onChange) {
  const row = data.rows[rowIndex];
  const cell = row.cells[column];
  const title = createElement("h2", "", row.case);
  if (row.critical) title.append(" ", createElement("span", "tag", "critical"));
  const place = createElement("p", "quiet", createElement("code", "", row.place), " \u00b7 ", columnName(column));
  const about = row.about === undefined ? [] : [createElement("p", "", textOf(row.about))];
  const slices = (row.slices ?? []).map((number) => createElement("span", "tag", data.slices[number]));
  const nodes = [title, place, ...about, ...slices, inputs(row)];
  if (!cell) return [...nodes, createElement("p", "quiet", "This case was not tried here.")];
  const bases = diffBases(row, cell);
  nodes.push(diffButtons(bases, onChange));
  const base = bases[filters.diff];
  for (const answer of cell.answers) nodes.push(answerNode(row, column, cell, answer, base, onChange));
  if (cell.baseline) nodes.push(baselineNode(cell.baseline, cell.turn));
  if (row.expected !== undefined) nodes.push(folded("Expected", row.expected, true));
  if (cell.prompt !== undefined) nodes.push(folded("Rendered prompt", cell.prompt, false));
  nodes.push(rerunNode(rerunCommand(row, column)));
  return nodes;
}

function inputs(row) {
  const list = createElement("dl", "inputs");
  const append = (kind, pairs) => {
    for (const [name, number] of pairs) {
      const term = createElement("dt", "", kind);
      appendStored(term, name);
      const value = createElement("dd");
      value.dir = "auto";
      appendStored(value, number);
      list.append(term, value);
    }
  };
  append("", row.vars);
  append("metadata ", row.metadata ?? []);
  return list;
}

function storedText(number) {
  const pre = createElement("pre");
  pre.dir = "auto";
  appendStored(pre, number);
  return pre;
}

function folded(name, number, isOpen) {
  const details = createElement("details", "", createElement("summary", "", name), storedText(number));
  details.open = isOpen;
  return details;
}

function diffButtons(bases, onChange) {
  const bar = createElement("div", "bar", createElement("span", "quiet", "Differences from"));
  const names = Object.keys(bases);
  if (!names.length) return createElement("div");
  for (const [value, name] of [["", "none"], ...names.map((base) => [base, base])]) {
    const button = createButton(name, "d", () => {
      filters.diff = value;
      onChange();
    });
    button.setAttribute("aria-pressed", String((filters.diff in bases ? filters.diff : "") === value));
    bar.append(button);
  }
  return bar;
}

function answerNode(row, column, cell, answer, base, onChange) {
  const total = cell.counts.reduce((sum, count) => sum + count);
  const outcome = OUTCOMES[answer.outcome];
  const repeats = total > 1 ? ` ${answer.count} of ${total}` : "";
  const head = createElement("p", "answer-head", createElement("span", `badge ${outcome}`, `${SIGNS[outcome]} ${outcome}${repeats}`));
  const [latency, cost, input, output, cache, finish] = answer.stats;
  const facts = [formatTime(latency), formatCost(cost)];
  if (answer.score !== undefined) facts.unshift(`score ${answer.score.toFixed(2)}`);
  if (input !== null || output !== null) facts.push(`${input ?? "-"} + ${output ?? "-"} tokens`);
  if (SOURCES[cache]) facts.push(SOURCES[cache]);
  if (finish) facts.push(`finished: ${finish}`);
  head.append(createElement("span", "quiet", " " + facts.join(" \u00b7 ")));
  const node = createElement("article", "answer", head);
  if (answer.failure !== undefined) node.append(createElement("p", "warning", textOf(answer.failure)));
  if (answer.text !== undefined) node.append(answerText(answer.text, base));
  node.append(reasons(answer.result));
  if (answer.hash) node.append(labelForm(row, column, answer, onChange));
  return node;
}

function answerText(number, base) {
  if (base === undefined) {
    const shown = storedText(number);
    if (!textOf(number)) shown.append(createElement("span", "quiet", "(empty answer)"));
    return shown;
  }
  const pre = createElement("pre");
  pre.dir = "auto";
  appendDiff(pre, textOf(base), textOf(number));
  if (data.left_out[number] || data.left_out[base]) pre.append(createElement("span", "quiet", " [\u2026 only the shown part is compared]"));
  return pre;
}

function reasons(result) {
  const list = createElement("ul", "reasons");
  const checks = [...data.results[result]].sort((one, other) => (one[1] === true) - (other[1] === true));
  for (const [spec, passed, score, reason] of checks) {
    const [type, place, metric, weight] = data.specs[spec];
    const [name, sign] = CHECK_SIGNS[passed];
    const item = createElement("li", "", createElement("span", `badge ${name}`, sign), " ");
    appendText(item, reason === null ? type : textOf(reason));
    const facts = [score > 0 && score < 1 ? `score ${score.toFixed(2)}` : "", metric ?? "", weight === 0 ? "not counted" : ""];
    item.append(createElement("span", "quiet", ` ${facts.filter(Boolean).join(" \u00b7 ")} `), createElement("code", "quiet", place));
    list.append(item);
  }
  return list;
}

function baselineNode(baseline, turn) {
  const name = baseline.prompt ? `${baseline.prompt} in run ${baseline.run}` : `run ${baseline.run}`;
  const head = createElement("p", "answer-head", createElement("strong", "", `Baseline: ${name} `), outcomeBadge(baseline.counts));
  if (turn) head.append(" ", createElement("span", `turn ${turn}`, TURN_SIGNS[turn]));
  const node = createElement("section", "baseline", head);
  for (const answer of baseline.answers) {
    const outcome = OUTCOMES[answer.outcome];
    node.append(createElement("span", `badge ${outcome}`, `${SIGNS[outcome]} ${outcome} ${answer.count}\u00d7`));
    node.append(answer.text === undefined ? createElement("p", "quiet", "(no answer)") : storedText(answer.text));
  }
  return node;
}

function rerunNode(command) {
  const text = createElement("input", "command");
  text.value = command;
  text.readOnly = true;
  text.setAttribute("aria-label", "command that runs this case again");
  text.addEventListener("focus", () => text.select());
  const copy = createButton("Copy", "copy the command", async () => {
    text.select();
    try {
      await navigator.clipboard.writeText(command);
    } catch {
      document.execCommand("copy");
    }
  });
  return createElement("p", "rerun", createElement("span", "quiet", "Run again"), text, copy);
}
