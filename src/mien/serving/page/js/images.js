// The arithmetic of Pillow, bit by bit, so that a face gives the same pixels as in Python; only where a newer Pillow resizes rows
// before columns, some differ by 1. An image is {data, width, height} with
// four bytes a pixel, as ImageData; the fourth is not used.

const FILTERS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  triangle: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  cubic: [2, (x) => cubic(Math.abs(x))],
};
const BITS = 22; // of the fixed-point weights in Resample.c
const HALF = 1 << (BITS - 1);

function cubic(x) {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? -0.5 * (((x - 5) * x + 8) * x - 4) : 0;
}

/** Round half to even, as Python does. */
export function round(value) {
  const nearest = Math.round(value);
  return nearest - value === 0.5 && nearest % 2 ? nearest - 1 : nearest;
}

/** For each of `to` pixels the first of the pixels it is made of, how many there are, and `most` weights, as whole numbers. */
function weights(from, span, to, filter) {
  const [reach, shape] = FILTERS[filter];
  const scale = span / to;
  const stretch = Math.max(1, scale);
  const support = reach * stretch;
  const most = Math.ceil(support) * 2 + 1;
  const table = { most, first: new Int32Array(to), count: new Int32Array(to), shares: new Int32Array(to * most) };
  for (let index = 0; index < to; index++) {
    const centre = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const count = Math.min(from, Math.trunc(centre + support + 0.5)) - first;
    const shares = Array.from({ length: count }, (_, step) => shape((step + first - centre + 0.5) * (1 / stretch)));
    const sum = shares.reduce((total, share) => total + share, 0);
    const whole = shares.map((share) => (sum ? share / sum : share) * (1 << BITS));
    table.first[index] = first;
    table.count[index] = count;
    table.shares.set(whole.map((share) => Math.trunc(share < 0 ? share - 0.5 : share + 0.5)), index * most);
  }
  return table;
}

/** Resize rows to the width of the table; `bytes` a pixel, of which three count if there are four. */
function resizeAcross(source, target, { most, first, count, shares }, width, height, bytes) {
  const across = first.length;
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < across; x++, to += bytes) {
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      let at = (y * width + first[x]) * bytes;
      for (let each = x * most, end = each + count[x]; each < end; each++, at += bytes) {
        const share = shares[each];
        red = (red + Math.imul(source[at], share)) | 0;
        if (bytes === 1) continue;
        green = (green + Math.imul(source[at + 1], share)) | 0;
        blue = (blue + Math.imul(source[at + 2], share)) | 0;
      }
      target[to] = red >> BITS; // a Uint8ClampedArray clips
      if (bytes === 1) continue;
      target[to + 1] = green >> BITS;
      target[to + 2] = blue >> BITS;
    }
  }
}

/** Resize columns to the height of the table, a row of bytes at a time. */
function resizeDown(source, target, { most, first, count, shares }, length) {
  const sums = new Int32Array(length);
  for (let y = 0; y < first.length; y++) {
    sums.fill(HALF);
    for (let each = 0; each < count[y]; each++) {
      const share = shares[y * most + each];
      const row = (first[y] + each) * length;
      for (let at = 0; at < length; at++) sums[at] += Math.imul(source[row + at], share);
    }
    for (let at = 0, to = y * length; at < length; at++, to++) target[to] = sums[at] >> BITS;
  }
}

/** Resize an image, or an array of one byte a pixel with `bytes` 1; `span` is the part of it in pixels that is used. */
export function resize(image, width, height, filter, span = [image.width, image.height], bytes = 4) {
  let { data, width: across } = image;
  if (width !== across || span[0] !== across) {
    const narrow = new Uint8ClampedArray(width * image.height * bytes);
    resizeAcross(data, narrow, weights(across, span[0], width, filter), across, image.height, bytes);
    [data, across] = [narrow, width];
  }
  if (height !== image.height || span[1] !== image.height) {
    const low = new Uint8ClampedArray(width * height * bytes);
    resizeDown(data, low, weights(image.height, span[1], height, filter), width * bytes);
    data = low;
  }
  return { data, width, height };
}

