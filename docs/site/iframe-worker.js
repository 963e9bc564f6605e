// Browsers start no worker for a page opened from the disk, so there the site's search runs in a hidden frame instead.
// Material for MkDocs looks for this name; by default it would load such a script from another host.
window.IFrameWorker = class extends EventTarget {
  constructor(url) {
    super();
    const frame = Object.assign(document.createElement("iframe"), { hidden: true });
    document.body.append(frame);
    this.inside = frame.contentWindow;
    const load = (source) =>
      new Promise((resolve) => {
        const script = Object.assign(this.inside.document.createElement("script"), { src: source, onload: resolve });
        this.inside.document.body.append(script);
      });
    this.inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
    this.inside.importScripts = (...sources) =>
      sources.reduce((before, source) => before.then(() => load(source)), Promise.resolve());
    this.loaded = load(url);
  }

  postMessage(data) {
    this.loaded.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
  }
};
if (location.protocol === "file:") window.Worker = window.IFrameWorker;
