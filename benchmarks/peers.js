// One npm package of peers.py, with its own model and its own preprocessing, in tfjs's WebAssembly backend on one thread.
// node peers.js NAME FOLDER FACES COUNT REPEATS, where FACES has 48 x 48 gray bytes a face. Prints one line of JSON.
const fs = require("fs");
const path = require("path");

const [name, folder, file, count, repeats] = process.argv.slice(2);
const find = require("module").createRequire(path.resolve(folder, "peers.js"));
const modules = path.resolve(folder, "node_modules");
const own = path.join(modules, "@vladmandic", name);
const wasm = path.join(modules, "@tensorflow/tfjs-backend-wasm/dist/");
const backend = find("@tensorflow/tfjs-backend-wasm");
const bytes = fs.readFileSync(file);
const SIDE = 48;

const openers = {
  // The documented call for a face that is cropped already takes a tensor of RGB from 0 to 255.
  async "face-api"() {
    backend.setWasmPaths(wasm);
    const api = find(path.join(own, "dist/face-api.node-wasm.js"));
    await api.tf.setBackend("wasm");
    await api.tf.ready();
    for (const each of [api.nets.ssdMobilenetv1, api.nets.faceExpressionNet]) await each.loadFromDisk(path.join(own, "model"));
    const gray = api.tf.fill([300, 300, 3], 128);
    return {
      tf: api.tf,
      classify: async (face) => Object.entries({ ...(await api.nets.faceExpressionNet.predictExpressions(face)) }),
      faceless: async () => JSON.stringify(await api.detectAllFaces(gray).withFaceExpressions()),
    };
  },
  // `detect` takes whole photos only, so its loaded model is used, with the steps of src/gear/emotion.ts.
  async human() {
    global.fetch = async (url) => new Response(fs.readFileSync(new URL(url)));
    const { Human } = find(path.join(own, "dist/human.node-wasm.js"));
    const off = { enabled: false };
    const human = new Human({
      backend: "wasm", wasmPath: wasm, modelBasePath: `file://${own}/models/`, body: off, hand: off, gesture: off,
      face: { description: off, iris: off },
    });
    await human.load();
    const { tf } = human;
    const names = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"];
    const classify = async (face) => {
      const answer = tf.tidy(() => {
        const resized = tf.image.resizeBilinear(tf.expandDims(tf.div(face, 255), 0), [64, 64], false);
        const gray = tf.sum(tf.mul(resized, tf.tensor1d([0.2989, 0.587, 0.114])), 3, true);
        return human.models.models.emotion.execute(tf.mul(tf.sub(gray, 0.5), 2));
      });
      const shares = await answer.data();
      tf.dispose(answer);
      return names.map((each, place) => [each, shares[place]]);
    };
    return { tf, classify, faceless: async () => JSON.stringify((await human.detect(tf.fill([300, 300, 3], 128))).face) };
  },
};

async function main() {
  const log = console.log;
  console.log = console.error;
  const { tf, classify, faceless } = await openers[name]();
  const one = async (row) => {
    const gray = bytes.subarray(row * SIDE * SIDE, (row + 1) * SIDE * SIDE);
    const face = tf.tidy(() => tf.tile(tf.tensor3d(Float32Array.from(gray), [SIDE, SIDE, 1]), [1, 1, 3]));
    const answer = await classify(face);
    tf.dispose(face);
    return answer;
  };
  const answers = [];
  for (let row = 0; row < Number(count); row++) answers.push(await one(row));
  const times = [];
  for (let turn = 0; turn < Number(repeats) + 5; turn++) {
    const start = performance.now();
    await one(turn);
    times.push(performance.now() - start);
  }
  const { version } = JSON.parse(fs.readFileSync(path.join(own, "package.json")));
  const labels = (await one(0)).map(([label]) => label);
  const shares = answers.map((row) => row.map(([, share]) => share));
  log(JSON.stringify({ version, labels, shares, times: times.slice(5), faceless: await faceless() }));
}

main();
