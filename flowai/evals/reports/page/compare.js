
// The page: tabs, filters, a table that draws only the visible rows, keys.

const ROW_HEIGHT = 62;
const SPARE_ROWS = 6; // drawn above and below the visible ones
const HELP = [
  ["j k", "next, previous case"],
  ["h \u2190 \u2192", "previous, next column"],
  ["n N", "next, previous case that turned worse (without a baseline: that did not pass)"],
  ["d", "differences from the baseline, from the expected text, none"],
  ["l", "label the answer: then p pass, f fail, Tab note"],
  ["/", "search"],
  ["s", "save the labels as a file"],
  ["?", "this help"],
];

let columns = []; // shown columns
let rows = []; // shown rows, as indexes of data.rows
let current = 0; // position in rows
let frame = 0;

const rowKey = (row) => `${row.suite}:${row.case}`;
const indexes = new Map(data.rows.map((row, index) => [rowKey(row), index]));
const hasBaseline = data.rows.some((row) => row.cells.some((cell) => cell?.baseline || cell?.turn));

function buildPage() {
  const tabs = createElement("div", "bar tabs");
  tabs.setAttribute("role", "tablist");
  for (const [tab, name] of TABS) {
    const button = createButton(name, "", () => change({ tab }));
    button.dataset.tab = tab;
    button.dataset.name = name;
    button.setAttribute("role", "tab");
    button.hidden = !hasBaseline && ["worse", "better", "noise"].includes(tab);
    tabs.append(button);
  }
  const search = createElement("input");
  search.id = "search";
  search.type = "search";
  search.placeholder = "search (/)";
  search.setAttribute("aria-label", "search cases, inputs and answers");
  search.addEventListener("input", () => change({ q: search.value }));
  const bar = createElement("div", "bar filters", search);
  const prompts = [...new Set(data.columns.map(({ prompt }) => prompt))];
  const models = [...new Set(data.columns.map(({ model }) => model))];
  addSelect(bar, "outcome", "every outcome", OUTCOMES);
  if (prompts.length > 1) addSelect(bar, "prompt", "every prompt", prompts);
  if (models.length > 1) addSelect(bar, "model", "every model", models);
  if (data.slices.length) addSelect(bar, "slice", "every slice", data.slices);
  const save = createButton("", "save the labels as a file, one JSON object per line", saveLabels);
  save.id = "save";
  bar.append(save, createButton("Keys (?)", "", () => $("help").showModal()));
  const list = createElement("div", "list");
  list.id = "list";
  list.tabIndex = 0;
  list.setAttribute("role", "grid");
  list.setAttribute("aria-label", "cases by prompt and model");
  list.addEventListener("scroll", () => {
    frame ||= requestAnimationFrame(drawRows);
  });
  const head = createElement("div", "row head");
  head.id = "head";
  const space = createElement("div", "space");
  space.id = "space";
  list.append(head, space);
  const detail = createElement("section", "detail");
  detail.id = "detail";
  detail.setAttribute("aria-label", "details of the case");
  const status = createElement("p", "quiet");
  status.id = "status";
  status.setAttribute("role", "status");
  $("app").replaceChildren(tabs, bar, status, createElement("div", "panes", list, detail), helpDialog());
}

function addSelect(bar, name, all, values) {
  const select = createElement("select");
  select.id = `filter-${name}`;
  select.setAttribute("aria-label", name);
  for (const [value, text] of [["", all], ...values.map((item) => [item, item])]) {
    const option = createElement("option", "", text);
    option.value = value;
    select.append(option);
  }
  select.addEventListener("change", () => change({ [name]: select.value }));
  bar.append(select);
}

function helpDialog() {
  const dialog = createElement("dialog", "", createElement("h2", "", "Keys"));
  dialog.id = "help";
  const list = createElement("dl", "inputs");
  for (const [keys, meaning] of HELP) list.append(createElement("dt", "", keys), createElement("dd", "", meaning));
  dialog.append(list, createButton("Close", "", () => dialog.close()));
  return dialog;
}

// Change filters; the current case stays if it is still shown.
function change(values) {
  Object.assign(filters, values);
  update();
}

