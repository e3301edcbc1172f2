// Tables that sort, and what opens below a stage.
// Columns that are left out where they would say nothing.
const OPTIONAL = new Set(["attempt", "error", "failed, lost", "group", "items in", "peak memory", "read", "spilled", "waited", "written"]);

function table(name, allColumns, rows, detail) {
  const columns = allColumns.filter((column) => !OPTIONAL.has(column.title) || rows.some((row) => column.value(row)));
  const state = { by: null, down: true, open: new Set() }, body = h("tbody", {});
  const heads = columns.map((column, place) => h("th", { class: column.text ? "" : "figure", scope: "col", tabindex: 0, title: column.help,
    onclick: () => sortBy(place), onkeydown: (event) => { if (event.key === "Enter") sortBy(place); } }, column.title));
  function sortBy(place) {
    state.down = state.by === place ? !state.down : !columns[place].text;
    state.by = place;
    heads.forEach((head, each) => head.setAttribute("aria-sort", each === place ? (state.down ? "descending" : "ascending") : "none"));
    draw();
  }
  function ordered() {
    if (state.by === null) return rows;
    const of = columns[state.by].value, sign = state.down ? -1 : 1;
    return [...rows].sort((a, b) => sign * (typeof of(a) === "string" ? of(a).localeCompare(of(b)) : of(a) - of(b)));
  }
  function toggle(row, open) {
    if (open === undefined ? state.open.has(row) : !open) state.open.delete(row);
    else state.open.add(row);
    draw();
  }
  function draw() {
    body.replaceChildren(...ordered().flatMap((row) => {
      const cells = columns.map((column) => h("td", { class: column.text ? "" : "figure" }, column.show(row)));
      const line = h("tr", { class: detail ? "click" : null, id: detail ? `${name}-${key(row)}` : null,
        onclick: detail && (() => { if (!String(getSelection())) toggle(row); }) }, cells);
      if (!detail || !state.open.has(row)) return [line];
      line.classList.add("opened");
      return [line, h("tr", { class: "detail" }, h("td", { colspan: columns.length }, detail(row)))];
    }));
  }
  draw();
  return { node: h("div", { class: "scroll" }, h("table", { class: name }, h("thead", {}, h("tr", {}, heads)), body)), toggle };
}
const figure = (title, value, show, help) => ({ title, value, help, show: (row) => (show || num)(value(row), row) });
const words = (title, value, show) => ({ title, value, text: true, show: show || value });

function meter(used, limit) {
  // A bar of what was used, against what may be.
  if (!used) return "–";
  const share = limit ? Math.min(1, used / limit) : 0;
  return h("span", { class: "meter", title: limit ? `${bytes(used)} of ${bytes(limit)}` : bytes(used) },
    limit ? s("svg", { width: 54, height: 8 }, s("rect", { width: 54, height: 8, rx: 4, class: "track" }),
      s("rect", { width: Math.max(3, 54 * share), height: 8, rx: 4, style: `fill:var(${share >= 0.9 ? "--bad" : share >= 0.7 ? "--warn" : "--good"})` })) : null,
    h("span", {}, bytes(used)));
}

function boxPlot(stage, scale) {
  // Smallest to 95 %, quartiles, median, largest, on one scale for all stages' tasks (square root: small ones stay visible).
  const [low, lower, median, upper, high, top] = stage.spread, width = 180, x = (ms) => 3 + (width - 6) * Math.sqrt(ms / scale);
  if (!stage.done) return "–";
  return s("svg", { width, height: 16, class: "plot", onmouseleave: untip, onmousemove: (event) => tip(event, "Run times of tasks", [
    ["smallest", dur(low)], ["quarter below", dur(lower)], ["median", dur(median)], ["quarter above", dur(upper)],
    ["95 % below", dur(high)], ["largest", dur(top)], ["", stage.exact ? "" : "of a sample"]]) },
  s("line", { x1: x(low), x2: x(high), y1: 8, y2: 8, class: "whisker" }),
  s("rect", { x: x(lower), width: Math.max(2, x(upper) - x(lower)), y: 3, height: 10, rx: 2, style: `fill:${hue(stage.stage_id)}` }),
  s("line", { x1: x(median), x2: x(median), y1: 1, y2: 15, class: "median" }),
  s("circle", { cx: x(top), cy: 8, r: 3, class: stage.skew >= 3 ? "outlier bad" : "outlier" }));
}