/** Average blocks of `across` x `down` pixels; those at the right and bottom edges may be smaller. */
export function reduce(image, across, down) {
  const width = Math.ceil(image.width / across);
  const height = Math.ceil(image.height / down);
  const data = new Uint8ClampedArray(width * height * 4);
  for (let y = 0; y < height; y++) {
    const bottom = Math.min(image.height, (y + 1) * down);
    for (let x = 0; x < width; x++) {
      const right = Math.min(image.width, (x + 1) * across);
      const count = (bottom - y * down) * (right - x * across);
      const factor = Math.floor(2 ** 24 / count);
      const half = Math.floor(count / 2);
      let red = half;
      let green = half;
      let blue = half;
      for (let row = y * down; row < bottom; row++) {
        for (let at = (row * image.width + x * across) * 4, end = (row * image.width + right) * 4; at < end; at += 4) {
          red += image.data[at];
          green += image.data[at + 1];
          blue += image.data[at + 2];
        }
      }
      const at = (y * width + x) * 4;
      data[at] = Math.floor((red * factor) / 2 ** 24);
      data[at + 1] = Math.floor((green * factor) / 2 ** 24);
      data[at + 2] = Math.floor((blue * factor) / 2 ** 24);
    }
  }
  return { data, width, height };
}

/** Take each pixel of a new image from where the matrix [a, b, c, d, e, f] says, between pixels linearly; gray is outside. */
export function transform(image, width, height, [a, b, c, d, e, f]) {
  const { data, width: columns, height: rows } = image;
  const target = new Uint8ClampedArray(width * height * 4).fill(128);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const fromX = a * (x + 0.5) + b * (y + 0.5) + c;
      const fromY = d * (x + 0.5) + e * (y + 0.5) + f;
      if (!(fromX >= 0 && fromX < columns && fromY >= 0 && fromY < rows)) continue;
      const left = Math.floor(fromX - 0.5);
      const top = Math.floor(fromY - 0.5);
      const shareX = fromX - 0.5 - left;
      const shareY = fromY - 0.5 - top;
      const x1 = Math.max(0, left) * 4;
      const x2 = Math.min(columns - 1, left + 1) * 4;
      const above = Math.max(0, top) * columns * 4;
      const below = top + 1 < rows ? (top + 1) * columns * 4 : above;
      const at = (y * width + x) * 4;
      for (let channel = 0; channel < 3; channel++) {
        const one = data[above + x1 + channel] + (data[above + x2 + channel] - data[above + x1 + channel]) * shareX;
        const other = data[below + x1 + channel] + (data[below + x2 + channel] - data[below + x1 + channel]) * shareX;
        target[at + channel] = Math.trunc(one + (other - one) * shareY);
      }
    }
  }
  return { data: target, width, height };
}

/** Copy a rectangle of an image; pixels outside repeat the border. */
export function crop(image, left, top, width, height) {
  const from = new Uint32Array(image.data.buffer, image.data.byteOffset, image.width * image.height);
  const target = new Uint32Array(width * height);
  for (let y = 0; y < height; y++) {
    const row = Math.min(image.height - 1, Math.max(0, top + y)) * image.width;
    for (let x = 0; x < width; x++) target[y * width + x] = from[row + Math.min(image.width - 1, Math.max(0, left + x))];
  }
  return { data: new Uint8ClampedArray(target.buffer), width, height };
}

/** Return the luma of ITU-R BT.601, one byte a pixel. */
export function toGray({ data, width, height }) {
  const gray = new Uint8ClampedArray(width * height);
  for (let pixel = 0, at = 0; pixel < gray.length; pixel++, at += 4) {
    gray[pixel] = (data[at] * 19595 + data[at + 1] * 38470 + data[at + 2] * 7471 + 0x8000) >> 16;
  }
  return { data: gray, width, height };
}
