// From a detected face to the pixels of the classifier, as crop_face in mien/inference/detection.py and prepare in mien/images.py.

import { crop, resize, round, toGray, transform } from "./images.js";

/** The point halfway between eyes and mouth; landmarks are [[x, y], ...] in the order of YuNet. */
export function centreOf({ landmarks: [left, right, , leftMouth, rightMouth] }) {
  return [0, 1].map((axis) => (left[axis] + right[axis] + leftMouth[axis] + rightMouth[axis]) / 4);
}

/** The scale of a face in pixels. */
export function extentOf({ landmarks: [left, right, , leftMouth, rightMouth] }) {
  const across = Math.hypot(right[0] - left[0], right[1] - left[1]);
  const down = [0, 1].map((axis) => (leftMouth[axis] + rightMouth[axis] - left[axis] - right[axis]) / 2);
  return Math.hypot(across, Math.hypot(...down));
}

/** Crop the square around a face, rotated upright, at the image's own resolution; its side is in extents of the face. */
export function cropFace(image, face, framing) {
  const length = framing.side * extentOf(face);
  const angle = (face.angle * Math.PI) / 180;
  const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
  const [centreX, centreY] = centreOf(face);
  const x = centreX + sine * framing.rise * length;
  const y = centreY - cosine * framing.rise * length;
  const side = Math.max(1, round(length));
  const reach = Math.ceil((length * (Math.abs(cosine) + Math.abs(sine))) / 2) + 2;
  const [left, top] = [Math.floor(x) - reach, Math.floor(y) - reach];
  const near = crop(image, left, top, 2 * reach + 1, 2 * reach + 1);
  const scale = length / side;
  const [a, b, d, e] = [cosine * scale, -sine * scale, sine * scale, cosine * scale];
  const half = side / 2;
  return transform(near, side, side, [a, b, x - left - (a + b) * half, d, e, y - top - (d + e) * half]);
}

/** Prepare a face for the network: uint8 (size, size) or (size, size, 3), by a triangle filter. */
export function prepare(face, size, channels) {
  if (channels === 1) return resize(toGray(face), size, size, "triangle", undefined, 1).data;
  const { data } = resize(face, size, size, "triangle");
  return Uint8ClampedArray.from({ length: size * size * 3 }, (_, index) => data[Math.floor(index / 3) * 4 + (index % 3)]);
}
