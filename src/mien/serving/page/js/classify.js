// The classifier: faces in, probabilities out.

import { cropFace, prepare } from "./framing.js";

/** Classify faces of an image: for each the probabilities by every head of the model, {head: [...]}. */
export async function classify(session, ort, model, image, faces) {
  if (!faces.length) return [];
  const { size, channels, heads, labels } = model;
  const length = size * size * channels;
  const pixels = new Uint8Array(faces.length * length);
  faces.forEach((face, index) => pixels.set(prepare(cropFace(image, face, model.framing), size, channels), index * length));
  const shape = channels === 1 ? [faces.length, size, size] : [faces.length, size, size, channels];
  const outputs = await session.run({ faces: new ort.Tensor("uint8", pixels, shape) });
  return faces.map((_, index) => {
    const rows = Object.entries(heads).map(([name, { output }]) => {
      const start = index * labels.length;
      return [name, Array.from(outputs[output].data.slice(start, start + labels.length))];
    });
    return Object.fromEntries(rows);
  });
}
