// Data, elements, figures. Whatever the program's user named goes into text nodes only.
const D = JSON.parse(document.getElementById("data").textContent);
const TASK = ["stage", "executor", "partition", "attempt", "outcome", "speculative", "at", "run", "wait", "items", "read",
  "written", "spilled", "peak"];
D.tasks = D.tasks.map((row) => Object.fromEntries(TASK.map((name, place) => [name, row[place]])));
const ZERO = D.zero_ms;
const END = Math.max(1, D.at_ms - ZERO);
const BAD = new Set(["failed", "lost", "missed"]);
const key = (stage) => (stage.attempt ? `${stage.stage_id}.${stage.attempt}` : `${stage.stage_id}`);
const hue = (stageId) => `var(--s${stageId % 10})`;

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const num = (n) => (n ? Number(n).toLocaleString("en-US") : "–");
const few = (n) => (n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2)).replace(/\.0+$/, "");
const pct = (share) => `${Math.round(100 * share)} %`;
function bytes(n) {
  if (!n) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < 4) { n /= 1024; unit += 1; }
  return `${unit && n < 100 ? n.toFixed(1) : n.toFixed(0)} ${units[unit]}`;
}
function dur(ms) {
  if (ms < 9.95) return `${few(ms)} ms`;
  if (ms < 999.5) return `${ms.toFixed(0)} ms`;
  if (ms < 99950) return `${(ms / 1000).toFixed(1)} s`;
  const all = Math.round(ms / 1000), two = (n) => String(n).padStart(2, "0");
  const minutes = Math.floor(all / 60) % 60, hours = Math.floor(all / 3600);
  return hours ? `${hours}:${two(minutes)}:${two(all % 60)} h` : `${minutes}:${two(all % 60)} min`;
}
const when = (ms) => new Date(ms).toISOString().replace("T", " ").slice(0, 19) + " UTC";
const sum = (items, of) => items.reduce((total, each) => total + of(each), 0);
const most = (items, of) => items.reduce((top, each) => Math.max(top, of(each)), 0);

const tipNode = document.getElementById("tip");
function tip(event, title, facts) {
  tipNode.replaceChildren(h("b", {}, title), h("dl", {}, facts.filter((fact) => fact[1] !== "–" && fact[1] !== "").map(
    ([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
  tipNode.style.display = "block";
  const box = tipNode.getBoundingClientRect();
  tipNode.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8))}px`;
  tipNode.style.top = `${event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18}px`;
}
const untip = () => { tipNode.style.display = "none"; };

const stageFacts = (stage) => [
  ["time", dur(stage.duration_ms)], ["tasks", `${stage.done} of ${stage.tasks}`],
  ["failed, lost", num(stage.failed + stage.lost)], ["median task", dur(stage.spread[2])],
  ["slowest task", `${dur(stage.spread[5])} (${few(stage.skew)}×)`], ["shuffle read", bytes(stage.totals.shuffle_read_bytes)],
  ["shuffle written", bytes(stage.totals.shuffle_write_bytes)], ["spilled", bytes(stage.totals.spilled_bytes)],
];
const taskFacts = (task) => {
  const executor = D.executors[task.executor];
  return [
    ["outcome", task.outcome], ["time", dur(task.run)], ["waited for blocks", task.wait ? dur(task.wait) : "–"],
    ["attempt", task.attempt ? String(task.attempt) : ""], ["copy", task.speculative ? "speculative" : ""],
    ["host", executor ? executor.host : ""], ["executor", executor ? executor.executor_id : ""], ["items in", num(task.items)], ["read", bytes(task.read)],
    ["written", bytes(task.written)], ["spilled", bytes(task.spilled)], ["peak memory", bytes(task.peak)],
  ];
};
const tag = (status) => h("span", { class: `tag ${status}` }, status);
const card = (title, note, ...children) =>
  h("section", { class: "card" }, h("h2", {}, title, note && h("small", {}, note)), ...children);
