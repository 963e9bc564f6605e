// YuNet's boxes, scores and landmarks, searched as by mien/inference/detection.py: at several sizes, and turned if need be.

import { centreOf } from "./framing.js";
import { crop, reduce, resize, round, transform } from "./images.js";
import { overlap } from "./tracking.js";

const sizeOf = ({ box: [x1, y1, x2, y2] }) => [x2 - x1, y2 - y1];
const largestSide = (face) => Math.max(...sizeOf(face));
const byScore = (one, other) => other.score - one.score;
const best = (faces, otherwise) => faces.reduce((most, face) => (face.score > most.score ? face : most), otherwise ?? faces[0]);

/** The faces whose boxes do not overlap an earlier one by more than this intersection over union. */
export function distinct(faces, most) {
  const kept = [];
  for (const face of faces) if (kept.every((other) => overlap(other.box, face.box) <= most)) kept.push(face);
  return kept;
}

/** Map a face: points by the rotation and scale [a, b, c, d] and the shift; a box by its middle. */
function moved(face, [a, b, c, d], [shiftX, shiftY], degrees = 0) {
  const map = ([x, y]) => [a * x + b * y + shiftX, c * x + d * y + shiftY];
  const scale = Math.sqrt(Math.abs(a * d - b * c));
  const [x1, y1, x2, y2] = face.box;
  const [x, y] = map([(x1 + x2) / 2, (y1 + y2) / 2]);
  const half = [((x2 - x1) * scale) / 2, ((y2 - y1) * scale) / 2];
  if (Math.abs(Math.sin((degrees * Math.PI) / 180)) > Math.sin(Math.PI / 4)) half.reverse();
  const box = [x - half[0], y - half[1], x + half[0], y + half[1]];
  return { box, score: face.score, landmarks: face.landmarks.map(map), angle: face.angle + degrees };
}

/** Turn an image counterclockwise on a canvas that holds all of it; also the rotation and the shift into it. */
function turned(image, degrees) {
  const [cosine, sine] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
  const { width, height } = image;
  const across = Math.ceil(Math.abs(cosine) * width + Math.abs(sine) * height - 1e-6);
  const down = Math.ceil(Math.abs(sine) * width + Math.abs(cosine) * height - 1e-6);
  const shift = [across / 2 - (cosine * width + sine * height) / 2, down / 2 - (-sine * width + cosine * height) / 2];
  const back = [cosine, -sine, -(cosine * shift[0] - sine * shift[1]), sine, cosine, -(sine * shift[0] + cosine * shift[1])];
  return { canvas: transform(image, across, down, back), cosine, sine, shift };
}

export class YuNet {
  #session;
  #ort;
  #search; // detection.yaml, which says what the numbers mean