function bars(stage) {
  const width = 420, height = 110, tallest = Math.max(...stage.bins) || 1, step = width / stage.bins.length, top = stage.spread[5];
  const x = (ms) => (top ? Math.min(1, ms / top) * width : 0);
  return s("svg", { viewBox: `0 0 ${width} ${height + 22}`, class: "histogram", role: "img", "aria-label": "distribution of run times" },
    stage.bins.map((count, place) => count > 0 && s("rect", { x: place * step + 0.5, width: step - 1, y: height - (count / tallest) * (height - 14),
      height: (count / tallest) * (height - 14), rx: 1.5, style: `fill:${hue(stage.stage_id)}`, onmouseleave: untip,
      onmousemove: (event) => tip(event, `${num(count)} tasks`, [["from", dur((place * top) / stage.bins.length)], ["to", dur(((place + 1) * top) / stage.bins.length)]]) })),
    s("line", { x1: 0, x2: width, y1: height, y2: height, class: "whisker" }),
    s("line", { x1: x(stage.spread[2]), x2: x(stage.spread[2]), y1: 0, y2: height, class: "median dashed" }),
    s("text", { x: Math.min(x(stage.spread[2]) + 4, width - 100), y: 9, class: "note" }, `median ${dur(stage.spread[2])}`),
    s("text", { x: 0, y: height + 15, class: "axis" }, "0"),
    s("text", { x: width, y: height + 15, class: "axis", "text-anchor": "end" }, dur(top)));
}

const hostOf = (task) => (D.executors[task.executor] ? nameOf(D.executors[task.executor]) : "?");
const taskColumns = (withStage) => [
  ...(withStage ? [words("stage", (task) => key(D.stages[task.stage]), (task) => [h("i", { class: "dot", style: `background:${hue(D.stages[task.stage].stage_id)}` }),
    `${key(D.stages[task.stage])}  ${D.stages[task.stage].name}`])] : []),
  figure("partition", (task) => task.partition, String), figure("attempt", (task) => task.attempt, String),
  words("outcome", (task) => task.outcome, (task) => [tag(task.outcome), task.speculative ? " copy" : ""]), words("where", hostOf),
  figure("time", (task) => task.run, dur), figure("waited", (task) => task.wait, (ms) => (ms ? dur(ms) : "–"), "for other agents' blocks"),
  figure("items in", (task) => task.items), figure("read", (task) => task.read, bytes), figure("written", (task) => task.written, bytes),
  figure("spilled", (task) => task.spilled, bytes), figure("peak memory", (task) => task.peak, bytes),
];

function slowest(tasks, count, withStage) {
  const top = [...tasks].sort((a, b) => b.run - a.run).slice(0, count);
  return table("tasks", taskColumns(withStage), top).node;
}

function failure(task) {
  const lines = task.reason.trimEnd().split("\n");
  return h("details", { class: "failure" }, h("summary", {}, tag(task.outcome), h("b", {}, ` stage ${task.stage_id}, partition ${task.partition}`),
    ` attempt ${task.attempt} on ${task.host || "?"}: `, h("code", {}, lines[lines.length - 1])), h("pre", {}, task.reason));
}

function stageDetail(stage) {
  const place = D.stages.indexOf(stage), tasks = D.tasks.filter((task) => task.stage === place);
  const failures = D.failures.filter((task) => task.stage_id === stage.stage_id && task.stage_attempt === stage.attempt);
  const sentences = D.findings.filter((each) => each.stage_id === stage.stage_id && each.stage_attempt === stage.attempt);
  const facts = [["job", stage.job_id], ["began", when(stage.began_ms)], ["parents", stage.parents.join(", ") || "–"],
    ["retried", num(stage.retried)], ["speculative", num(stage.speculative)], ["killed", num(stage.killed)],
    ["not where input was", num(stage.remote)], ["read from other agents", bytes(stage.totals.shuffle_read_remote_bytes)],
    ["pairs written", num(stage.totals.shuffle_write_items)], ["results", bytes(stage.totals.result_bytes)]];
  return h("div", {}, stage.reason && h("pre", { class: "error" }, stage.reason),
    sentences.map((each) => h("p", { class: "finding" }, each.text)),
    h("div", { class: "columns" },
      h("div", {}, h("h3", {}, `Run times of ${num(stage.done)} tasks`, !stage.exact && h("small", {}, "a sample")), bars(stage)),
      h("div", {}, h("h3", {}, "More"), h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))),
      stage.rdds.length > 0 && h("div", {}, h("h3", {}, "How it comes about"), h("ol", { class: "rdds" }, stage.rdds.map((rdd) => h("li", {}, rdd))))),
    tasks.length > 0 && [h("h3", {}, "Slowest tasks"), slowest(tasks, 10, false)],
    failures.length > 0 && [h("h3", {}, "Failures"), failures.map(failure)]);
}
