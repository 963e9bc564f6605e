// The page's side of the worker: a question is an image, the answer the faces in it.

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const waiting = new Map();
let count = 0;

/** What models/model.json says, when the model can be used. */
export const ready = new Promise((resolve, reject) => {
  worker.onmessage = ({ data }) => {
    if (data.kind === "ready") resolve(data.model);
    else if (data.kind === "failed") reject(new Error(data.error));
    else {
      waiting.get(data.number)(data);
      waiting.delete(data.number);
    }
  };
  worker.onerror = ({ message }) => reject(new Error(message || "this browser is too old"));
});

/** Find the faces in a file or a bitmap: {width, height, faces, picture}, the last a bitmap, or {error}. */
export function find(question, transfer = []) {
  return new Promise((resolve) => {
    waiting.set(++count, resolve);
    worker.postMessage({ number: count, ...question }, transfer);
  });
}