  constructor(session, ort, search) {
    [this.#session, this.#ort, this.#search] = [session, ort, search];
  }

  /** Find the faces of an image, largest first; `turn` searches it turned where there seems to be none. */
  async detect(image, turn = true) {
    const longest = Math.max(image.width, image.height);
    const most = Math.min(longest, this.#search.sizes.at(-1));
    const sizes = [...new Set(this.#search.sizes.map((size) => Math.max(this.#search.smallest_size, Math.min(size, most))))].sort((one, other) => one - other);
    let faces = [];
    for (const size of sizes) {
      const found = await this.#findResized(image, size);
      const scale = size / longest;
      const certain = found.filter((face) => face.score >= this.#search.min_score);
      const better = certain.filter((face) => largestSide(face) * scale <= this.#search.large_face);
      faces = [...better, ...faces, ...certain.filter((face) => !better.includes(face))];
      const smallest = faces.length ? Math.min(...faces.map(largestSide)) * scale : 0;
      const inDoubt = size < this.#search.sizes[1] && found.length > certain.length;
      if (!inDoubt && smallest >= this.#search.small_face && 2 * size >= most) break;
    }
    if (!faces.length && turn) {
      const found = await this.#findResized(image, this.#search.rotated_size, [90, -90, 180]);
      found.push(...(await this.#findResized(image, this.#search.rotated_size / 2, [45, -45, 135, -135])));
      faces = found.filter((face) => face.score >= this.#search.sure_score).sort(byScore);
    }
    const area = (face) => sizeOf(face)[0] * sizeOf(face)[1];
    faces = distinct(faces, this.#search.duplicate).sort((one, other) => area(other) - area(one));
    const refined = [];
    for (const face of faces) refined.push(await this.#refined(image, face));
    return refined;
  }

  /** Search again around a face that is tilted or scores low, upright: landmarks of tilted faces are inexact. */
  async #refined(image, face) {
    if (Math.abs(face.angle) < this.#search.tilted && face.score >= this.#search.sure_score) return face;
    const reach = this.#search.refined_radius * largestSide(face);
    const centre = centreOf(face);
    const [left, top] = centre.map((value) => Math.max(0, round(value - reach)));
    const right = Math.min(image.width, round(centre[0] + reach) + 1);
    const bottom = Math.min(image.height, round(centre[1] + reach) + 1);
    const near = crop(image, left, top, right - left, bottom - top);
    const searched = async (before, ...turns) => {
      const degrees = turns.map((turn) => before.angle + turn);
      const found = (await this.#findResized(near, this.#search.refined_size, degrees)).filter((other) => other.score >= this.#search.min_score);
      const here = found.map((other) => moved(other, [1, 0, 0, 1], [left, top])).filter((other) => {
        const [x, y] = centreOf(other);
        return Math.hypot(x - centre[0], y - centre[1]) < largestSide(face) / 2; // no neighbour
      });
      return here.length ? best(here) : before;
    };
    let found = await searched(face, 0);
    if (found.score < this.#search.sure_score) found = best([found, await searched(found, 60, 120, 180, 240, 300)]);
    else if (Math.abs(found.angle) >= this.#search.far_tilted) found = best([found, await searched(found, 180)]);
    return searched(found, 0);
  }

  /** Search an image with its longest side resized to `longest` pixels, turned counterclockwise by each of these angles. */
  async #findResized(image, longest, degrees = [0]) {
    const scale = longest / Math.max(image.width, image.height);
    let resized = image;
    if (scale !== 1) {
      const [width, height] = [image.width, image.height].map((side) => Math.max(1, round(side * scale)));
      const across = Math.max(1, Math.trunc(image.width / width / 2));
      const down = Math.max(1, Math.trunc(image.height / height / 2));
      const reduced = across > 1 || down > 1 ? reduce(image, across, down) : image;
      const span = [Math.fround(image.width / across), Math.fround(image.height / down)];
      resized = resize(reduced, width, height, scale < 1 ? "box" : "cubic", span);
    }
    const faces = [];
    for (const angle of degrees) {
      const { canvas, cosine, sine, shift } = angle ? turned(resized, angle) : { canvas: resized, cosine: 1, sine: 0, shift: [0, 0] };
      const back = [cosine, -sine, sine, cosine].map((value) => value / scale);
      const home = [-(cosine * shift[0] - sine * shift[1]) / scale, -(sine * shift[0] + cosine * shift[1]) / scale];
      for (const face of await this.#find(canvas)) faces.push(moved(face, back, home, angle));
    }
    return faces;
  }

  async #find({ data, width, height }) {
    const [columns, rows] = [width, height].map((side) => Math.ceil(side / 32) * 32);
    const pixels = new Float32Array(3 * rows * columns); // BGR
    for (let y = 0; y < height; y++) {
      for (let x = 0, at = y * width * 4, to = y * columns; x < width; x++, at += 4, to++) {
        pixels[to] = data[at + 2];
        pixels[to + rows * columns] = data[at + 1];
        pixels[to + 2 * rows * columns] = data[at];
      }
    }
    const input = new this.#ort.Tensor("float32", pixels, [1, 3, rows, columns]);
    const outputs = await this.#session.run({ [this.#session.inputNames[0]]: input });
    const found = [];
    for (const stride of this.#search.strides) {
      const [classes, objects, boxes, points] = ["cls", "obj", "bbox", "kps"].map((name) => outputs[`${name}_${stride}`].data);
      const clip = (value) => Math.min(1, Math.max(0, value));
      const across = columns / stride;
      for (let cell = 0; cell < classes.length; cell++) {
        const score = Math.sqrt(clip(classes[cell]) * clip(objects[cell]));
        if (score < this.#search.uncertain_score) continue;
        const corner = [cell % across, Math.floor(cell / across)];
        const [x, y] = corner.map((value, axis) => (value + boxes[4 * cell + axis]) * stride);
        const [halfX, halfY] = [2, 3].map((side) => (Math.exp(boxes[4 * cell + side]) * stride) / 2);
        const landmarks = [0, 1, 2, 3, 4].map((point) =>
          corner.map((value, axis) => (points[10 * cell + 2 * point + axis] + value) * stride),
        );
        const [left, right] = landmarks;
        const angle = (Math.atan2(right[1] - left[1], right[0] - left[0]) * 180) / Math.PI;
        found.push({ box: [x - halfX, y - halfY, x + halfX, y + halfY], score, landmarks, angle });
      }
    }
    return distinct(found.sort(byScore), this.#search.overlap);
  }
}
