// Photos, videos and the camera come in; what people see and what programs read goes out.

import { describe, Item, percent, toCsv, toJson } from "./answers.js";
import { find, ready } from "./engine.js";
import { drawFaces, plotTracks, showFaces, showLegend, showStrip } from "./view.js";

const LONGEST = 2048; // pixels of a photo on the page
const THUMBNAIL = 208; // pixels
const BARS_EVERY = 80; // milliseconds, of moving pictures
const PLOTTED_EVERY = 200; // milliseconds
const SAID_EVERY = 2500; // milliseconds, for screen readers, while pictures move
const HEADS = { crowd: "ten people would vote", label: "the training data are labelled" };

const $ = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const items = [];
const settings = { head: "", power: 0, threshold: 0 };
let model = null;
let current = null; // the item on the stage
let moving = null; // the video or camera that is being watched: {item, stream, mirrored, start}
let chosen = -1; // the face that the pointer is on
let queue = Promise.resolve(); // photos are read one after another
let [listed, plotted, said] = [0, 0, 0]; // when the bars and the plot were drawn last, and something was said to screen readers

// ---------------------------------------------------------------- what comes in

function addFiles(files) {
  const added = [...files].map((file) => {
    const isVideo = file.type.startsWith("video/") || /\.(mp4|m4v|mov|webm|mkv|avi|ogv)$/i.test(file.name);
    return new Item(file.name || "pasted picture", isVideo ? "video" : "photo", file);
  });
  if (!added.length) return;
  items.push(...added);
  show(added[0]);
  for (const item of added) if (item.kind === "photo") queue = queue.then(() => readPhoto(item));
}

async function readPhoto(item) {
  await ready.catch(() => {});
  if (!model) return;
  const { error, picture, width, height, faces } = await find({ file: item.file });
  if (error) item.error = `${item.name} ${error}.`;
  else {
    item.add({ width, height, faces }, model, settings);
    item.thumbnail = shrunk(picture, THUMBNAIL);
    if (item === current) item.canvas = shrunk(picture, LONGEST);
    picture.close();
  }
  if (item === current) show(item);
  else showStrip($.strip, items, current, show);
}

const decode = (file) => createImageBitmap(file, { colorSpaceConversion: "none", imageOrientation: "from-image" });

/** Draw a picture into a canvas whose longest side has at most so many pixels. */
function shrunk(picture, longest) {
  const scale = Math.min(1, longest / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
  const context = canvas.getContext("2d");
  Object.assign(context, { fillStyle: "white", imageSmoothingQuality: "high" });
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

async function useCamera() {
  const isOn = Boolean(moving?.stream);
  stop();
  if (isOn) return showAtOnce();
  try {
    if (!navigator.mediaDevices) throw new DOMException("", "InsecureContext");
    const wanted = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 }, facingMode: "user" };
    const stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    const mirrored = stream.getVideoTracks()[0].getSettings().facingMode !== "environment";
    const item = new Item("camera", "camera");
    items.push(item);
    moving = { item, stream, mirrored, start: performance.now() };
    stream.getVideoTracks()[0].onended = stop;
    $.video.srcObject = stream;
    $.camera.setAttribute("aria-pressed", "true");
    $.camera.textContent = "Stop the camera";
    show(item);
    await $.video.play();
    watch(moving);
  } catch (error) {
    const reasons = {
      NotAllowedError: "The camera is not allowed; allow it for this page in the browser's settings.",
      NotFoundError: "There is no camera.",
      NotReadableError: "The camera cannot be read; another program may be using it.",
      InsecureContext: "The browser gives the camera only to pages from https or from this machine (127.0.0.1).",
    };
    stop();
    show(current);
    complain(reasons[error.name] ?? `The camera cannot be used (${error.message}).`);
  }
}

function openVideo(item) {
  moving = { item, url: URL.createObjectURL(item.file), mirrored: false };
  const watched = moving;
  $.video.controls = true;
  $.video.src = watched.url;
  $.video.onerror = () => {
    if (moving !== watched) return;
    item.error = `${item.name} is damaged, or not a video that this browser plays; save it as MP4 (H.264) or WebM.`;
    show(item);
  };
  $.video.play().catch(() => {}); // there are controls
  watch(watched);
}

function stop() {
  if (!moving) return;
  for (const track of moving.stream?.getTracks() ?? []) track.stop();
  if (moving.url) URL.revokeObjectURL(moving.url);
  moving = null;
  Object.assign($.video, { srcObject: null, onerror: null, controls: false });
  $.video.removeAttribute("src");
  $.video.load();
  $.rate.hidden = true;
  $.camera.setAttribute("aria-pressed", "false");
  $.camera.textContent = "Use the camera";
}

const nextFrame = (video) =>
  new Promise((resolve) => {
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback((_, { mediaTime, presentedFrames }) => resolve([mediaTime, presentedFrames]));
    else requestAnimationFrame(() => resolve([video.currentTime, undefined]));
  });

