// The microphone as a WAV file: one channel, 16 bits, 16 kHz, whatever the device gives.
export const RATE = 16000;

const REFUSALS = {
  NotAllowedError: "The browser was not allowed to use the microphone. Allow it beside the address, or choose a file.",
  NotFoundError: "There is no microphone. Plug one in, or choose a file.",
  NotReadableError: "Another program holds the microphone. Close it, or choose a file.",
};

// Starts at once; `stop` gives the recording, `drop` lets go of it. `onLevel` gets 0 to 1 about 60 times a second.
export class Microphone {
  #pieces = [];
  #n = 0;

  static async open(onLevel) {
    if (!navigator.mediaDevices) throw new Error("Recording needs a secure address: https, or localhost. Choose a file instead.");
    const made = new Microphone();
    try {
      const wanted = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      made.stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
    } catch (error) {
      throw new Error(REFUSALS[error.name] || "The microphone can't be used. Choose a file instead.");
    }
    try {
      made.context = new AudioContext();
      await made.context.audioWorklet.addModule("/js/microphone_worklet.js");
      made.node = new AudioWorkletNode(made.context, "studio-microphone", { numberOfOutputs: 0 });
    } catch {
      made.drop();
      throw new Error("This browser can't record here. Choose a file instead.");
    }
    made.node.port.onmessage = ({ data }) => {
      made.#pieces.push(data);
      made.#n += data.length;
      onLevel(Math.min(1, 3 * Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length)));
    };
    made.context.createMediaStreamSource(made.stream).connect(made.node);
    return made;
  }

  get seconds() {
    return this.#n / this.context.sampleRate;
  }

  async stop() {
    const rate = this.context.sampleRate;
    this.drop();
    if (!this.#n) throw new Error("Nothing was recorded. Try again.");
    const whole = new Float32Array(this.#n);
    let at = 0;
    for (const piece of this.#pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    return wav(rate === RATE ? whole : await resampled(whole, rate));
  }

  drop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
  }
}

async function resampled(samples, rate) {
  const context = new OfflineAudioContext(1, Math.max(1, Math.round((samples.length * RATE) / rate)), RATE);
  const buffer = context.createBuffer(1, samples.length, rate);
  buffer.copyToChannel(samples, 0);
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(context.destination);
  source.start();
  return (await context.startRendering()).getChannelData(0);
}

function wav(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, i) => view.setInt16(44 + 2 * i, Math.round(Math.max(-1, Math.min(1, x)) * 32767), true));
  return new Blob([view], { type: "audio/wav" });
}
