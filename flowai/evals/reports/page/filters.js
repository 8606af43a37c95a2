
// Filters: which rows and columns are shown. They are in the address, so that a view can be sent to somebody.

const TABS = [
  ["all", "All"],
  ["worse", "Turned worse"],
  ["better", "Turned better"],
  ["noise", "Noise"],
  ["failing", "Not passed"],
];
const DEFAULTS = { tab: "all", q: "", outcome: "", prompt: "", model: "", slice: "", row: "", column: "", diff: "" };
const filters = { ...DEFAULTS };

function readAddress() {
  const found = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(DEFAULTS)) filters[name] = found.get(name) ?? DEFAULTS[name];
  if (!TABS.some(([tab]) => tab === filters.tab)) filters.tab = "all";
}

function writeAddress() {
  const changed = Object.entries(filters).filter(([name, value]) => value !== DEFAULTS[name]);
  const hash = "#" + new URLSearchParams(changed);
  if (hash !== (location.hash || "#")) history.replaceState(null, "", hash);
}

// Bits of each cell that filters ask for, computed once.
const bits = data.rows.map((row) =>
  row.cells.map((cell) => {
    if (!cell) return null;
    const [passed, failed, errors, unscored] = cell.counts;
    const outcomes = (passed ? 1 : 0) | (failed ? 2 : 0) | (errors ? 4 : 0) | (unscored ? 8 : 0);
    return { outcomes, turn: cell.turn ?? "", isFailing: failed + errors + unscored > 0 };
  }),
);

let lowered = null; // texts for the search, in lower case

// The rows that contain a text in their names, inputs or answers; null without a text.
function searchMask(query) {
  if (!query) return null;
  lowered ??= data.texts.map((text) => text.toLowerCase());
  const wanted = query.toLowerCase();
  const found = new Uint8Array(lowered.length);
  for (let index = 0; index < lowered.length; index++) found[index] = lowered[index].includes(wanted) ? 1 : 0;
  const hasText = (number) => number !== undefined && number !== null && found[number] === 1;
  const named = (row) => row.case.toLowerCase().includes(wanted) || row.vars.some(([, number]) => hasText(number));
  const answered = (cell) => cell && cell.answers.some((answer) => hasText(answer.text) || hasText(answer.failure));
  return (row) => named(row) || hasText(row.about) || row.cells.some(answered);
}

function shownColumns() {
  const all = data.columns.map((_, index) => index);
  const shown = all.filter((index) => {
    const { prompt, model } = data.columns[index];
    return (!filters.prompt || prompt === filters.prompt) && (!filters.model || model === filters.model);
  });
  return shown.length ? shown : all;
}

// Return the shown rows, and the number of rows that each tab would show.
function filterRows(columns) {
  const isFound = searchMask(filters.q);
  const outcome = OUTCOMES.indexOf(filters.outcome);
  const wanted = outcome < 0 ? 0 : 1 << outcome;
  const slice = data.slices.indexOf(filters.slice);
  const counts = { all: 0, worse: 0, better: 0, noise: 0, failing: 0 };
  const rows = [];
  for (let index = 0; index < data.rows.length; index++) {
    const row = data.rows[index];
    if (slice >= 0 && !row.slices?.includes(slice)) continue;
    let outcomes = 0;
    const tabs = { all: false, worse: false, better: false, noise: false, failing: false };
    for (const column of columns) {
      const cell = bits[index][column];
      if (cell === null) continue;
      outcomes |= cell.outcomes;
      tabs.all = true;
      if (cell.turn) tabs[cell.turn] = true;
      if (cell.isFailing) tabs.failing = true;
    }
    if (!tabs.all || (wanted && !(outcomes & wanted)) || (isFound && !isFound(row))) continue;
    for (const tab in counts) if (tabs[tab]) counts[tab]++;
    if (tabs[filters.tab]) rows.push(index);
  }
  return { rows, counts };
}
