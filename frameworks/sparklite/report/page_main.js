// Puts the page together.
const taskScale = most(D.stages, (stage) => stage.spread[5]) || 1;
const troubled = (row) => [row.failed + (row.lost || 0) > 0 && h("span", { class: "bad" }, `${row.failed + (row.lost || 0)} failed  `),
  `${row.done.toLocaleString("en-US")} / ${row.tasks.toLocaleString("en-US")}`];

const stages = table("stage", [
  figure("#", (stage) => stage.stage_id + stage.attempt / 1000, (_, stage) => [h("i", { class: "dot", style: `background:${hue(stage.stage_id)}` }), key(stage)]),
  words("stage", (stage) => stage.name, (stage) => [stage.name, stage.status !== "succeeded" && [" ", tag(stage.status)]]),
  figure("tasks", (stage) => stage.tasks, (_, stage) => troubled(stage), "done of all; attempts that failed or were lost"),
  figure("time", (stage) => stage.duration_ms, dur),
  { title: "run times of tasks", value: (stage) => stage.spread[2], show: (stage) => boxPlot(stage, taskScale), help: "quartiles, median and largest; all stages on one scale" },
  figure("skew", (stage) => stage.skew, (skew) => h("span", { class: skew >= 3 ? "bad" : "" }, `${few(skew)}×`), "slowest task over the median one"),
  figure("waited", (stage) => stage.totals.fetch_wait_ms / (stage.totals.run_ms || 1), (share) => (share >= 0.005 ? pct(share) : "–"), "share of tasks' time spent waiting for other agents' blocks"),
  figure("items in", (stage) => stage.totals.items_in), figure("read", (stage) => stage.totals.shuffle_read_bytes, bytes, "shuffle"),
  figure("written", (stage) => stage.totals.shuffle_write_bytes, bytes, "shuffle"), figure("spilled", (stage) => stage.totals.spilled_bytes, bytes),
  figure("peak memory", (stage) => stage.totals.peak_memory_bytes, (peak, stage) => meter(peak, stage.totals.memory_limit_bytes), "largest task, against its limit"),
], D.stages, stageDetail);

function openStage(stage, behavior = "smooth") {
  stages.toggle(stage, true);
  document.getElementById(`stage-${key(stage)}`).scrollIntoView({ block: "start", behavior });
}

const jobs = () => table("job", [
  figure("#", (job) => job.job_id, String), words("job", (job) => job.name, (job) => [job.name, job.description && h("small", {}, job.description)]),
  words("", (job) => job.status, (job) => tag(job.status)), words("group", (job) => job.group || ""),
  figure("time", (job) => job.duration_ms, dur), figure("stages", (job) => job.stage_ids.length,
    (count, job) => `${count}${Object.keys(job.skipped).length ? ` (${Object.keys(job.skipped).length} skipped)` : ""}`),
  figure("tasks", (job) => job.tasks, (_, job) => troubled(job)),
  words("error", (job) => job.error, (job) => job.error && h("code", {}, job.error.split("\n")[0])),
], D.jobs).node;

const executors = () => table("executor", [
  words("executor", (each) => each.executor_id, (each) => [each.executor_id, each.ended_ms !== null && h("small", {}, "over")]),
  words("host", (each) => each.host), words("agent", (each) => each.agent_id), figure("workers", (each) => each.workers),
  figure("tasks", (each) => each.done), figure("failed, lost", (each) => each.failed, (n) => h("span", { class: n ? "bad" : "" }, num(n))),
  figure("busy", (each) => each.busy, pct, "share of its workers' time in which tasks ran"), figure("task time", (each) => each.totals.run_ms, dur),
  figure("read", (each) => each.totals.shuffle_read_bytes, bytes), figure("written", (each) => each.totals.shuffle_write_bytes, bytes),
  figure("spilled", (each) => each.totals.spilled_bytes, bytes),
  figure("peak memory", (each) => each.totals.peak_memory_bytes, (peak, each) => meter(peak, each.totals.memory_limit_bytes), "largest task, against its limit"),
], D.executors).node;

