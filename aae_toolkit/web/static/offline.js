// Service worker: serves the page from the copy of the last visit if the server is unreachable.

const CACHE = "aae-page";
const FILES = [
  "./", "index.html", "style.css", "icon.svg", "main.js", "deep.js", "drawing.js", "explorer.js", "files.js", "model.js",
  "pixels.js", "prepare.js", "samples.js", "selftest.js", "show.js", "strokes.js", "model.json", "golden.json",
  "samples.json", "classifier.onnx", "decoder.onnx", "runtime/ort.js", "runtime/ort.wasm",
];

addEventListener("install", (event) => {
  skipWaiting();
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)));
});

addEventListener("activate", (event) => event.waitUntil(clients.claim()));

async function answer(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(request);
    if (!kept) throw error;
    return kept;
  }
}

addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});