/** Take the next frame of the camera or the video: [bitmap, time in seconds, number]. */
async function grab(watched) {
  const [mediaTime, presented] = await nextFrame($.video);
  if (moving !== watched || !$.video.videoWidth) return [null];
  const time = watched.stream ? (performance.now() - watched.start) / 1000 : mediaTime;
  return [await createImageBitmap($.video).catch(() => null), time, presented];
}

/** Find the faces in the frames of a moving picture, as many as there is time for; the next is taken meanwhile. */
async function watch(watched) {
  await ready.catch(() => {});
  const times = [];
  let first;
  let next = grab(watched);
  for (let count = 0; model && moving === watched; count++) {
    const [bitmap, time, presented = count] = await next;
    next = grab(watched);
    if (!bitmap) continue;
    const found = await find({ bitmap }, [bitmap]);
    if (moving !== watched || found.error) continue;
    first ??= presented;
    const { item } = watched;
    const { width, height, faces, picture } = found;
    item.add({ frame: presented - first, time, width, height, faces }, model, settings);
    item.picture?.close();
    item.picture = picture;
    times.push(performance.now());
    if (times.length > 30) times.shift();
    const rate = ((times.length - 1) * 1000) / (times.at(-1) - times[0]);
    if (times.length > 5) $.rate.textContent = `${Math.round(rate)} frames/s`;
    $.rate.hidden = times.length <= 5;
    $.rate.dataset.frames = item.frames.length;
    item.thumbnail ??= shrunk(picture, THUMBNAIL);
    showFrame(item);
    if (count === 0) showStrip($.strip, items, current, show);
  }
}

// ---------------------------------------------------------------- what people see

/** Put an item on the stage. */
async function show(item) {
  if (moving && moving.item !== item) stop();
  [current, chosen] = [item, -1];
  const isMoving = item !== null && item.kind !== "photo";
  $.empty.hidden = item !== null;
  $.frame.hidden = item === null || item.error !== "";
  $.frame.className = isMoving ? `moving ${item.kind}` : "still";
  $.faces.className = isMoving ? "" : "still";
  $.video.hidden = !isMoving;
  $.timeline.hidden = !isMoving || item.error !== "";
  if (isMoving) $.timeline.append($.legend);
  complain(item?.error ?? "");
  showStrip($.strip, items, item, show);
  showDownloads(item);
  if (!item) return showNothing();
  if (item.kind === "video" && !moving && !item.error) openVideo(item);
  if (item.kind === "photo" && item.isDone && !item.error) item.canvas ??= shrunk(await decode(item.file), LONGEST);
  for (const other of items) if (other !== item) other.canvas = null; // large ones take memory
  if (item === current) showFrame(item);
}

function showNothing() {
  $.summary.textContent = "Each face gets a probability for each expression:";
  $.faces.hidden = true;
  $.answers.append($.legend);
  $.legend.hidden = false;
}

function showFrame(item) {
  const frame = item.last;
  const { width, height } = item.canvas ?? frame ?? { width: 640, height: 480 };
  Object.assign($.picture, { width, height });
  const context = $.picture.getContext("2d");
  if (item.kind !== "video") drawPicture(context, item.canvas ?? item.picture, moving?.mirrored);
  const zoom = Math.max(1, width / ($.picture.clientWidth || width));
  if (frame) drawFaces(context, frame, model, { scale: width / frame.width, mirrored: moving?.mirrored, chosen, zoom });
  showDownloads(item);
  announce(item);
  if (item.kind !== "photo" && frame && performance.now() - listed < BARS_EVERY) return;
  listed = performance.now();
  $.summary.textContent = frame ? summary(frame) : item.error ? "The file could not be read." : "Looking for faces…";
  $.legend.hidden = item.kind === "photo";
  showFaces($.faces, item.error ? null : frame, model ?? { labels: [] });
  $.picture.setAttribute("aria-label", frame ? `${item.name}. ${describe(frame)}` : item.name);
  if (item.kind !== "photo" && model && performance.now() - plotted > PLOTTED_EVERY) {
    plotted = performance.now();
    const now = moving?.stream ? (plotted - moving.start) / 1000 : $.video.duration || 0;
    plotTracks($.plot, item, model, { live: item.kind === "camera", now });
  }
}

/** Draw a picture into a canvas of its size; what the camera shows is the frame that was searched. */
function drawPicture(context, picture, mirrored = false) {
  if (!picture) return;
  context.setTransform(mirrored ? -1 : 1, 0, 0, 1, mirrored ? picture.width : 0, 0);
  context.drawImage(picture, 0, 0);
  context.resetTransform();
}

function showDownloads(item) {
  $.clear.disabled = !items.length;
  $.json.disabled = $.csv.disabled = !items.some((each) => each.isDone);
  $.image.disabled = !item?.frames.length;
}

function showAtOnce() {
  [listed, plotted] = [0, 0];
  if (current) showFrame(current);
}

