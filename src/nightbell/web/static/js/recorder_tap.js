// Runs in the sound thread: hands every block of the microphone on.
class Tap extends AudioWorkletProcessor {
  process(inputs) {
    const channel = inputs[0]?.[0];
    if (channel?.length) this.port.postMessage(channel.slice(0));
    return true;
  }
}
registerProcessor("nb-tap", Tap);
