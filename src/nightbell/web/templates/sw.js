// The service worker: a push is empty, and what it shows is always the same. It keeps nothing and answers no request.

const words = {{ words|safe }};

const pair = () => words[(self.navigator.language || "en").slice(0, 2)] ?? words.en;

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("push", (event) => {
  const [title, body] = pair();
  event.waitUntil(
    self.registration.showNotification(title, { body, tag: "nightbell", renotify: true, requireInteraction: true }),
  );
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(
    self.clients.matchAll({ type: "window" }).then((open) => {
      const page = open.find((one) => "focus" in one);
      return page ? page.focus().then(() => page.navigate("/")) : self.clients.openWindow("/");
    }),
  );
});
