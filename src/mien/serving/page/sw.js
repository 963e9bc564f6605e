// Keeps the page, so that it opens without a network: the network first, what was kept otherwise. Nothing else is kept.

const CACHE = "mien-page";

addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const { files } = await (await fetch("page.json", { cache: "no-cache" })).json();
      const cache = await caches.open(CACHE);
      await cache.addAll(["./", ...files.filter((name) => !name.endsWith(".txt"))]);
      await skipWaiting();
    })(),
  );
});

addEventListener("activate", (event) => event.waitUntil(clients.claim()));

addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && event.request.url.startsWith(registration.scope)) event.respondWith(answer(event.request));
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, { ignoreSearch: true });
  try {
    const fresh = await fetch(request);
    if (kept && fresh.ok) await cache.put(request, fresh.clone());
    return fresh;
  } catch (error) {
    if (kept) return kept;
    throw error;
  }
}
