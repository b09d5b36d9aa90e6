// Charts as inline SVG, drawn for the width that there is. A run has a colour and a shape, so that colour is never
// all that tells runs apart.

const SHAPES = [
  (x, y, r) => s("circle", { cx: x, cy: y, r }),
  (x, y, r) =>
    s("path", { d: `M${x} ${y - r * 1.25}l${r * 1.25} ${r * 1.25}-${r * 1.25} ${r * 1.25}-${r * 1.25}-${r * 1.25}z` }),
  (x, y, r) => s("rect", { x: x - r * 0.9, y: y - r * 0.9, width: r * 1.8, height: r * 1.8 }),
  (x, y, r) => s("path", { d: `M${x} ${y - r * 1.2}L${x + r * 1.15} ${y + r * 0.9}H${x - r * 1.15}z` }),
];
const COLOURS = 5;

const runClass = (run) => `run${run % COLOURS}`;
const shape = (run, x, y, r = 5) => SHAPES[run % SHAPES.length](x, y, r);

// A run's sign before its name: in tables, the list and the legends.
function sign(run) {
  return s(
    "svg",
    { class: `sign ${runClass(run)}`, viewBox: "0 0 14 14", width: 14, height: 14, "aria-hidden": "true" },
    shape(run, 7, 7),
  );
}

const runName = (run) => h("span", { class: "run-name" }, sign(run), said(RUNS[run].label));

// A box whose chart is drawn again when its width changes: draw(width) gives an SVG element.
function drawn(draw) {
  const box = h("div", { class: "chart" });
  let width = 0;
  const redraw = () => {
    if (box.clientWidth === width || !box.clientWidth) return;
    width = box.clientWidth;
    box.replaceChildren(draw(width));
  };
  new ResizeObserver(redraw).observe(box);
  return box;
}

function frame(width, height, label) {
  return s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
}

function text(x, y, value, attributes) {
  return s("text", { x, y, ...attributes }, value);
}

const tip = (value) => s("title", null, value);

// A dot with its interval for each run, on an axis from 0 to 1: values[run] = {value, interval} or null; `gap` is the
// height of the line that each stands on.
function whiskers(values, label, gap = 15) {
  return drawn((width) => {
    const height = gap * values.length + (gap > 20 ? 0 : 5);
    const x = (value) => 7 + value * (width - 14);
    const picture = frame(width, height, label);
    for (const at of [0, 0.25, 0.5, 0.75, 1]) {
      picture.append(s("line", { class: "grid", x1: x(at), x2: x(at), y1: 0, y2: height }));
    }
    values.forEach((point, run) => {
      if (!point || point.value === null) return;
      const y = gap * run + (gap > 20 ? gap / 2 : 10);
      const mark = s(
        "g",
        { class: runClass(run) },
        tip(`${RUNS[run].label}: ${fixed(point.value)} (${range(point.interval)})`),
      );
      if (point.interval) {
        const [from, to] = point.interval.map(x);
        mark.append(s("line", { class: "whisker", x1: from, x2: to, y1: y, y2: y }));
      }
      mark.append(shape(run, x(point.value), y));
      picture.append(mark);
    });
    return picture;
  });
}

const MARGIN = { left: 40, right: 10, top: 10, bottom: 34 };

// The axes of a chart whose y is a share: returns the picture and the scales.
function axes(width, height, top, label, ticks, caption) {
  const picture = frame(width, height, label);
  const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  const y = (value) => MARGIN.top + inner.height * (1 - value / top);
  for (let i = 0; i <= 4; i++) {
    const value = (top * i) / 4;
    picture.append(
      s("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
      text(MARGIN.left - 6, y(value) + 4, `${Math.round(100 * value)}%`, { "text-anchor": "end" }),
    );
  }
  for (const [at, name] of ticks) {
    picture.append(
      text(MARGIN.left + at * inner.width, height - MARGIN.bottom + 15, name, { "text-anchor": "middle" }),
    );
  }
  picture.append(
    text(MARGIN.left + inner.width / 2, height - 3, caption, { class: "caption", "text-anchor": "middle" }),
  );
  return { picture, y, x: (share) => MARGIN.left + share * inner.width };
}

// The smallest of some round shares that is not below the largest one drawn.
function roof(largest) {
  return [0.04, 0.1, 0.2, 0.4, 0.6, 0.8].find((limit) => largest <= limit) ?? 1;
}

// Bars of shares: bins[run][bin], names[bin]; choose(bin) when a bar is clicked.
function histogram(bins, names, label, caption, describe) {
  return drawn((width) => {
    const height = 210;
    const top = roof(Math.max(0, ...bins.flat()));
    const every = Math.ceil(names.length / Math.max(4, Math.floor(width / 46)));
    const ticks = names.map((name, i) => [(i + 0.5) / names.length, i % every ? "" : name]);
    const { picture, x, y } = axes(width, height, top, label, ticks, caption);
    const slot = (x(1) - x(0)) / names.length;
    const bar = Math.min(34, (slot * 0.8) / bins.length);
    bins.forEach((shares, run) => {
      shares.forEach((share, i) => {
        if (!share) return;
        const left = x(0) + slot * (i + 0.5) + bar * (run - bins.length / 2);
        const box = {
          x: left + 0.5,
          y: y(share),
          width: Math.max(1, bar - 1),
          height: Math.max(1, y(0) - y(share)),
          rx: 1.5,
        };
        picture.append(s("g", { class: `${runClass(run)} area` }, tip(describe(run, i, share)), s("rect", box)));
      });
    });
    return picture;
  });
}

// Stairs of shares: shares[run][i] is reached after i steps.
function stairs(shares, label, caption) {
  return drawn((width) => {
    const height = 210;
    const last = shares[0].length - 1;
    const top = roof(Math.max(0, ...shares.flat()));
    const every = Math.ceil((last + 1) / 12);
    const ticks = shares[0].map((_, i) => [i / Math.max(1, last), i % every ? "" : String(i)]);
    const { picture, x, y } = axes(width, height, top, label, ticks, caption);
    shares.forEach((line, run) => {
      const across = (i) => x(i / Math.max(1, last));
      const d = line.map((share, i) => (i ? `H${across(i)}V${y(share)}` : `M${across(0)} ${y(share)}`)).join("");
      const group = s("g", { class: `${runClass(run)} stairs` }, s("path", { d }));
      line.forEach((share, i) => {
        if (i && share === line[i - 1] && i !== last) return;
        group.append(
          s(
            "g",
            null,
            tip(`${RUNS[run].label}: ${percent(share)} right after ${plural(i, "step")}`),
            shape(run, across(i), y(share), 3.5),
          ),
        );
      });
      picture.append(group);
    });
    return picture;
  });
}
