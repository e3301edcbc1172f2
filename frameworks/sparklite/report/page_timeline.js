// The time line: jobs, stages, and what each worker ran. Drag to look closer, double-click to see all again.
const GUTTER = 150, BAR = 18, GAP = 4, MAX_LANES = 80;

function packed(items, begin, end) {
  // Each item into the first lane that is free: as many lanes as ran at the same time.
  const free = [];
  return [...items].sort((a, b) => begin(a) - begin(b) || end(b) - end(a)).map((item) => {
    let lane = free.findIndex((until) => until <= begin(item) + 0.5);
    if (lane < 0) lane = free.push(0) - 1;
    free[lane] = end(item);
    return { item, lane, from: begin(item), to: end(item) };
  });
}
const lanesOf = (bars) => most(bars, (bar) => bar.lane + 1);

function niceStep(span, wanted) {
  const rough = span / wanted, power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= rough);
}

// A host, where no other executor has it too.
const nameOf = (executor) => (D.executors.filter((each) => each.host === executor.host).length === 1 && executor.host) || executor.executor_id;

class TimeLine {
  constructor(openStage) {
    this.openStage = openStage;
    this.view = [0, END];
    this.jobs = packed(D.jobs, (job) => job.began_ms - ZERO, (job) => job.began_ms - ZERO + job.duration_ms);
    this.stages = packed(D.stages, (stage) => stage.began_ms - ZERO, (stage) => stage.began_ms - ZERO + stage.duration_ms);
    this.executors = D.executors.map((executor, place) => ({
      executor,
      bars: packed(D.tasks.filter((task) => task.executor === place), (task) => task.at, (task) => task.at + task.run),
    })).filter((each) => each.bars.length);
    // Few workers have room for thick lanes.
    this.lane = Math.max(9, Math.min(18, Math.floor(320 / Math.max(1, sum(this.executors, (each) => lanesOf(each.bars))))));
    this.node = h("div", { class: "timeline" });
    this.reset = h("button", { class: "quiet", hidden: "", onclick: () => this.zoom(0, END) }, "show all");
    new ResizeObserver(() => requestAnimationFrame(() => {
      if (this.node.clientWidth !== this.width) this.draw();
    })).observe(this.node);
  }

  zoom(from, to) {
    this.view = [Math.max(0, from), Math.min(END, to)];
    this.reset.hidden = from <= 0 && to >= END;
    this.draw();
  }

  draw() {
    this.width = this.node.clientWidth;
    if (this.width < 200) return;
    this.scale = (this.width - GUTTER - 8) / (this.view[1] - this.view[0]);
    const parts = [];
    let y = 26;
    y = this.band(parts, "Jobs", this.jobs, y, (job) => `job ${job.job_id}  ${job.name}`,
      (job) => (job.status === "failed" ? "var(--bad)" : "var(--job)"),
      (event, job) => tip(event, `Job ${job.job_id}: ${job.name}`, [["status", job.status], ["time", dur(job.duration_ms)],
        ["tasks", `${job.done} of ${job.tasks}`], ["failed, lost", num(job.failed)], ["group", job.group || ""]]), null);
    y = this.band(parts, "Stages", this.stages, y, (stage) => `${key(stage)}  ${stage.name}`, (stage) => hue(stage.stage_id),
      (event, stage) => tip(event, `Stage ${key(stage)}: ${stage.name}`, stageFacts(stage)),
      (stage) => this.openStage(stage));
    y = this.workers(parts, y);
    const height = y + 6;
    const svg = s("svg", { width: this.width, height, role: "img", "aria-label": "time line of jobs, stages and tasks" },
      s("clipPath", { id: "clip" }, s("rect", { x: GUTTER, y: 0, width: this.width - GUTTER, height })),
      this.axis(height), parts);
    this.drag(svg, height);
    this.node.replaceChildren(svg);
  }

  x(time) { return GUTTER + (time - this.view[0]) * this.scale; }

  axis(height) {
    const step = niceStep(this.view[1] - this.view[0], Math.max(3, this.width / 130)), marks = [];
    for (let time = Math.ceil(this.view[0] / step) * step; time <= this.view[1]; time += step) {
      const x = this.x(time);
      marks.push(s("line", { x1: x, x2: x, y1: 20, y2: height, class: "grid" }),
        s("text", { x, y: 14, class: "axis", "text-anchor": x > this.width - 40 ? "end" : "middle" }, time ? dur(time) : "0"));
    }
    return marks;
  }

  label(y, text, note) {
    return [s("text", { x: 0, y: y + 12, class: "label" }, text.length > 19 ? `${text.slice(0, 18)}…` : text),
      note && text.length < 11 && s("text", { x: GUTTER - 12, y: y + 12, class: "note", "text-anchor": "end" }, note)];
  }

