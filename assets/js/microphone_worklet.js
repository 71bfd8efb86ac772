// Hands every block of the microphone's first channel to the page.
class StudioMicrophone extends AudioWorkletProcessor {
  #held = [];

  process([input]) {
    if (input[0]) this.#held.push(...input[0]);
    if (this.#held.length >= 1024) {
      this.port.postMessage(Float32Array.from(this.#held));
      this.#held = [];
    }
    return true;
  }
}
registerProcessor("studio-microphone", StudioMicrophone);