function update() {
  columns = shownColumns();
  const found = filterRows(columns);
  rows = found.rows;
  current = Math.max(0, rows.indexOf(indexes.get(filters.row)));
  for (const button of document.querySelectorAll("[data-tab]")) {
    button.textContent = `${button.dataset.name} ${formatCount(found.counts[button.dataset.tab])}`;
    button.setAttribute("aria-selected", String(button.dataset.tab === filters.tab));
  }
  for (const name of ["outcome", "prompt", "model", "slice"]) {
    const select = $(`filter-${name}`);
    if (select) select.value = filters[name];
  }
  if ($("search").value !== filters.q) $("search").value = filters.q;
  $("space").style.height = `${rows.length * ROW_HEIGHT}px`;
  $("list").setAttribute("aria-rowcount", String(rows.length + 1));
  select(current, columnOfTab());
}

// The current column; if its cell is not why the tab has the current row, the first one that is.
function columnOfTab() {
  const column = currentColumn();
  if (!rows.length || filters.tab === "all") return column;
  const isWanted = (index) => {
    const cell = bits[rows[current]][index];
    return filters.tab === "failing" ? cell?.isFailing : cell?.turn === filters.tab;
  };
  return isWanted(column) ? column : (columns.find(isWanted) ?? column);
}

function currentColumn() {
  const wanted = Number(filters.column || "0");
  return columns.includes(wanted) ? wanted : columns[0];
}

function drawHead() {
  const widths = `minmax(11rem, 1.3fr) ${hasBaseline ? "minmax(9rem, 1fr) " : ""}repeat(${columns.length}, minmax(10rem, 1fr))`;
  $("list").style.setProperty("--columns", widths);
  $("list").style.setProperty("--min-width", `${(hasBaseline ? 20 : 11) + 10 * columns.length}rem`);
  const names = columns.map((column) => {
    const { prompt, model } = data.columns[column];
    const cell = createElement("div", "cell", nameNode("name", prompt), nameNode("quiet name", model));
    cell.title = columnName(column);
    return cell;
  });
  const known = rows.map((index) => data.rows[index].cells[currentColumn()]?.baseline).find(Boolean);
  const run = known ? `${known.prompt ? `${known.prompt}, ` : ""}run ${known.run}` : "";
  const baseline = createElement("div", "cell", "baseline", nameNode("quiet name", run));
  baseline.title = `baseline of ${columnName(currentColumn())}`;
  $("head").replaceChildren(createElement("div", "cell", "case and input"), ...(hasBaseline ? [baseline] : []), ...names);
}

// A name that may wrap after a slash or a dash.
function nameNode(className, name) {
  const node = createElement("div", className);
  for (const part of name.split(/(?<=[/-])/)) node.append(part, createElement("wbr"));
  return node;
}

function drawRows() {
  frame = 0;
  const list = $("list");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW_HEIGHT) - SPARE_ROWS);
  const last = Math.min(rows.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW_HEIGHT) + SPARE_ROWS);
  const drawn = [];
  for (let position = first; position < last; position++) drawn.push(rowNode(position));
  $("space").replaceChildren(...drawn);
}

function rowNode(position) {
  const index = rows[position];
  const row = data.rows[index];
  const node = createElement("div", position === current ? "row current" : "row");
  node.style.top = `${position * ROW_HEIGHT}px`;
  node.setAttribute("role", "row");
  node.setAttribute("aria-rowindex", String(position + 2));
  const prefix = (name) => (row.vars.length > 1 ? `${textOf(name)}: ` : "");
  const input = row.vars.map(([name, number]) => prefix(name) + textOf(number).slice(0, 200)).join("  ");
  const name = createElement("div", "cell", createElement("div", "name", row.case), createElement("div", "quiet excerpt", excerpt(input, 160)));
  node.append(name);
  if (hasBaseline) node.append(baselineCell(row.cells[currentColumn()]?.baseline));
  for (const column of columns) {
    const cell = cellNode(row, column);
    if (position === current && column === currentColumn()) cell.classList.add("selected");
    cell.addEventListener("click", (event) => {
      event.stopPropagation();
      select(position, column);
    });
    node.append(cell);
  }
  node.addEventListener("click", () => select(position, currentColumn()));
  return node;
}

function baselineCell(baseline) {
  const node = createElement("div", "cell");
  if (!baseline) return node;
  const text = textOf(baseline.answers[0]?.text);
  node.append(outcomeBadge(baseline.counts), createElement("div", "excerpt", excerpt(text, 160)));
  return node;
}

