
// Differences between two texts by words: the shortest edit script.
// Source: Myers, "An O(ND) difference algorithm and its variations", Algorithmica 1 (1986).

const WORDS = /\s+|[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|[\p{L}\p{M}\p{N}_]+|./gsu;
const MAX_EDITS = 1500; // beyond it, the texts have little in common: the middle is shown as replaced

function diffWords(before, after) {
  const old = before.match(WORDS) ?? [];
  const now = after.match(WORDS) ?? [];
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) start++;
  let end = 0;
  while (end < old.length - start && end < now.length - start && old.at(-1 - end) === now.at(-1 - end)) end++;
  const oldMiddle = old.slice(start, old.length - end);
  const nowMiddle = now.slice(start, now.length - end);
  return mergeParts([
    ["same", old.slice(0, start)],
    ...editScript(oldMiddle, nowMiddle),
    ["same", end ? old.slice(-end) : []],
  ]);
}

function editScript(old, now) {
  if (!old.length || !now.length) return [["removed", old], ["added", now]];
  const trace = [];
  const furthest = new Map([[1, 0]]);
  for (let edits = 0; edits <= Math.min(MAX_EDITS, old.length + now.length); edits++) {
    const reached = new Map();
    for (let diagonal = -edits; diagonal <= edits; diagonal += 2) {
      const left = furthest.get(diagonal - 1) ?? -1;
      const above = furthest.get(diagonal + 1) ?? -1;
      const isInsertion = diagonal === -edits || (diagonal !== edits && left < above);
      let x = isInsertion ? above : left + 1;
      while (x < old.length && x - diagonal < now.length && old[x] === now[x - diagonal]) x++;
      reached.set(diagonal, x);
      furthest.set(diagonal, x);
      if (x >= old.length && x - diagonal >= now.length) {
        trace.push(reached);
        return backtrack(trace, old, now);
      }
    }
    trace.push(reached);
  }
  return [["removed", old], ["added", now]];
}

function backtrack(trace, old, now) {
  const parts = [];
  let x = old.length;
  let y = now.length;
  for (let edits = trace.length - 1; edits > 0; edits--) {
    const before = trace[edits - 1];
    const diagonal = x - y;
    const left = before.get(diagonal - 1) ?? -1;
    const above = before.get(diagonal + 1) ?? -1;
    const isInsertion = diagonal === -edits || (diagonal !== edits && left < above);
    const fromX = isInsertion ? above : left;
    const fromY = fromX - (isInsertion ? diagonal + 1 : diagonal - 1);
    const sameCount = isInsertion ? x - fromX : x - fromX - 1;
    parts.push(["same", old.slice(x - sameCount, x)]);
    parts.push(isInsertion ? ["added", [now[fromY]]] : ["removed", [old[fromX]]]);
    x = fromX;
    y = fromY;
  }
  parts.push(["same", old.slice(0, x)]);
  return parts.reverse();
}

// Join neighbours of a kind; between two unchanged parts, all removed words come before the added ones.
function mergeParts(parts) {
  const merged = [];
  let removed = [];
  let added = [];
  const flush = () => {
    if (removed.length) merged.push({ kind: "removed", text: removed.join("") });
    if (added.length) merged.push({ kind: "added", text: added.join("") });
    removed = [];
    added = [];
  };
  for (const [kind, words] of parts) {
    if (!words.length) continue;
    if (kind === "removed") removed.push(...words);
    else if (kind === "added") added.push(...words);
    else {
      flush();
      const last = merged.at(-1);
      if (last?.kind === "same") last.text += words.join("");
      else merged.push({ kind: "same", text: words.join("") });
    }
  }
  flush();
  return merged;
}

function appendDiff(node, before, after) {
  const tags = { same: "span", removed: "del", added: "ins" };
  for (const part of diffWords(before, after)) {
    const element = createElement(tags[part.kind]);
    appendText(element, part.text);
    node.append(element);
  }
}