function tiles() {
  const all = (of) => sum(D.stages, of), busy = all((stage) => stage.totals.run_ms), again = all((stage) => stage.failed + stage.lost);
  const span = D.jobs.length ? most(D.jobs, (job) => job.began_ms + job.duration_ms) - Math.min(...D.jobs.map((job) => job.began_ms)) : 0;
  const away = all((stage) => stage.totals.shuffle_read_remote_bytes);
  const peak = most(D.stages, (stage) => stage.totals.peak_memory_bytes), limit = most(D.stages, (stage) => stage.totals.memory_limit_bytes);
  const failed = D.jobs.filter((job) => job.status === "failed").length, skipped = sum(D.jobs, (job) => Object.keys(job.skipped).length);
  const facts = [
    ["time", dur(span), "first job to last"], ["jobs", num(D.jobs.length), failed ? `${failed} failed` : "none failed", failed],
    ["stages", num(D.stages.length), skipped ? `${skipped} more skipped` : "none skipped"],
    ["tasks", num(D.ended_tasks), again ? `${num(again)} failed or lost` : "none failed", again],
    ["task time", dur(busy), span ? `${few(busy / span)} at once on average` : ""],
    ["shuffled", bytes(all((stage) => stage.totals.shuffle_write_bytes)), away ? `${bytes(away)} between agents` : "none between agents"],
    ["spilled", bytes(all((stage) => stage.totals.spilled_bytes)), "to disk"],
    ["peak memory", bytes(peak), limit ? `${pct(peak / limit)} of ${bytes(limit)} a task` : "of a task", limit && peak / limit >= 0.9],
  ];
  return h("div", { class: "tiles" }, facts.map(([name, value, note, bad]) =>
    h("div", { class: "tile" }, h("span", {}, name), h("b", {}, value), h("small", { class: bad ? "bad" : "" }, note))));
}

function theme() {
  const root = document.documentElement;
  return h("button", { class: "quiet", "aria-label": "light or dark", onclick: () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  } }, "◐");
}

function graphCard() {
  const longest = D.jobs.reduce((a, b) => (b.duration_ms > a.duration_ms ? b : a)), place = h("div", {});
  const show = (job) => place.replaceChildren(drawGraph([job], openStage));
  const choice = h("select", { "aria-label": "job", onchange: () => show(D.jobs.find((job) => String(job.job_id) === choice.value)) },
    D.jobs.map((job) => h("option", { value: job.job_id, selected: job === longest ? "" : null }, `job ${job.job_id}: ${job.name.slice(0, 60)}`)));
  show(longest);
  const section = card("Stages of a job", "lines as thick as what was shuffled", place);
  section.querySelector("h2").append(D.jobs.length > 1 ? choice : "");
  return section;
}

// Drawn when it is in the document and so has a width.
let timeLine = null;

function page() {
  const { name, app_id: id, master } = D.application, status = D.jobs.some((job) => job.status === "running") ? "running" : null;
  const head = h("header", {}, h("div", {}, h("h1", {}, name || "sparklite", status && tag(status)),
    h("p", {}, [id, master, when(ZERO)].filter(Boolean).join("  ·  "))), theme());
  if (!D.jobs.length) return [head, card("No job has run yet", "")];
  const line = timeLine = new TimeLine(openStage), left = D.left_out;
  const timeline = card("Time line", "drag to look closer, click a stage for its figures", line.node);
  timeline.querySelector("h2").append(line.reset);
  return [head, tiles(),
    D.findings.length > 0 && card("What stands out", "", h("ul", { class: "findings" }, D.findings.map((each) => {
      const stage = D.stages.find((one) => one.stage_id === each.stage_id && one.attempt === each.stage_attempt);
      return h("li", { class: stage ? "click" : "", onclick: () => stage && openStage(stage) },
        h("i", { class: "dot", style: `background:${hue(each.stage_id)}` }), h("span", {}, each.text));
    }))),
    timeline, D.stages.length > 0 && graphCard(), D.jobs.length > 1 || D.jobs[0].status === "failed" ? card("Jobs", "", jobs()) : null,
    card("Stages", "click one for its tasks", stages.node), card("Executors", "", executors()),
    card("Slowest tasks", "", slowest(D.tasks, 15, true)),
    D.failures.length > 0 && card("Failures", `${D.failures.length} shown`, D.failures.map(failure)),
    h("footer", {}, [
      D.tasks.length < D.ended_tasks && `${num(D.tasks.length)} of ${num(D.ended_tasks)} tasks are drawn; figures count all of them.`,
      left.jobs + left.stages > 0 && `${num(left.jobs)} earlier jobs and ${num(left.stages)} earlier stages are left out.`,
      `As of ${when(D.at_ms)}. Made by mesolite sparklite.`,
    ].filter(Boolean).join(" "))];
}

fill(document.getElementById("page"), {}, (document.getElementById("page").replaceChildren(), [page()]));
if (timeLine) timeLine.draw();
// page.html#stage-3 opens a stage.
const wanted = D.stages.find((stage) => `#stage-${key(stage)}` === location.hash);
if (wanted) openStage(wanted, "instant");