function summary({ faces }) {
  if (!faces.length) return "No face found. Faces of 10 pixels and more are found, turned ones too, but not from the side or behind.";
  const unsure = faces.filter((face) => face.unsure).length;
  const note = unsure ? `, ${unsure === faces.length ? "" : `${unsure} `}unsure` : "";
  return `${faces.length} ${faces.length === 1 ? "face" : "faces"}${note}`;
}

function announce(item) {
  const text = item.error || (item.last ? describe(item.last) : "");
  const labels = item.kind === "photo" ? text : item.last?.faces.map((face) => face.label).join(", ") || "No face found";
  const isSoon = item.kind !== "photo" && performance.now() - said < SAID_EVERY;
  if (!text || isSoon || $.told.dataset.labels === `${item.name}: ${labels}`) return;
  said = performance.now();
  $.told.dataset.labels = `${item.name}: ${labels}`;
  $.told.textContent = item.kind === "photo" ? `${item.name}: ${text}` : labels;
}

function complain(sentence) {
  $.problem.textContent = sentence;
  $.problem.hidden = !sentence;
}

function showSettings() {
  const { training } = model.heads[settings.head];
  $.head.value = settings.head;
  $.prior.disabled = !training;
  [$.prior.value, $.threshold.value] = [settings.power, settings.threshold];
  const names = { 0: "as in training", 1: "balanced" };
  $["prior-value"].textContent = training ? names[settings.power] ?? settings.power.toFixed(2) : "unknown";
  $["threshold-value"].textContent = percent(settings.threshold);
  $.prior.setAttribute("aria-valuetext", $["prior-value"].textContent);
  $.threshold.setAttribute("aria-valuetext", $["threshold-value"].textContent);
}

function changeSettings(changes) {
  Object.assign(settings, changes);
  showSettings();
  for (const item of items) item.update(model, settings);
  showAtOnce();
  showStrip($.strip, items, current, show);
}

const defaults = (head = model.head) => ({ head, power: model.heads[head].power, threshold: model.threshold });

// ---------------------------------------------------------------- what goes out

function save(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const rows = () => items.filter((item) => item.isDone).flatMap((item) => item.rows(model));

/** Save the picture on the stage at its own size, with its faces drawn in. */
async function saveImage() {
  const item = current;
  const canvas = shrunk(item.picture ?? (await decode(item.file)), Infinity);
  drawFaces(canvas.getContext("2d"), item.last, model);
  canvas.toBlob((blob) => save(`${item.name.replace(/\.[^.]*$/, "")}-faces.jpg`, blob), "image/jpeg", 0.92);
}

// ---------------------------------------------------------------- wiring

$.choose.onclick = () => $.files.click();
$.files.onchange = () => {
  addFiles($.files.files);
  $.files.value = "";
};
$.camera.onclick = useCamera;
$.video.onpause = showAtOnce;
$.example.onclick = async () => {
  const answer = await fetch("example.jpg");
  addFiles([new File([await answer.blob()], "example.jpg", { type: "image/jpeg" })]);
};
$.clear.onclick = () => {
  items.length = 0;
  $.strip.replaceChildren();
  show(null);
  $.choose.focus();
};
$.json.onclick = () => save("faces.json", toJson(rows()), "application/json");
$.csv.onclick = () => save("faces.csv", toCsv(rows(), model.columns), "text/csv");
$.image.onclick = saveImage;
$.prior.oninput = () => changeSettings({ power: Number($.prior.value) });
$.threshold.oninput = () => changeSettings({ threshold: Number($.threshold.value) });
$.head.onchange = () => changeSettings({ head: $.head.value, power: defaults($.head.value).power });
$.settings.onreset = (event) => {
  event.preventDefault();
  changeSettings(defaults());
};
$.faces.onpointerover = ({ target }) => choose([...$.faces.children].indexOf(target.closest(".face")));
$.faces.onpointerleave = () => choose(-1);
function choose(number) {
  if (chosen === number || !current) return;
  chosen = number;
  showFrame(current);
}
addEventListener("paste", ({ clipboardData }) => addFiles(clipboardData?.files ?? []));
let depth = 0; // of the elements that something is dragged over
addEventListener("dragenter", () => document.body.classList.toggle("over", ++depth > 0));
addEventListener("dragleave", () => document.body.classList.toggle("over", --depth > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("over");
  addFiles(event.dataTransfer.files);
});

try {
  model = await ready;
  $.state.textContent = `${model.name} is ready`;
  $.state.className = "ready";
  $.about.textContent = [`mien ${model.version}`, `model ${model.name}`, model.licence].filter(Boolean).join(" · ");
  const heads = Object.keys(model.heads);
  $["head-row"].hidden = heads.length < 2;
  $.head.replaceChildren(...heads.map((head) => new Option(HEADS[head] ?? head, head)));
  Object.assign(settings, defaults());
  showLegend($.legend, model);
  showSettings();
  document.body.dataset.ready = String(Math.round(performance.now()));
  navigator.serviceWorker?.register("sw.js").catch(() => {}); // not from other hosts without https
} catch (error) {
  $.state.textContent = "The model cannot be loaded";
  $.state.className = "failed";
  complain(`The model cannot be loaded: ${error.message}.`);
}
