// A call that is tried out: this page keeps what was done and when, the server replays it and tells the last step.
import { busy, stopwatch } from "./page.js";

const box = document.querySelector("[data-simulator]");
const part = (name) => box.querySelector(`[data-${name}]`);
const setup = part("setup");
const token = setup.querySelector("input[name=csrfmiddlewaretoken]").value;
const SPEECH = 4000;

let call = null;

class Sound {
  // Clips one after the other without a gap; what was fetched once is kept.
  constructor() {
    this.context = new AudioContext();
    this.kept = new Map();
    this.sources = [];
  }

  async fetched(url) {
    if (!this.kept.has(url)) {
      this.kept.set(
        url,
        fetch(url).then(async (answer) => {
          if (!answer.ok) throw new Error(String(answer.status));
          return this.context.decodeAudioData(await answer.arrayBuffer());
        }),
      );
    }
    return this.kept.get(url);
  }

  async play(clips, still) {
    const buffers = await Promise.all(clips.map((clip) => (clip.url ? this.fetched(clip.url) : null)));
    if (!still()) return;
    let at = this.context.currentTime + 0.02;
    clips.forEach((clip, i) => {
      if (buffers[i]) {
        const source = this.context.createBufferSource();
        source.buffer = buffers[i];
        source.connect(this.context.destination);
        source.start(at);
        this.sources.push(source);
      }
      at += clip.ms / 1000;
    });
  }

  silence() {
    for (const source of this.sources) {
      try {
        source.stop();
      } catch {
        // it had ended
      }
    }
    this.sources = [];
  }
}

class Call {
  constructor(setting) {
    this.setting = setting;
    this.silent = setting.silent;
    this.events = [];
    this.sound = this.silent ? null : new Sound();
    this.started = performance.now();
    this.skipped = 0; // milliseconds of time that nobody waited for
    this.voiceAt = null;
    this.speakingUntil = 0;
    this.timers = new Set();
    this.playTimer = null;
    this.state = null;
    this.queue = Promise.resolve();
    this.over = false;
    this.play = null;
  }

  now() {
    return Math.max(Math.round(performance.now() - this.started) + this.skipped, this.events.at(-1)?.[0] ?? 0);
  }

  // One event after the other: each is answered before the next is sent.
  send(kind, value = null) {
    this.queue = this.queue.then(() => this.#send(kind, value)).catch((error) => this.broken(error));
    return this.queue;
  }

  async #send(kind, value) {
    if (this.over) return;
    if (kind === "played" && value !== this.play) return;
    this.events.push([this.now(), kind, value]);
    const answer = await fetch(box.dataset.step, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRFToken": token },
      body: JSON.stringify({ ...this.setting, events: this.events }),
    });
    const data = await answer.json();
    if (!answer.ok) throw new Error(data.detail ?? data.title);
    this.state = data;
    this.carryOut(data);
  }

  carryOut(data) {
    show(this, data);
    for (const action of data.actions) {
      if (action.do === "play") this.say(action);
      else if (action.do === "replay") this.replay(action);
      else if (action.do === "silence") this.quiet();
      else if (action.do === "hang_up") this.end(data);
    }
    this.look(data);
  }

  say(action) {
    this.quiet();
    this.play = action.token;
    const length = action.clips.reduce((sum, clip) => sum + clip.ms, 0);
    if (action.pieces.length) line("Line", action.pieces, this.now());
    else if (action.clips.some((clip) => clip.url)) line("Line", [{ lang: "en", text: "(tone)" }], this.now());
    this.sound?.play(action.clips, () => this.play === action.token).catch(() => {});
    this.after(length, () => this.send("played", action.token));
  }

  replay(action) {
    this.quiet();
    this.play = action.token;
    line("Line", [{ lang: "en", text: "(plays the caller’s own words: simulated)" }], this.now());
    this.after(SPEECH, () => this.send("played", action.token));
  }

  after(ms, then) {
    clearTimeout(this.playTimer);
    if (this.silent) {
      this.skipped += ms;
      this.playTimer = setTimeout(then, 0);
    } else this.playTimer = setTimeout(then, ms);
  }

  quiet() {
    clearTimeout(this.playTimer);
    this.play = null;
    this.sound?.silence();
  }

  // Time passes by itself with sound; without it, only when somebody waits.
  look(data) {
    clearTimeout(this.wakeTimer);
    if (this.over || data.wake === null || this.silent) return;
    this.wakeTimer = setTimeout(() => this.tick(), Math.max(20, data.wake - this.now()));
  }

  tick() {
    if (this.now() < this.speakingUntil) this.voiceAt = this.now();
    return this.send("tick", this.voiceAt);
  }

  wait() {
    if (this.state?.wake === null || !this.silent) return this.tick();
    this.skipped += Math.max(0, this.state.wake - this.now());
    return this.tick();
  }

  speak() {
    line("Caller", [{ lang: "en", text: "(speaks for 4 s: simulated)" }], this.now());
    this.voiceAt = this.now();
    if (this.silent) {
      this.skipped += SPEECH;
      this.voiceAt = this.now();
      return this.send("tick", this.voiceAt);
    }
    this.speakingUntil = this.now() + SPEECH;
    part("speaking").hidden = false;
    setTimeout(() => {
      if (this.now() < this.speakingUntil - 50) return;
      this.voiceAt = this.speakingUntil;
      part("speaking").hidden = true;
    }, SPEECH);
    return this.send("tick", this.voiceAt);
  }

  key(key) {
    line("Caller", [{ lang: "en", text: `presses ${key}` }], this.now(), true);
    return this.send("key", key);
  }

  hangUp() {
    line("Caller", [{ lang: "en", text: "hangs up" }], this.now(), true);
    this.quiet();
    return this.send("hung_up");
  }

  end(data) {
    this.over = true;
    this.quiet();
    clearTimeout(this.wakeTimer);
    this.sound?.context.close();
    ended(data.ended);
    buttons(false);
  }

  broken(error) {
    this.over = true;
    this.quiet();
    clearTimeout(this.wakeTimer);
    part("node").textContent = "This call cannot go on";
    part("hint").textContent = error.message || "The server did not answer. Call again.";
    buttons(false);
  }
}