  band(parts, title, bars, y, text, color, told, click) {
    const inside = s("g", { "clip-path": "url(#clip)" });
    for (const { item, lane, from, to } of bars) {
      if (to < this.view[0] || from > this.view[1]) continue;
      const left = this.x(from), width = Math.max(1.5, (to - from) * this.scale - 1), top = y + lane * (BAR + GAP);
      const visible = Math.max(left, GUTTER), room = Math.min(left + width, this.width) - visible;
      const label = text(item), fits = Math.floor((room - 10) / 6.3);
      inside.append(s("g", { class: click ? "bar click" : "bar", onmousemove: (event) => told(event, item), onmouseleave: untip,
        onclick: click && (() => click(item)) },
      s("rect", { x: left, y: top, width, height: BAR, rx: 3, style: `fill:${color(item)}`,
        class: item.status === "failed" ? "broken" : item.status === "running" ? "open" : null }),
      fits > 3 && s("text", { x: visible + 6, y: top + 13, class: "inbar" },
        label.length > fits ? `${label.slice(0, fits - 1)}…` : label)));
    }
    parts.push(this.label(y, title, `${bars.length}`), inside);
    return y + Math.max(1, lanesOf(bars)) * (BAR + GAP) + 10;
  }

  workers(parts, y) {
    let lanes = 0;
    for (const { executor, bars } of this.executors) {
      const count = lanesOf(bars);
      if (lanes + count > MAX_LANES && lanes) {
        parts.push(s("text", { x: 0, y: y + 12, class: "note" }, "… and more executors (table below)"));
        return y + 20;
      }
      lanes += count;
      parts.push(...this.label(y, nameOf(executor), `${count} at once`), this.tasks(bars, y));
      y += Math.max(count * this.lane, 14) + 8;
    }
    return y;
  }

  tasks(bars, y) {
    // One path for each colour: 20,000 elements would be slow.
    const paths = new Map(), last = [];
    const add = (color, x, top, width, height) =>
      paths.set(color, `${paths.get(color) || ""}M${x.toFixed(1)} ${top}h${width.toFixed(1)}v${height}h-${width.toFixed(1)}z`);
    for (const { item, lane, from, to } of bars) {
      if (to < this.view[0] || from > this.view[1]) continue;
      const x = this.x(from), width = Math.max(0.7, (to - from) * this.scale - (this.scale * (to - from) > 3 ? 0.8 : 0));
      const bad = BAD.has(item.outcome), top = y + lane * this.lane;
      if (!bad && last[lane] > x + width - 0.3) continue;
      last[lane] = x + width;
      const color = bad ? "var(--bad)" : item.outcome === "killed" ? "var(--off)" : hue(D.stages[item.stage].stage_id);
      add(color, x, top, width, this.lane - 2);
      if (item.wait && width > 2) add("var(--wait)", x, top, Math.min(1, item.wait / item.run) * width, this.lane - 2);
    }
    const inside = s("g", { "clip-path": "url(#clip)" },
      [...paths].map(([color, d]) => s("path", { d, style: `fill:${color}` })),
      s("rect", { x: GUTTER, y, width: this.width - GUTTER, height: lanesOf(bars) * this.lane, class: "catch",
        onmousemove: (event) => this.pointed(event, bars, y), onmouseleave: untip,
        onclick: (event) => { const bar = this.at(event, bars, y); if (bar) this.openStage(D.stages[bar.item.stage]); } }));
    return inside;
  }

  at(event, bars, y) {
    const box = this.node.getBoundingClientRect(), lane = Math.floor((event.clientY - box.top - y) / this.lane);
    const time = this.view[0] + (event.clientX - box.left - GUTTER) / this.scale, near = 2 / this.scale;
    return bars.find((bar) => bar.lane === lane && bar.from - near <= time && time <= bar.to + near);
  }

  pointed(event, bars, y) {
    const bar = this.at(event, bars, y);
    if (!bar) { untip(); return; }
    const stage = D.stages[bar.item.stage];
    tip(event, `Stage ${key(stage)}, partition ${bar.item.partition}`, taskFacts(bar.item));
  }

  drag(svg, height) {
    const shade = s("rect", { y: 20, height, class: "shade", visibility: "hidden" });
    let from = null;
    const at = (event) => Math.max(GUTTER, event.clientX - this.node.getBoundingClientRect().left);
    svg.append(shade);
    svg.addEventListener("pointerdown", (event) => { if (event.button === 0) from = at(event); });
    svg.addEventListener("pointermove", (event) => {
      if (from === null) return;
      fill(shade, { x: Math.min(from, at(event)), width: Math.abs(at(event) - from), visibility: "visible" }, []);
    });
    const done = (event) => {
      const to = at(event), begin = from;
      from = null;
      shade.setAttribute("visibility", "hidden");
      if (begin === null || Math.abs(to - begin) < 6) return;
      const time = (x) => this.view[0] + (x - GUTTER) / this.scale;
      this.zoom(time(Math.min(begin, to)), time(Math.max(begin, to)));
    };
    svg.addEventListener("pointerup", done);
    svg.addEventListener("pointerleave", () => { from = null; shade.setAttribute("visibility", "hidden"); });
    svg.addEventListener("dblclick", () => this.zoom(0, END));
  }
}
