// The player: sound by Range from the sealed recording, words that light up with it, and an honest count of what was heard.
import { busy, stopwatch } from "./page.js";

const SPEEDS = [1, 1.25, 1.5, 2, 0.75];

// One recording with its words. The first on a page is the message itself: keys and the line "heard by you" are its.
const player = (box, main) => {
  const sheet = box.closest("[data-sound]");
  const audio = box.querySelector("audio");
  const length = Number(box.dataset.length);
  const wave = box.querySelector(".nb-wave");
  const bars = [...wave.querySelectorAll("rect:not([data-mark]):not(.head)")];
  const head = wave.querySelector(".head");
  const words = [...sheet.querySelectorAll("[data-words] [data-at]")];
  const playButton = box.querySelector("[data-play]");
  const nowText = box.querySelector("[data-now]");
  const trouble = box.querySelector("[data-trouble]");
  let until = null;
  let wanted = null;

  const show = () => {
    const t = audio.currentTime;
    const share = length ? t / length : 0;
    nowText.textContent = stopwatch(t);
    head.setAttribute("x", Math.min(718, share * 720).toFixed(1));
    bars.forEach((bar, i) => bar.classList.toggle("played", (i + 0.5) / bars.length <= share));
    const begun = t > 0 && !(audio.ended && t === 0);
    for (const word of words) {
      const start = Number(word.dataset.at);
      const end = Number(word.dataset.end);
      word.classList.toggle("at", begun && !audio.ended && t >= start && t < end);
      word.classList.toggle("ahead", begun && t < start);
    }
    if (until !== null && t >= until) {
      until = null;
      audio.pause();
    }
  };

  const frame = () => {
    show();
    if (!audio.paused) requestAnimationFrame(frame);
  };

  // Sound is fetched only when somebody asks to hear it: fetching is playing, and playing is logged.
  const play = (from = null, to = null) => {
    trouble.hidden = true;
    until = to;
    if (from !== null) {
      if (audio.readyState > 0) audio.currentTime = from;
      else wanted = from;
    }
    audio.play().catch(() => {});
  };

  const skip = (seconds) => {
    const to = Math.max(0, Math.min(length, audio.currentTime + seconds));
    if (audio.readyState > 0) audio.currentTime = to;
    show();
  };

  audio.addEventListener("loadedmetadata", () => {
    if (wanted !== null) audio.currentTime = wanted;
    wanted = null;
  });
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    box.classList.add("is-playing");
    playButton.setAttribute("aria-label", "Pause");
    requestAnimationFrame(frame);
  });
  for (const stop of ["pause", "ended"]) {
    audio.addEventListener(stop, () => {
      box.classList.remove("is-playing");
      playButton.setAttribute("aria-label", audio.ended ? "Play again" : "Play");
      show();
      tellHere();
    });
  }
  audio.addEventListener("seeked", show);
  // Wide sound has twice as many; the WAV's header tells (RIFF: average bytes a second, at 28).
  const bytesASecond = async () => {
    const answer = await fetch(audio.src, { headers: { Range: "bytes=28-31" }, cache: "no-store" });
    return answer.status === 206 ? new DataView(await answer.arrayBuffer()).getUint32(0, true) : 16000;
  };
  // The element does not tell why: ask for the piece that it could not have.
  const PIECE = 512 * 1024;
  const damaged = async () => {
    const have = audio.buffered.length ? audio.buffered.end(audio.buffered.length - 1) : 0;
    const second = await bytesASecond();
    const first = 44 + second * Math.floor(Math.max(have, audio.currentTime, wanted ?? 0));
    for (const at of [first, first + PIECE]) {
      const answer = await fetch(audio.src, { headers: { Range: `bytes=${at}-` }, cache: "no-store" });
      if (answer.status !== 206) return answer.status === 502;
    }
    return false;
  };
  const later = trouble.textContent;
  audio.addEventListener("error", async () => {
    const told = await damaged().catch(() => false);
    trouble.textContent = told ? trouble.dataset.damaged : later;
    trouble.hidden = false;
  });

  playButton.addEventListener("click", () => (audio.paused ? play() : audio.pause()));
  for (const button of box.querySelectorAll("[data-skip]")) {
    button.addEventListener("click", () => skip(Number(button.dataset.skip)));
  }
  box.querySelector("[data-speed]").addEventListener("click", () => {
    audio.playbackRate = SPEEDS[(SPEEDS.indexOf(audio.playbackRate) + 1) % SPEEDS.length];
    box.querySelector("[data-rate]").textContent = `${audio.playbackRate}×`;
  });
  wave.addEventListener("click", (event) => {
    const place = wave.getBoundingClientRect();
    play(((event.clientX - place.left) / place.width) * length);
  });

  for (const button of document.querySelectorAll("[data-hear]")) {
    const own = button.closest("[data-sound]");
    if (own ? own !== sheet : !main) continue;
    button.addEventListener("click", () => {
      const from = Math.max(0, Number(button.dataset.hear) - 0.4);
      const to = button.dataset.until ? Number(button.dataset.until) + 0.3 : null;
      play(from, to);
    });
  }
  for (const button of sheet.querySelectorAll("[data-part]")) {
    button.addEventListener("click", () => play(Number(button.dataset.part)));
  }
  for (const button of main ? document.querySelectorAll("[data-last]") : []) {
    button.addEventListener("click", () => {
      const end = audio.currentTime > 0 && !audio.ended ? audio.currentTime : length;
      play(Math.max(0, end - Number(button.dataset.last)));
    });
  }

  // Words are one tab stop; arrows walk, Enter plays from there.
  const focusable = (word) => {
    for (const other of words) {
      other.removeAttribute("tabindex");
      other.removeAttribute("role"); // a hundred buttons would bury the sentence for a reader
    }
    word.setAttribute("tabindex", "0");
    word.setAttribute("role", "button");
    return word;
  };
  if (words.length) focusable(words[0]);
  for (const [index, word] of words.entries()) {
    word.addEventListener("click", () => {
      focusable(word);
      play(Number(word.dataset.at));
    });
    word.addEventListener("keydown", (event) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1 }[event.key];
      if (to !== undefined && words[to]) {
        event.preventDefault();
        event.stopPropagation();
        focusable(words[to]).focus();
      } else if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        event.stopPropagation();
        play(Number(word.dataset.at));
      }
    });
  }

  const heard = () => {
    let sum = 0;
    for (let i = 0; i < audio.played.length; i++) sum += audio.played.end(i) - audio.played.start(i);
    return sum;
  };
  const tellHere = () => {
    const line = main && document.getElementById("heard-now");
    if (!line || heard() < 0.2) return;
    line.hidden = false;
    line.querySelector("[data-heard]").textContent = stopwatch(heard() + 0.3);
  };
  let told = 0;
  const tellServer = () => {
    if (heard() <= told) return;
    told = heard();
    const form = new FormData();
    form.append("seconds", told.toFixed(2));
    form.append("csrfmiddlewaretoken", document.querySelector("input[name=csrfmiddlewaretoken]").value);
    navigator.sendBeacon(box.dataset.heardAt, form);
  };
  audio.addEventListener("ended", tellServer);
  addEventListener("pagehide", tellServer);
  if (!main) return;

  document.addEventListener("keydown", (event) => {
    if (busy(event)) return;
    if (event.key === " " && !event.target.closest("button, a, [role=button]")) {
      event.preventDefault();
      if (audio.paused) play();
      else audio.pause();
    } else if (event.key === "ArrowLeft") skip(-5);
    else if (event.key === "ArrowRight") skip(5);
  });

  if (location.hash === "#listen") playButton.focus();
};

for (const [index, box] of document.querySelectorAll("[data-player]").entries()) player(box, index === 0);

document.addEventListener("keydown", (event) => {
  if (busy(event)) return;
  const key = event.key.toLowerCase();
  if (key === "i") location.assign("/");
  else if (key === "t") document.querySelector("form[data-take]")?.requestSubmit();
  else {
    const button = document.querySelector(`form[data-outcomes] [data-key="${CSS.escape(event.key)}"]`);
    if (button) button.focus(); // the choice closes the message, so Enter has the last word
  }
});
