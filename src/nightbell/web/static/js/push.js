// Has this browser told of messages: asks for leave, subscribes, and gives the address to the server.

const part = document.querySelector("[data-push]");
const says = part?.querySelector("[data-says]");
const button = part?.querySelector("button");

const bytes = (text) => {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (one) => one.charCodeAt(0));
};

const subscribe = async () => {
  if ((await Notification.requestPermission()) !== "granted") {
    throw new Error("This browser was told not to show notifications. Allow them in its settings for this site, then try again.");
  }
  await navigator.serviceWorker.register("/sw.js");
  const worker = await navigator.serviceWorker.ready;
  const made = await worker.pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: bytes(part.dataset.push),
  });
  const answer = await fetch(part.dataset.to, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": part.dataset.key },
    body: JSON.stringify(made),
  });
  if (answer.status === 422) throw new Error("This browser was not taken: it is in your list already, or too many were tried lately. Send it a test, or try later.");
  if (!answer.ok) throw new Error("The server did not take it. Reload the page and try again.");
};

if (part) {
  if (!("serviceWorker" in navigator && "PushManager" in window)) {
    says.textContent = "This browser cannot be woken by push. On an iPhone add Nightbell to the home screen first, and open it there.";
  } else {
    button.hidden = false;
    button.addEventListener("click", async () => {
      button.disabled = true;
      says.textContent = "";
      try {
        await subscribe();
        location.assign("?did=push");
      } catch (error) {
        says.textContent = error.name === "Error" ? error.message : "The browser's push service did not answer. Use text or phone call, or try later.";
        button.disabled = false;
      }
    });
  }
}