function cellNode(row, column) {
  const cell = row.cells[column];
  const node = createElement("div", "cell");
  node.setAttribute("role", "gridcell");
  if (!cell) return node;
  node.append(outcomeBadge(cell.counts));
  if (cell.turn) node.append(" ", createElement("span", `turn ${cell.turn}`, TURN_SIGNS[cell.turn]));
  const label = cell.answers.map((answer) => labels[labelKey(row, column, answer)]).find(Boolean);
  if (label) node.append(" ", createElement("span", "tag", `labelled ${label.label ?? "note"}`));
  const shown = cell.answers.find((answer) => answer.outcome !== 0) ?? cell.answers[0];
  const text = shown.failure === undefined ? textOf(shown.text) : textOf(shown.failure);
  node.append(createElement("div", "excerpt", excerpt(text, 160)));
  return node;
}

// Make a row and a column the current ones, and show their details.
function select(position, column) {
  current = Math.min(Math.max(0, position), Math.max(0, rows.length - 1));
  filters.column = column === columns[0] && columns[0] === 0 ? "" : String(column);
  const list = $("list");
  if (!$("head").children.length) drawHead();
  const top = current * ROW_HEIGHT;
  const height = list.clientHeight - $("head").offsetHeight;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW_HEIGHT > list.scrollTop + height) list.scrollTop = top + ROW_HEIGHT - height;
  if (rows.length) filters.row = rowKey(data.rows[rows[current]]);
  drawHead();
  drawRows();
  drawDetail();
  showStatus();
  writeAddress();
}

function drawDetail() {
  if (!rows.length) return $("detail").replaceChildren(createElement("p", "quiet", "No case matches the filters."));
  return $("detail").replaceChildren(...detailNodes(rows[current], currentColumn(), refresh));
}

// After a label or another kind of difference: draw again, keep the place.
function refresh() {
  const focused = document.activeElement?.closest(".label-form") !== null && document.activeElement !== document.body;
  drawRows();
  if (!focused) drawDetail();
  showStatus();
  writeAddress();
}

function showStatus() {
  const position = rows.length ? `case ${formatCount(current + 1)} of ${formatCount(rows.length)}` : "no case";
  $("status").textContent = position + (isKept ? "" : "; labels are not kept by this browser: save them");
  const count = Object.keys(labels).length;
  $("save").textContent = `Save labels (${count})`;
  $("save").disabled = count === 0;
}

function goToNext(step) {
  const isWanted = (index) =>
    columns.some((column) => (hasBaseline ? bits[index][column]?.turn === "worse" : bits[index][column]?.isFailing));
  for (let position = current + step; position >= 0 && position < rows.length; position += step) {
    if (!isWanted(rows[position])) continue;
    const worse = columns.find((column) => {
      const cell = bits[rows[position]][column];
      return hasBaseline ? cell?.turn === "worse" : cell?.isFailing;
    });
    select(position, worse);
    return;
  }
  $("status").textContent = step > 0 ? "no further one below" : "no further one above";
}

function moveColumn(step) {
  const position = columns.indexOf(currentColumn()) + step;
  if (position >= 0 && position < columns.length) select(current, columns[position]);
}

function nextDiff() {
  if (!rows.length) return;
  const row = data.rows[rows[current]];
  const cell = row.cells[currentColumn()];
  const names = ["", ...(cell ? Object.keys(diffBases(row, cell)) : [])];
  filters.diff = names[(names.indexOf(filters.diff) + 1) % names.length];
  drawDetail();
  writeAddress();
}

function startLabel() {
  const forms = [...document.querySelectorAll(".label-form")];
  const open = forms.find((form) => !form.querySelector("[aria-pressed=true]")) ?? forms[0];
  open?.querySelector("button").focus();
}

const ACTIONS = {
  j: () => select(current + 1, currentColumn()),
  k: () => select(current - 1, currentColumn()),
  ArrowDown: () => select(current + 1, currentColumn()),
  ArrowUp: () => select(current - 1, currentColumn()),
  PageDown: () => select(current + 10, currentColumn()),
  PageUp: () => select(current - 10, currentColumn()),
  Home: () => select(0, currentColumn()),
  End: () => select(rows.length - 1, currentColumn()),
  h: () => moveColumn(-1),
  ArrowLeft: () => moveColumn(-1),
  ArrowRight: () => moveColumn(1),
  n: () => goToNext(1),
  N: () => goToNext(-1),
  d: nextDiff,
  l: startLabel,
  s: () => Object.keys(labels).length && saveLabels(),
  "/": () => $("search").focus(),
  "?": () => $("help").showModal(),
  Escape: () => document.activeElement?.blur(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const isField = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
  if (isField && event.key !== "Escape") return;
  const action = ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

window.addEventListener("hashchange", () => {
  readAddress();
  update();
});

loadLabels();
readAddress();
buildPage();
update();
