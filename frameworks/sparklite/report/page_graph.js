// Which stage reads which: columns by distance from the beginning, lines as thick as what went through the shuffle.
const BOX = { width: 188, height: 46, across: 66, down: 14 };

function graphOf(jobs) {
  // The newest attempt of each stage; skipped ones where a job names them.
  const newest = new Map(D.stages.map((stage) => [stage.stage_id, stage])), nodes = new Map();
  const visit = (id, skipped) => {
    if (nodes.has(id)) return;
    const stage = newest.get(id);
    nodes.set(id, { id, stage, skipped, parents: stage ? stage.parents : [] });
    for (const parent of stage ? stage.parents : []) visit(parent, null);
  };
  for (const job of jobs) {
    for (const id of job.stage_ids) if (newest.has(id) && !(id in job.skipped)) visit(id, null);
    for (const [id, name] of Object.entries(job.skipped)) if (nodes.has(Number(id)) || jobs.length === 1) {
      nodes.delete(Number(id));
      visit(Number(id), name);
    }
  }
  for (const node of nodes.values()) node.parents = node.parents.filter((id) => nodes.has(id));
  return nodes;
}

function columnsOf(nodes) {
  const depths = new Map();
  const depth = (id) => {
    if (!depths.has(id)) {
      depths.set(id, 0);
      depths.set(id, 1 + Math.max(-1, ...nodes.get(id).parents.map(depth)));
    }
    return depths.get(id);
  };
  const columns = [];
  for (const node of [...nodes.values()].sort((a, b) => a.id - b.id)) {
    node.column = depth(node.id);
    (columns[node.column] = columns[node.column] || []).push(node);
  }
  // Each beside its parents, so that few lines cross.
  for (const column of columns) {
    const place = (node) => sum(node.parents, (id) => nodes.get(id).row) / (node.parents.length || 1);
    if (column[0].column) column.sort((a, b) => place(a) - place(b) || a.id - b.id);
    column.forEach((node, row) => { node.row = row; });
  }
  return columns;
}

function drawGraph(jobs, openStage) {
  const nodes = graphOf(jobs), columns = columnsOf(nodes), rows = most(columns, (column) => column.length);
  const height = rows * (BOX.height + BOX.down) + 4, width = columns.length * (BOX.width + BOX.across) - BOX.across + 4;
  for (const column of columns) for (const node of column) {
    node.x = 2 + node.column * (BOX.width + BOX.across);
    node.y = 2 + (node.row + (rows - column.length) / 2) * (BOX.height + BOX.down);
  }
  const largest = most(D.stages, (stage) => stage.totals.shuffle_write_bytes) || 1;
  const lines = [...nodes.values()].flatMap((node) => node.parents.map((id) => {
    const parent = nodes.get(id), written = parent.stage ? parent.stage.totals.shuffle_write_bytes : 0;
    const x1 = parent.x + BOX.width, y1 = parent.y + BOX.height / 2, x2 = node.x, y2 = node.y + BOX.height / 2, mid = (x2 - x1) / 2;
    const line = s("path", { d: `M${x1} ${y1}C${x1 + mid} ${y1} ${x2 - mid} ${y2} ${x2} ${y2}`, class: "edge",
      "stroke-width": (1.2 + 7 * Math.sqrt(written / largest)).toFixed(1) });
    const near = x2 - x1 < BOX.across + 1 && written > 0;
    return [line, near && s("text", { x: (x1 + x2) / 2, y: (y1 + y2) / 2 - 7, class: "note", "text-anchor": "middle" }, bytes(written))];
  }));
  const boxes = [...nodes.values()].map((node) => graphBox(node, openStage));
  return h("div", { class: "scroll graph" },
    s("svg", { width, height, role: "img", "aria-label": "which stage reads which" }, lines, boxes));
}

function graphBox(node, openStage) {
  const { stage, skipped } = node, name = skipped || (stage ? stage.name : "forgotten");
  const faint = skipped !== null || !stage, seen = stage && !faint;
  return s("g", { class: `box ${faint ? "faint" : ""} ${seen ? stage.status : ""}`, transform: `translate(${node.x} ${node.y})`,
    onmousemove: (event) => tip(event, `Stage ${node.id}: ${name}`, seen ? stageFacts(stage) : [["", skipped ? "skipped: its outputs were there" : ""]]),
    onmouseleave: untip, onclick: () => seen && openStage(stage) },
  s("rect", { width: BOX.width, height: BOX.height, rx: 6, class: "frame" }),
  s("rect", { width: 5, height: BOX.height, rx: 2, style: `fill:${faint ? "var(--off)" : hue(node.id)}` }),
  s("text", { x: 13, y: 18, class: "strong" }, `${node.id}  ${name.length > 21 ? `${name.slice(0, 20)}…` : name}`),
  s("text", { x: 13, y: 35, class: "note" }, faint ? (skipped ? "skipped" : "") : `${stage.tasks} tasks · ${dur(stage.duration_ms)}${stage.attempt ? ` · attempt ${stage.attempt + 1}` : ""}`));
}
