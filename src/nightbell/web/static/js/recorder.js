// Recording in the browser: microphone to a 16-bit WAV, made here, heard before it is kept. Nothing leaves until then.

const tapAddress = document.querySelector("script[data-tap]").dataset.tap;

const wavOf = (blocks, rate) => {
  const length = blocks.reduce((sum, block) => sum + block.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * length, true);
  let at = 44;
  for (const block of blocks) {
    for (const sample of block) {
      view.setInt16(at, Math.max(-1, Math.min(1, sample)) * 32767, true);
      at += 2;
    }
  }
  return new File([view], "recording.wav", { type: "audio/wav" });
};

const TROUBLE = {
  NotAllowedError: "The browser may not use the microphone. Allow it beside the address, then press Record again.",
  NotFoundError: "No microphone was found. Plug one in, or upload a file.",
  NotReadableError: "Another program holds the microphone. Close it, then press Record again.",
};

const begin = (form) => {
  if (form.dataset.ready || !navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) return;
  form.dataset.ready = "yes";
  const part = (name) => form.querySelector(`[data-${name}]`);
  const longest = Number(form.dataset.longest);
  let context = null;
  let stream = null;
  let blocks = [];
  let samples = 0;
  let heard = null;
  let begun = false; // from the press to the end: the question for the microphone takes its time
  part("live").hidden = false;

  const say = (words) => {
    part("says").textContent = words;
  };
  const level = (peak) => {
    const db = 20 * Math.log10(Math.max(peak, 0.001));
    part("level").setAttribute("width", Math.max(0, Math.min(100, ((db + 54) / 54) * 100)).toFixed(0));
    part("level").closest("svg").classList.toggle("is-loud", peak > 0.98);
  };

  const release = () => {
    for (const track of stream?.getTracks() ?? []) track.stop();
    context?.close();
    context = null;
    stream = null;
    begun = false;
  };

  const end = (words) => {
    const rate = context?.sampleRate;
    release();
    part("stop").hidden = true;
    part("record").hidden = false;
    part("record").lastChild.textContent = "Record again";
    if (samples) {
      const files = new DataTransfer();
      files.items.add(wavOf(blocks, rate));
      form.elements.file.files = files.files;
      part("listen").hidden = false;
      part("keep").hidden = false;
    }
    say(words);
    (samples ? part("listen") : part("record")).focus();
  };

  const start = async () => {
    if (begun) return;
    begun = true;
    blocks = [];
    samples = 0;
    heard?.close();
    heard = null;
    part("listen").hidden = true;
    part("keep").hidden = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: false, noiseSuppression: true, autoGainControl: false },
      });
      context = new AudioContext();
      await context.audioWorklet.addModule(tapAddress);
      if (!form.isConnected) {
        release();
        return;
      }
    } catch (error) {
      end(TROUBLE[error.name] ?? "The microphone cannot be used in this browser. Upload a file instead.");
      return;
    }
    const tap = new AudioWorkletNode(context, "nb-tap");
    context.createMediaStreamSource(stream).connect(tap);
    let peak = 0;
    tap.port.onmessage = ({ data }) => {
      if (!context) return;
      blocks.push(data);
      samples += data.length;
      peak = Math.max(peak * 0.97, ...data.map(Math.abs));
      const seconds = samples / context.sampleRate;
      part("clock").textContent = `${seconds.toFixed(1)} s`;
      level(peak);
      if (seconds >= longest) end(`Stopped: ${longest} s are the most here.`);
    };
    part("record").hidden = true;
    part("stop").hidden = false;
    part("stop").focus();
    say("Recording. Speak as to one caller.");
  };

  const listen = async () => {
    if (heard) {
      heard.close();
      heard = null;
      return;
    }
    heard = new AudioContext();
    const source = heard.createBufferSource();
    source.buffer = await heard.decodeAudioData(await form.elements.file.files[0].arrayBuffer());
    source.connect(heard.destination);
    source.onended = () => {
      heard?.close();
      heard = null;
      say("Keep it, or record again.");
    };
    source.start();
    say("Playing your recording.");
  };

  part("record").addEventListener("click", start);
  part("stop").addEventListener("click", () => end("Recorded. Listen to it, then keep it."));
  part("listen").addEventListener("click", listen);
  form.closest("details").addEventListener("toggle", (event) => {
    if (!event.target.open && context) end("Stopped.");
  });
  // Another panel takes the place of this one: nobody could stop the microphone any more.
  const gone = (event) => {
    if (!form.isConnected) document.removeEventListener("htmx:beforeSwap", gone);
    if (!event.detail.shouldSwap || !event.detail.target.contains(form)) return;
    release();
    heard?.close();
    heard = null;
  };
  document.addEventListener("htmx:beforeSwap", gone);
};

const all = () => document.querySelectorAll("form[data-recorder]").forEach(begin);
all();
document.addEventListener("nb:fresh", all);
