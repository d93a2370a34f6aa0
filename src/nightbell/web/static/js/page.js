// What every page has: running clocks, a toast that goes by itself, the list of keys.

const pad = (n) => String(n).padStart(2, "0");

export const stopwatch = (seconds) => {
  const s = Math.max(0, Math.floor(seconds));
  const rest = `${pad(s % 60)}`;
  return s >= 3600
    ? `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${rest}`
    : `${Math.floor(s / 60)}:${rest}`;
};

// Only what a hand is not already doing: typing, or a dialog.
export const busy = (event) =>
  event.ctrlKey || event.metaKey || event.altKey ||
  event.target.closest("input, textarea, select, [contenteditable]") ||
  document.querySelector("dialog[open]");

// The server said how long ago; the client only counts on, so a wrong clock at the client does no harm.
const started = performance.now();
const clocks = [...document.querySelectorAll("[data-run]")];
const tick = () => {
  const passed = (performance.now() - started) / 1000;
  for (const el of clocks) {
    const s = Number(el.dataset.run) + passed;
    if (s < 36000) el.textContent = stopwatch(s);
    else el.textContent = `${Math.floor(s / 3600)} h ${pad(Math.floor(s / 60) % 60)} m`;
  }
};
if (clocks.length) {
  tick();
  setInterval(tick, 1000);
}

const toast = document.querySelector("[data-toast]");
if (toast) {
  // The address must not tell the same again at the next reload.
  const here = new URL(location.href);
  here.searchParams.delete("did");
  history.replaceState(null, "", here);
  let left = 10;
  setInterval(() => {
    if (toast.matches(":hover, :focus-within")) return;
    if (--left <= 0) toast.remove();
  }, 1000);
}

const keys = document.getElementById("keys");
document.addEventListener("keydown", (event) => {
  if (!keys || busy(event)) return;
  if (event.key === "?") {
    event.preventDefault();
    keys.showModal();
  }
});

// The words of the button say that it is done; where the browser refuses, the text is marked for the hand to copy.
document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.querySelector("span").textContent = button.dataset.copied;
  } catch {
    getSelection().selectAllChildren(text);
  }
});

document.querySelector("[data-print]")?.addEventListener("click", () => print());
