// Decodes images, and finds and classifies their faces, beside the page's own thread.

import * as ort from "../ort/ort.wasm.bundle.min.mjs";
import { classify } from "./classify.js";
import { YuNet } from "./detection.js";

const MOST_PIXELS = 100e6; // of an image, as in Python; four bytes each
const FOLDER = new URL("../", import.meta.url);

const ready = open();
ready.then(
  (opened) => postMessage({ kind: "ready", model: opened.model }),
  (error) => postMessage({ kind: "failed", error: String(error.message ?? error) }),
);

async function load(name) {
  const answer = await fetch(new URL(name, FOLDER));
  if (!answer.ok) throw new Error(`${name} cannot be loaded (status ${answer.status})`);
  return answer;
}

async function loadBytes(name) {
  return new Uint8Array(await (await load(name)).arrayBuffer());
}

/** Load WebAssembly that is compressed by gzip, unless the server has said so and the browser has unpacked it. */
async function loadRuntime() {
  const bytes = await loadBytes("ort/ort-wasm-simd-threaded.wasm.gzip");
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}

async function open() {
  const describe = load("models/model.json").then((answer) => answer.json());
  const [runtime, detector, [model, classifier]] = await Promise.all([
    loadRuntime(),
    loadBytes("models/yunet.onnx"),
    describe.then(async (model) => [model, await loadBytes(`models/${model.file}`)]),
  ]);
  Object.assign(ort.env.wasm, { wasmBinary: runtime.buffer, numThreads: 1 }); // two are no faster on two cores
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(classifier);
  return { model, session, yunet: new YuNet(await ort.InferenceSession.create(detector), ort, model.search) };
}

/** Find and classify the faces of an image. */
async function find({ model, session, yunet }, image, turn) {
  const { width, height } = image;
  const faces = await yunet.detect(image, turn);
  const answers = await classify(session, ort, model, image, faces);
  const found = faces.map(({ box, score, landmarks, angle }, index) => {
    const [x1, y1, x2, y2] = box;
    const clipped = [Math.max(0, x1), Math.max(0, y1), Math.min(width, x2), Math.min(height, y2)];
    return { box: clipped, score, landmarks, angle: 180 - modulo(180 - angle, 360), heads: answers[index] };
  });
  return { width, height, faces: found };
}

const modulo = (value, divisor) => value - divisor * Math.floor(value / divisor);

/** The pixels of a bitmap, on white where it is transparent. */
function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new Error(`has ${Math.round((width * height) / 1e6)} megapixels, and the limit is 100`);
  const context = new OffscreenCanvas(width, height).getContext("2d", { alpha: false, willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, width, height);
}

async function decode(file) {
  try {
    return await createImageBitmap(file, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    throw new Error(file.size ? "is damaged, or not in a format that this browser reads; save it as JPEG or PNG" : "is empty (0 bytes)");
  }
}

let before = Promise.resolve(); // one image after another
onmessage = ({ data: { number, file, bitmap } }) => {
  before = before.then(async () => {
    try {
      const opened = await ready;
      const picture = bitmap ?? (await decode(file));
      const result = await find(opened, pixelsOf(picture), !bitmap);
      postMessage({ kind: "found", number, ...result, picture }, [picture]);
    } catch (error) {
      postMessage({ kind: "found", number, error: String(error.message ?? error) });
    }
  });
};
