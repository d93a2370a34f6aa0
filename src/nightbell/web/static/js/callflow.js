// The editor of the call flow: sound buttons, and on a phone the panel comes to the thumb when a step is chosen.

let playing = null;

const stop = () => {
  if (!playing) return;
  playing.audio.pause();
  playing.button.classList.remove("is-playing");
  playing.button.querySelector(".sr-only").textContent = `Play ${playing.button.dataset.sound}`;
  playing = null;
};

const play = (button) => {
  stop();
  const audio = new Audio(button.href);
  playing = { audio, button };
  button.classList.add("is-playing");
  button.querySelector(".sr-only").textContent = `Stop ${button.dataset.sound}`;
  audio.addEventListener("ended", stop);
  audio.addEventListener("error", stop);
  audio.play().catch(stop);
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("a[data-sound]");
  if (!button) return;
  event.preventDefault();
  if (playing?.button === button) stop();
  else play(button);
});

// What a key that tells how far a message is does not need is put away.
const ofMessage = (root) => {
  const does = root.querySelector("[data-does]");
  const rest = root.querySelector("[data-of-message]");
  if (!does || !rest) return;
  const show = () => {
    rest.hidden = does.value !== "message";
  };
  does.addEventListener("change", show);
  show();
};

const ready = (root) => {
  for (const button of root.querySelectorAll("a[data-sound]")) button.setAttribute("role", "button");
  ofMessage(root);
};
ready(document);

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target?.id.startsWith("own-")) {
    // A recording came in by telephone.
    const part = document.getElementById(event.detail.target.id);
    ready(part);
    part.dispatchEvent(new CustomEvent("nb:fresh", { bubbles: true }));
    return;
  }
  if (event.detail.target?.id !== "line" && event.target.id !== "line") return;
  stop();
  const line = document.getElementById("line");
  ready(line);
  line.dispatchEvent(new CustomEvent("nb:fresh", { bubbles: true }));
  const panel = line.querySelector("[data-panel]");
  if (matchMedia("(max-width: 67.99rem)").matches) {
    panel.scrollIntoView({ block: "start" });
    panel.focus({ preventScroll: true });
  }
});

// Space acts on what is a button for readers.
document.addEventListener("keydown", (event) => {
  if (event.key === " " && event.target.matches("a[data-sound]")) {
    event.preventDefault();
    event.target.click();
  }
});
