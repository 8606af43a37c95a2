
// A person's labels of answers: kept in this browser, saved as a file with one JSON object per line.

const LABELS_KEY = `flowai labels ${data.kind} ${data.run} ${data.started}`;
let labels = {};
let isKept = true; // false if this browser stores nothing for files

function loadLabels() {
  try {
    labels = JSON.parse(localStorage.getItem(LABELS_KEY) ?? "{}");
  } catch {
    isKept = false;
  }
  if (typeof labels !== "object" || labels === null) labels = {};
}

const labelKey = (row, column, answer) => JSON.stringify([row.suite, row.case, column, answer.hash]);

function setLabel(row, column, answer, change) {
  const key = labelKey(row, column, answer);
  const { prompt, model } = data.columns[column];
  const label = { ...(labels[key] ?? { label: null, note: "" }), ...change };
  if (label.label === null && !label.note) delete labels[key];
  else {
    labels[key] = {
      schema_version: 1,
      run_id: data.run,
      suite: data.suites[row.suite],
      case: row.case,
      prompt,
      model,
      output_hash: answer.hash,
      label: label.label,
      note: label.note,
    };
  }
  try {
    localStorage.setItem(LABELS_KEY, JSON.stringify(labels));
  } catch {
    isKept = false;
  }
}

const labelLines = () => Object.values(labels).map((label) => JSON.stringify(label) + "\n").join("");

function saveLabels() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([labelLines()], { type: "application/x-ndjson" }));
  link.download = `labels-${data.run}.jsonl`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// The controls of one answer: pass, fail, note.
function labelForm(row, column, answer, onChange) {
  const form = createElement("div", "label-form");
  const draw = () => {
    const label = labels[labelKey(row, column, answer)] ?? { label: null, note: "" };
    const buttons = ["pass", "fail"].map((name) => {
      const button = createButton(`${SIGNS[name]} ${name}`, `label this answer: ${name} (${name[0]})`, () => {
        setLabel(row, column, answer, { label: label.label === name ? null : name });
        draw();
        form.querySelector(`[data-label="${name}"]`).focus();
        onChange();
      });
      button.dataset.label = name;
      button.setAttribute("aria-pressed", String(label.label === name));
      return button;
    });
    const note = createElement("input");
    note.placeholder = "note";
    note.setAttribute("aria-label", "note on this answer");
    note.value = label.note;
    note.addEventListener("change", () => {
      setLabel(row, column, answer, { note: note.value });
      onChange();
    });
    form.replaceChildren(createElement("span", "quiet", "Label"), ...buttons, note);
  };
  form.addEventListener("keydown", (event) => {
    if (event.target.tagName === "INPUT") {
      if (event.key === "Enter" || event.key === "Escape") event.target.blur();
      return;
    }
    const button = { p: "pass", f: "fail" }[event.key];
    if (button && !event.ctrlKey && !event.metaKey && !event.altKey) {
      form.querySelector(`[data-label="${button}"]`).click();
      event.stopPropagation();
      event.preventDefault();
    }
  });
  draw();
  return form;
}
