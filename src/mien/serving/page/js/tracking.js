// Tracks of faces over time, and probabilities smoothed along them, as in mien/inference/pipeline.py.

const LIFETIME = 2; // seconds that a track survives without its face
const MIN_OVERLAP = 0.3;
const SPEED_SMOOTHING = 0.1; // seconds

/** Intersection over union of two boxes [x1, y1, x2, y2]; 0 if both are empty. */
export function overlap(one, other) {
  const area = ([x1, y1, x2, y2]) => Math.max(0, x2 - x1) * Math.max(0, y2 - y1);
  const [x1, y1] = [Math.max(one[0], other[0]), Math.max(one[1], other[1])];
  const common = area([x1, y1, Math.min(one[2], other[2]), Math.min(one[3], other[3])]);
  const union = area(one) + area(other) - common;
  return union > 0 ? common / union : 0;
}

/** Update an exponential moving average of irregularly spaced values. */
export function smooth(before, now, elapsed, constant) {
  if (!constant) return now;
  const weight = -Math.expm1(-Math.max(0, elapsed) / constant);
  return now.map((value, index) => before[index] + weight * (value - before[index]));
}

/** Tracks the faces of one video or camera. */
export class Tracker {
  #tracks = [];
  #count = 0;
  #time = 0;

  /** Return the number of the track of each box of the next frame. */
  update(boxes, time) {
    time = Math.max(this.#time, time);
    this.#tracks = this.#tracks.filter((track) => track.seen === this.#time || time - track.seen <= LIFETIME);
    this.#time = time;
    const matches = new Map();
    for (const extrapolate of [1, 0]) {
      const pairs = [];
      for (const track of this.#tracks.filter((each) => ![...matches.values()].includes(each))) {
        const place = track.box.map((edge, index) => edge + extrapolate * track.speed[index % 2] * (time - track.seen));
        boxes.forEach((box, index) => matches.has(index) || pairs.push([overlap(place, box), index, track]));
      }
      for (const [share, index, track] of pairs.sort((one, other) => other[0] - one[0])) {
        const isFree = !matches.has(index) && ![...matches.values()].includes(track);
        if (share >= MIN_OVERLAP && isFree) matches.set(index, track);
      }
    }
    return boxes.map((box, index) => {
      if (!matches.has(index)) {
        matches.set(index, { number: this.#count++, box, seen: time, speed: [0, 0] });
        this.#tracks.push(matches.get(index));
      }
      const track = matches.get(index);
      const elapsed = time - track.seen;
      if (elapsed > 0) {
        const middle = ([x1, y1, x2, y2]) => [(x1 + x2) / 2, (y1 + y2) / 2];
        const before = middle(track.box);
        const speed = middle(box).map((value, axis) => (value - before[axis]) / elapsed);
        track.speed = smooth(track.speed, speed, elapsed, SPEED_SMOOTHING);
      }
      [track.box, track.seen] = [box, time];
      return track.number;
    });
  }
}
