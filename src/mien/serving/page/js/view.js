// What people see of the answers: boxes on the picture, bars of each face, a plot over time, and the strip of files.

import { percent } from "./answers.js";

const MOST_BARS = 10; // of a face; models may have a thousand labels
const MOST_TRACKS = 4; // in the plot
const SECONDS = 20; // of the camera in the plot

export function colourOf(model, label) {
  return model.colours[label % model.colours.length];
}

function make(kind, properties = {}, ...children) {
  const element = Object.assign(document.createElement(kind), properties);
  element.append(...children);
  return element;
}

/**
 * Draw boxes and labels into a picture of `scale` times the size in which the faces were found; `zoom` is how many of its pixels
 * are shown as one.
 */
export function drawFaces(context, frame, model, { scale = 1, mirrored = false, chosen = -1, zoom = 1 } = {}) {
  const [width, height] = [frame.width * scale, frame.height * scale];
  const line = Math.max(2 * zoom, Math.round(Math.max(width, height) / 320));
  const sizes = frame.faces.map(({ box }) => (box[2] - box[0]) * scale).sort((one, other) => one - other);
  const typical = sizes[Math.floor(sizes.length / 2)] ?? Infinity;
  const size = Math.min(Math.max(13 * zoom, typical / 6.5), Math.max(16 * zoom, Math.max(width, height) / 28));
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  frame.faces.forEach((face, number) => {
    context.globalAlpha = chosen < 0 || chosen === number ? 1 : 0.35;
    const [x1, y1, x2, y2] = face.box.map((edge) => edge * scale);
    const left = mirrored ? width - x2 : x1;
    const colour = colourOf(model, face.top);
    const rectangle = [left, y1, x2 - x1, y2 - y1];
    context.lineJoin = "round";
    context.setLineDash(face.unsure ? [4 * line, 2.5 * line] : []);
    for (const [ink, thickness] of [["rgb(0 0 0 / 0.75)", line * 2], [colour, line]]) {
      Object.assign(context, { strokeStyle: ink, lineWidth: thickness });
      context.strokeRect(...rectangle);
    }
    const text = `${nameOf(face, number, frame)}${face.label} ${percent(face.confidence)}${face.unsure ? "?" : ""}`;
    const [wide, high] = [context.measureText(text).width + size * 0.7, size * 1.45];
    const x = Math.max(0, Math.min(left - line / 2, width - wide));
    const y = y1 - high - line > 0 ? y1 - high - line : Math.min(y2 + line, height - high);
    context.fillStyle = colour;
    context.beginPath();
    context.roundRect(x, y, wide, high, size * 0.25);
    context.fill();
    context.fillStyle = "#111";
    context.fillText(text, x + size * 0.35, y + high * 0.53);
  });
  context.globalAlpha = 1;
  if (frame.faces.length) return;
  const text = "no face";
  context.fillStyle = "#fff";
  context.beginPath();
  context.roundRect(size / 2, size / 2, context.measureText(text).width + size * 0.7, size * 1.45, size * 0.25);
  context.fill();
  context.fillStyle = "#111";
  context.fillText(text, size * 0.85, size * 1.27);
}

/** The number of a face where there are several, or of its track. */
function nameOf({ track }, number, { faces }) {
  if (track !== undefined) return `#${track} `;
  return faces.length > 1 ? `${number + 1} ` : "";
}

function makeFace(labels) {
  const bars = Array.from({ length: labels }, () =>
    make("li", {}, make("span", { className: "name" }), make("span", { className: "track" }, make("i")), make("span", { className: "share" })),
  );
  const answer = make(
    "p",
    { className: "answer" },
    make("span", { className: "number" }),
    make("strong"),
    make("span", { className: "confidence" }),
    make("span", { className: "unsure", textContent: "unsure" }),
  );
  return make("li", { className: "face" }, answer, make("ul", { className: "bars" }, ...bars));
}

/** Show the bars of each face of a frame; the list's elements are used again, since the camera has many frames a second. */
export function showFaces(list, frame, model) {
  const faces = frame?.faces ?? [];
  const few = model.labels.length > MOST_BARS;
  while (list.children.length > faces.length) list.lastChild.remove();
  while (list.children.length < faces.length) list.append(makeFace(Math.min(MOST_BARS, model.labels.length)));
  faces.forEach((face, number) => {
    const [answer, bars] = list.children[number].children;
    const [count, label, confidence, unsure] = answer.children;
    list.children[number].style.setProperty("--colour", colourOf(model, face.top));
    count.textContent = nameOf(face, number, frame);
    label.textContent = face.label;
    confidence.textContent = percent(face.confidence);
    unsure.hidden = !face.unsure;
    let order = model.labels.map((_, index) => index);
    if (few) order = order.sort((one, other) => face.shares[other] - face.shares[one]).slice(0, MOST_BARS);
    order.forEach((index, row) => {
      const bar = bars.children[row];
      const [name, track, share] = bar.children;
      bar.classList.toggle("top", index === face.top);
      bar.style.setProperty("--colour", colourOf(model, index));
      name.textContent = name.title = model.labels[index];
      track.firstChild.style.transform = `scaleX(${face.shares[index]})`;
      share.textContent = percent(face.shares[index]);
    });
  });
  list.hidden = !faces.length;
}

