// The camera: the newest frame goes to the server whenever the last one is answered.

import { openFrames, sentence } from "./api.js";
import { Answer, Timeline, element, paint, pick } from "./view.js";
import { png, save } from "./save.js";

const SECONDS = 20;
const KEPT = 20000;

export class Camera {
  constructor(models, detector, { say, stage, onend, onerror }) {
    Object.assign(this, { models, detector, say, stage, onend, onerror });
    this.rows = [];
    this.current = models.map(() => null);
    this.answered = [];
    this.running = true;
    this.sockets = [];
    this.who = undefined;
    this.answers = models.map((model, i) => new Answer(model, (n) => { this.who = this.current[i]?.faces[n]?.track; }));
    this.timelines = models.map((model) => new Timeline(models.length > 1 ? `The last ${SECONDS} seconds, ${model}` : `The last ${SECONDS} seconds`));
    this.video = element("video", { muted: true, playsinline: true });
    this.canvas = element("canvas", { role: "img", "aria-label": "The camera's image with what was found in it" });
    this.rate = element("span", { class: "quiet", id: "rate" });
    const stop = element("button", { type: "button", class: "primary", text: "Stop the camera", onclick: () => this.stop() });
    const keep = element("button", { type: "button", text: "Download PNG", onclick: async () => save(await png(this.canvas), "camera-moue.png") });
    this.buttons = element("div", { class: "row tools" }, stop, keep, this.rate);
    this.card = element(
      "article", { class: models.length > 1 ? "card two" : "card" }, element("h2", { text: "Camera" }),
      element("div", { class: "shown" }, this.canvas, this.buttons), ...this.answers.map((a) => a.node), ...this.timelines.map((t) => t.node),
    );
  }

  async start() {
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" } });
    } catch (error) {
      const words = { NotAllowedError: "The camera was not allowed. Allow it in the browser's address bar and try again.", NotFoundError: "There is no camera here.", NotReadableError: "Another program uses the camera." };
      throw new Error(words[error.name] || sentence(`the camera cannot be used: ${error.message}`));
    }
    // Stopped while the browser still asked whether it may: the camera must not stay on.
    if (!this.running) {
      this.release();
      return;
    }
    this.video.srcObject = this.stream;
    this.stream.getVideoTracks()[0].addEventListener("ended", () => this.stop());
    await this.video.play();
    if (!this.running) return;
    this.stage.replaceChildren(this.card);
    this.stage.hidden = false;
    this.models.forEach((model, i) => this.connect(model, i));
    this.say("The camera is on.");
    this.show();
  }

  release() {
    this.stream?.getTracks().forEach((track) => track.stop());
  }

  connect(model, i) {
    const socket = openFrames({ model, detector: this.detector });
    const grab = element("canvas");
    const send = () => {
      if (!this.running || socket.readyState !== WebSocket.OPEN) return;
      grab.width = this.video.videoWidth;
      grab.height = this.video.videoHeight;
      grab.getContext("2d").drawImage(this.video, 0, 0);
      grab.toBlob((blob) => { if (blob && socket.readyState === WebSocket.OPEN) socket.send(blob); }, "image/jpeg", 0.85);
    };
    this.sockets.push(socket);
    socket.addEventListener("open", send);
    socket.addEventListener("message", (event) => {
      if (!this.running) return;
      const row = JSON.parse(event.data);
      if (row.detail) {
        this.onerror(sentence(row.detail));
        this.stop();
        return;
      }
      if (row.status !== "busy") this.take(i, row, grab);
      send();
    });
    socket.addEventListener("close", () => {
      if (this.running) {
        this.onerror("The connection to the server was lost.");
        this.stop();
      }
    });
  }

  // frame: the image that was sent, and is answered now.
  take(i, row, frame) {
    this.current[i] = row;
    this.answers[i].show(row, pick(row, this.who));
    this.timelines[i].add(row);
    if (this.rows.length < KEPT) this.rows.push({ model: this.models[i], ...row });
    if (i > 0) return;
    paint(this.canvas, frame, this.current.filter(Boolean), pick(row, this.who));
    const now = performance.now();
    this.answered = [...this.answered.filter((time) => now - time < 2000), now];
    const span = (now - this.answered[0]) / 1000;
    const rate = Math.round((this.answered.length - 1) / span);
    if (span > 0.5) this.rate.textContent = `${rate} ${rate === 1 ? "answer" : "answers"} a second`;
  }

  show() {
    if (!this.running) return;
    // Live until the first answer; then each box stands on the frame in which it was found.
    const { video } = this;
    if (video.videoWidth && !this.current[0]) paint(this.canvas, video, [{ width: video.videoWidth, height: video.videoHeight, faces: [] }]);
    this.timelines.forEach((timeline) => timeline.draw(this.who, SECONDS));
    requestAnimationFrame(() => this.show());
  }

  stop() {
    if (!this.running) return;
    this.running = false;
    this.sockets.forEach((socket) => socket.close());
    this.release();
    const focused = document.activeElement === this.buttons.firstChild;
    this.buttons.firstChild.remove();
    if (focused) document.getElementById("camera").focus();
    this.say(`The camera is off; ${this.rows.length} frames were read.`);
    this.onend(this.rows);
  }
}