const line = (who, pieces, at, did = false) => {
  part("nothing").hidden = true;
  const made = part("line").content.cloneNode(true);
  made.querySelector("time").textContent = stopwatch(at / 1000);
  made.querySelector(".who").textContent = did ? "" : who;
  const words = made.querySelector(".words");
  if (did) words.className = "did";
  if (did) words.textContent = `${who} ${pieces[0].text}`;
  else {
    pieces.forEach((piece, i) => {
      const span = document.createElement("span");
      span.lang = piece.lang;
      span.textContent = (i ? " " : "") + piece.text;
      words.append(span);
    });
  }
  part("lines").append(made);
  part("scroll").scrollTop = part("scroll").scrollHeight;
};

const show = (one, data) => {
  if (!data.done) part("node").textContent = data.label;
  part("recording").hidden = !data.recording;
  part("hint").textContent = data.entered ? `Keyed in so far: ${data.entered}` : "";
  part("wait").disabled = !one.silent || data.wake === null || data.done;
  const keys = part("keys");
  keys.replaceChildren();
  for (const [key, leads] of data.keys) {
    const made = document.createElement("span");
    made.className = "flex items-center gap-1.5 text-sm text-quiet";
    const cap = document.createElement("span");
    cap.className = "nb-keycap text-base-content";
    cap.textContent = key;
    made.append(cap, leads);
    keys.append(made);
  }
};

const ended = (end) => {
  part("node").textContent = "The call is over";
  part("hint").textContent = "";
  part("keys").replaceChildren();
  part("recording").hidden = true;
  part("speaking").hidden = true;
  part("end-title").textContent = end.title;
  part("end-why").textContent = end.why;
  const facts = part("end-facts");
  facts.replaceChildren();
  for (const [name, text] of end.facts) {
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = text;
    facts.append(dt, dd);
  }
  part("end-told").replaceChildren(
    ...end.told.map((piece, i) => {
      const span = document.createElement("span");
      span.lang = piece.lang;
      span.textContent = (i ? " " : "“") + piece.text + (i === end.told.length - 1 ? "”" : "");
      return span;
    }),
  );
  part("end-told-part").hidden = !end.told.length;
  part("end").hidden = false;
  part("end").focus({ preventScroll: true });
  part("end").scrollIntoView({ block: "nearest" });
};

const buttons = (on) => {
  for (const button of box.querySelectorAll("[data-key], [data-speak], [data-hang-up]")) button.disabled = !on;
  part("wait").disabled = true;
  setup.hidden = on;
};

setup.addEventListener("submit", (event) => {
  event.preventDefault();
  const fields = new FormData(setup);
  const at = fields.get("when") === "at" ? fields.get("at") : "";
  part("lines").replaceChildren();
  part("end").hidden = true;
  call = new Call({
    which: fields.get("which"),
    at,
    caller: fields.get("caller"),
    language: fields.get("language"),
    status: fields.get("status"),
    slow: fields.has("slow"),
    silent: fields.has("silent"),
  });
  buttons(true);
  part("hang-up").focus({ preventScroll: true });
  scrollTo({ top: 0 });
  call.send("answered");
});

part("when").addEventListener("change", (event) => {
  part("at").hidden = event.target.value !== "at";
});

const up = () => call && !call.over;
box.addEventListener("click", (event) => {
  if (!up()) return;
  const button = event.target.closest("button");
  if (button?.dataset.key) call.key(button.dataset.key);
  else if (button?.hasAttribute("data-speak")) call.speak();
  else if (button?.hasAttribute("data-wait")) call.wait();
  else if (button?.hasAttribute("data-hang-up")) call.hangUp();
});

document.addEventListener("keydown", (event) => {
  if (!up() || busy(event) || event.repeat) return;
  const does = { s: () => call.speak(), w: () => call.silent && call.wait(), h: () => call.hangUp() };
  if (/^[0-9*#]$/.test(event.key)) {
    const button = box.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    button.classList.add("is-down");
    setTimeout(() => button.classList.remove("is-down"), 150);
    event.preventDefault();
    call.key(event.key);
  } else if (does[event.key.toLowerCase()]) {
    event.preventDefault();
    does[event.key.toLowerCase()]();
  }
});

setInterval(() => {
  if (up()) part("clock").textContent = stopwatch(call.now() / 1000);
}, 200);