export function showLegend(list, model) {
  const shown = model.labels.slice(0, 3 * MOST_BARS);
  list.replaceChildren(
    ...shown.map((name, index) => {
      const entry = make("li", { textContent: name });
      entry.style.setProperty("--colour", colourOf(model, index));
      return entry;
    }),
  );
}

/** Plot the probabilities of the tracks with the most frames as stacked areas over time. */
export function plotTracks(canvas, item, model, { live, now }) {
  const context = canvas.getContext("2d");
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const start = live ? Math.max(0, now - SECONDS) : 0;
  const end = live ? Math.max(SECONDS, now) : Math.max(now, item.last?.time ?? 0, 0.1);
  const tracks = new Map();
  for (const frame of item.frames) {
    if (frame.time < start) continue;
    for (const face of frame.faces) {
      if (!tracks.has(face.track)) tracks.set(face.track, []);
      tracks.get(face.track).push([frame.time, face.shares]);
    }
  }
  const most = [...tracks].sort((one, other) => other[1].length - one[1].length).slice(0, MOST_TRACKS);
  most.sort((one, other) => one[0] - other[0]);
  const [rowHeight, gap, left, foot] = [72, 10, 44, 22];
  const height = Math.max(1, most.length) * (rowHeight + gap) + foot;
  Object.assign(canvas, { width: width * ratio, height: height * ratio });
  canvas.style.height = `${height}px`;
  context.scale(ratio, ratio);
  const { color } = getComputedStyle(canvas);
  context.font = "13px system-ui, sans-serif";
  const across = (time) => left + ((width - left) * (time - start)) / (end - start);
  most.forEach(([track, points], row) => {
    const top = row * (rowHeight + gap);
    Object.assign(context, { fillStyle: color, textAlign: "left", textBaseline: "middle" });
    context.fillText(`#${track}`, 0, top + rowHeight / 2);
    for (const run of runs(points, gapOf(item))) areas(context, run, model, across, top, rowHeight);
  });
  Object.assign(context, { fillStyle: color, textBaseline: "bottom" });
  const step = [1, 2, 5, 10, 20, 60, 120, 300, 600].find((each) => (end - start) / each <= Math.max(2, width / 90)) ?? 1800;
  for (let time = Math.ceil(start / step) * step; time <= end; time += step) {
    context.textAlign = across(time) > width - 20 ? "right" : across(time) < left + 12 ? "left" : "center";
    context.fillText(`${time} s`, across(time), height);
  }
  const said = most.map(([track, points]) => `face #${track}: ${model.labels[argmax(mean(points))]} for the most part`);
  canvas.setAttribute("aria-label", `Probabilities over time. ${said.join("; ") || "No face yet"}.`);
}

const argmax = (values) => values.indexOf(Math.max(...values));
const mean = (points) => points[0][1].map((_, index) => points.reduce((sum, [, shares]) => sum + shares[index], 0));

/** Seconds without a face from which it was missing: three frames at the rate at which they were read. */
function gapOf({ frames }) {
  return Math.max(0.3, (3 * (frames.at(-1).time - frames[0].time)) / frames.length);
}

/** Divide the points of a track where its face was missing. */
function runs(points, gap) {
  const found = [[]];
  points.forEach((point, index) => {
    if (index && point[0] - points[index - 1][0] > gap) found.push([]);
    found.at(-1).push(point);
  });
  for (const run of found) if (run.length === 1) run.push([run[0][0] + 0.05, run[0][1]]); // to be seen
  return found;
}

function areas(context, points, model, across, top, height) {
  const bottoms = points.map(() => 0);
  model.labels.forEach((_, label) => {
    const place = (index) => [across(points[index][0]), top + height * (1 - bottoms[index])];
    context.beginPath();
    points.forEach((_, index) => context.lineTo(...place(index)));
    for (let index = points.length - 1; index >= 0; index--) {
      bottoms[index] += points[index][1][label];
      context.lineTo(...place(index));
    }
    context.fillStyle = colourOf(model, label);
    context.fill();
  });
}

/** Show the files as a row of buttons; `choose` is called with the one that is clicked. */
export function showStrip(list, items, current, choose) {
  list.hidden = items.length < 2;
  items.forEach((item, index) => {
    if (!list.children[index]) {
      const said = make("span", { className: "said" });
      const button = make("button", { type: "button" }, item.thumbnail ?? make("span", { className: "none" }), make("span", { textContent: item.name }), said);
      button.addEventListener("click", () => choose(item));
      list.append(make("li", {}, button));
    }
    const button = list.children[index].firstChild;
    if (item.thumbnail && button.firstChild !== item.thumbnail) button.firstChild.replaceWith(item.thumbnail);
    const waiting = item.kind === "photo" ? "waiting…" : item.kind;
    const said = item.error ? "not read" : item.isDone ? shortly(item) : waiting;
    if (button.lastChild.textContent !== said) button.lastChild.textContent = said;
    if (item === current && button.getAttribute("aria-current") !== "true") list.scrollLeft = list.children[index].offsetLeft - list.offsetLeft - 12;
    button.setAttribute("aria-current", String(item === current));
    button.title = item.name;
  });
}

function shortly({ kind, last }) {
  if (kind !== "photo") return kind;
  if (!last.faces.length) return "no face";
  return last.faces.length === 1 ? last.faces[0].label : `${last.faces.length} faces`;
}
