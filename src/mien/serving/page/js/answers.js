// What was found becomes rows, as those of `mien predict`: JSON with the keys of Prediction.to_dict, CSV with its columns.

import { smooth, Tracker } from "./tracking.js";

const LANDMARKS = ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"];
const TINY = 2 ** -126; // float32's smallest: 0 stands for a probability below it
const MOST_FRAMES = 20_000; // of one video or camera; the first are dropped beyond that

/** Weight probabilities for labels that are all equally often (power 1), as often as in training (0), or between these. */
export function reweight(probabilities, training, power) {
  if (!power || !training) return probabilities;
  const least = Math.min(...training.filter((share) => share > 0));
  const weighted = probabilities.map((value, index) => Math.max(value, TINY) / Math.max(training[index], least) ** power);
  const sum = weighted.reduce((total, value) => total + value, 0);
  return weighted.map((value) => value / sum);
}

/** A photo, a video or the camera, and what was found in each of its frames. */
export class Item {
  frames = []; // {frame, time, width, height, faces}; a photo has one, without frame and time
  error = "";
  #tracker = new Tracker();
  #averages = new Map(); // of each track: [probabilities, time]

  constructor(name, kind, file = null) {
    Object.assign(this, { name, kind, file });
  }

  get isDone() {
    return this.frames.length > 0 || this.error !== "";
  }

  get last() {
    return this.frames.at(-1);
  }

  /** Add what was found in a frame; a time before the last one starts anew, as when a video is played again. */
  add(found, model, settings) {
    if (found.time !== undefined) {
      if (this.last && found.time < this.last.time) this.#restart();
      const tracks = this.#tracker.update(found.faces.map((face) => face.box), found.time);
      found.faces.forEach((face, index) => (face.track = tracks[index]));
      found.faces.sort((one, other) => one.track - other.track);
      if (this.frames.length >= MOST_FRAMES) this.frames.splice(0, MOST_FRAMES / 10);
    }
    this.frames.push(found);
    this.#settle(found, model, settings);
  }

  /** Compute all probabilities again, after a change of the settings. */
  update(model, settings) {
    this.#averages.clear();
    for (const frame of this.frames) this.#settle(frame, model, settings);
  }

  #restart() {
    this.frames = [];
    this.#tracker = new Tracker();
    this.#averages.clear();
  }

  #settle(frame, model, { head, power, threshold }) {
    for (const face of frame.faces) {
      let shares = reweight(face.heads[head], model.heads[head].training, power);
      if (frame.time !== undefined) {
        const [before, time] = this.#averages.get(face.track) ?? [shares, frame.time];
        shares = smooth(before, shares, frame.time - time, model.smoothing);
        this.#averages.set(face.track, [shares, frame.time]);
      }
      const top = shares.indexOf(Math.max(...shares));
      Object.assign(face, { shares, top, label: model.labels[top], confidence: shares[top], unsure: shares[top] < threshold });
    }
  }

  /** The rows of all frames. */
  rows(model) {
    if (this.error) return [{ source: this.name, error: this.error }];
    return this.frames.flatMap((frame) => this.#frameRows(frame, model));
  }

  #frameRows({ frame, time, faces }, model) {
    const start = { source: this.name, ...(time === undefined ? {} : { frame, time: rounded(time, 3) }) };
    if (!faces.length) return [{ ...start, no_face: true }];
    return faces.map((face, number) => ({
      ...start,
      ...(face.track === undefined ? {} : { track: face.track }),
      face: number,
      box: face.box.map((edge) => rounded(edge, 1)),
      score: rounded(face.score, 4),
      landmarks: Object.fromEntries(LANDMARKS.map((name, index) => [name, face.landmarks[index].map((at) => rounded(at, 1))])),
      angle: rounded(face.angle, 1),
      label: face.label,
      confidence: rounded(face.confidence, 6),
      unsure: face.unsure,
      probabilities: Object.fromEntries(model.labels.map((name, index) => [name, rounded(face.shares[index], 6)])),
    }));
  }
}

const rounded = (value, digits) => Number(value.toFixed(digits));

export function toJson(rows) {
  return rows.length ? `[\n${rows.map((row) => JSON.stringify(row)).join(",\n")}\n]\n` : "[]\n";
}

export function toCsv(rows, columns) {
  const lines = rows.map((row) => {
    const values = { ...row, no_face: row.no_face ?? false };
    [values.x1, values.y1, values.x2, values.y2] = row.box ?? [];
    for (const [name, [x, y]] of Object.entries(row.landmarks ?? {})) [values[`${name}_x`], values[`${name}_y`]] = [x, y];
    return columns.map(([name, type]) => cell((type === "float32" ? row.probabilities ?? {} : values)[name], type)); // labels are float32
  });
  return [columns.map(([name]) => cell(name, "string")), ...lines].map((line) => `${line.join(",")}\n`).join("");
}

/** Write a value as Python does. */
function cell(value, type) {
  if (value === undefined || value === null) return "";
  if (type === "bool") return value ? "True" : "False";
  if (type.startsWith("float")) return Number.isInteger(value) ? `${value}.0` : pythonNumber(value);
  return /[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
}

/** Write a number that is not whole: Python writes 1e-05 where JavaScript writes 0.00001. */
function pythonNumber(value) {
  return Math.abs(value) < 1e-4 ? value.toExponential().replace(/e-(\d)$/, "e-0$1") : String(value);
}

/** Say in one line what was found in a frame. */
export function describe({ faces }) {
  if (!faces.length) return "No face found";
  const answers = faces.map((face) => `${face.label} ${percent(face.confidence)}${face.unsure ? ", unsure" : ""}`);
  const few = answers.slice(0, 5).join("; ");
  return `${faces.length} ${faces.length === 1 ? "face" : "faces"}: ${few}${answers.length > 5 ? "; and more" : ""}`;
}

export function percent(share) {
  return `${Math.round(100 * share)}%`;
}
