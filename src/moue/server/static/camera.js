// The camera: the newest frame is sent to the server whenever the result of the previous one has arrived.

import { openFrameSocket, sentence } from "./api.js";
import { drawFaces, faceAt, matchingFace } from "./drawing.js";
import { card, element, plural } from "./element.js";
import { faceIndex, ResultPanel } from "./panel.js";
import { datedName, png, save } from "./save.js";
import { Timeline } from "./timeline.js";
import { peopleTable } from "./video.js";

const TIMELINE_SECONDS = 20;
const MAX_ROWS = 20000;
const ERRORS = {
  NotAllowedError: "Access to the camera was denied. Allow it in the browser's address bar and try again.",
  NotFoundError: "No camera was found.",
  NotReadableError: "The camera is in use by another program.",
};

export class Camera {
  // onstart() is called with the first result, onend() when the camera is off.
  constructor(models, labels, detector, { setStatus, stage, onstart, onend, onerror }) {
    Object.assign(this, { models, labels, detector, setStatus, stage, onstart, onend, onerror });
    this.modelRows = models.map(() => []);
    this.latest = models.map(() => null);
    this.resultTimes = [];
    this.running = true;
    this.sockets = [];
    // Of the person to show, in each model: each numbers the people by itself.
    this.tracks = models.map(() => undefined);
    this.panels = models.map((model, i) => new ResultPanel(model, (n) => this.select(i, this.latest[i]?.faces[n])));
    const title = `The last ${TIMELINE_SECONDS} seconds`;
    this.timelines = models.map((model) => new Timeline(models.length > 1 ? `${title}, ${model}` : title));
    this.video = element("video", { muted: true, playsinline: true });
    this.canvas = element("canvas", {
      role: "img", "aria-label": "Camera image with the faces found in it",
      onclick: (event) => { if (this.latest[0]) this.select(0, faceAt(event, this.latest[0])); },
    });
    this.rate = element("span", { class: "muted", id: "rate" });
    this.stopButton = element("button", { type: "button", class: "primary", text: "Stop the camera", onclick: () => this.stop() });
    const download = element("button", { type: "button", text: "Download PNG", onclick: async () => save(await png(this.canvas), datedName(".png", "moue-camera")) });
    const tools = element("div", { class: "row tools" }, this.stopButton, download, this.rate);
    this.card = card(
      models, "Camera", element("div", { class: "media" }, this.canvas, tools),
      ...this.panels.map((panel) => panel.node), ...this.timelines.map((timeline) => timeline.node),
    );
  }

  async start() {
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" } });
    } catch (error) {
      throw new Error(ERRORS[error.name] || sentence(`the camera cannot be used: ${error.message}`));
    }
    // Stopped while the browser asked for permission: the camera must not stay on.
    if (!this.running) {
      this.release();
      return;
    }
    this.video.srcObject = this.stream;
    this.stream.getVideoTracks()[0].addEventListener("ended", () => this.stop());
    try {
      await this.video.play();
    } catch (error) {
      this.running = false;
      this.release();
      throw new Error(sentence(`the image of the camera cannot be shown: ${error.message}`));
    }
    if (!this.running) return;
    this.stage.replaceChildren(this.card);
    this.stage.hidden = false;
    this.models.forEach((model, i) => this.connect(model, i));
    this.setStatus("The camera is on.");
    this.render();
  }

  // Model after model, as those of films.
  get rows() {
    return [].concat(...this.modelRows);
  }

  release() {
    this.stream?.getTracks().forEach((track) => track.stop());
  }

  connect(model, i) {
    const socket = openFrameSocket({ model, detector: this.detector });
    const frame = element("canvas");
    const send = () => {
      if (!this.running || socket.readyState !== WebSocket.OPEN) return;
      frame.width = this.video.videoWidth;
      frame.height = this.video.videoHeight;
      frame.getContext("2d").drawImage(this.video, 0, 0);
      frame.toBlob((blob) => { if (blob && socket.readyState === WebSocket.OPEN) socket.send(blob); }, "image/jpeg", 0.85);
    };
    this.sockets.push(socket);
    socket.addEventListener("open", send);
    socket.addEventListener("message", (event) => {
      if (!this.running) return;
      const row = JSON.parse(event.data);
      if (row.detail) {
        this.fail(row.detail);
        return;
      }
      if (row.status !== "busy") this.show(i, row, frame);
      send();
    });
    socket.addEventListener("close", () => { if (this.running) this.fail("The connection to the server was lost."); });
  }

  // Shows a face of one model, and of the others the one at its place.
  select(i, face) {
    if (face) this.tracks = this.latest.map((row, k) => (k === i ? face : row && matchingFace(face, row))?.track);
  }

  fail(message) {
    this.onerror(message);
    this.stop();
  }

  // Shows the row of a frame; drawn on that frame, so that the boxes are in the right place.
  show(i, row, frame) {
    this.latest[i] = row;
    this.panels[i].show(row, faceIndex(row, this.tracks[i]));
    this.timelines[i].add(row);
    if (this.modelRows[i].length < MAX_ROWS) this.modelRows[i].push({ ...row, model: this.models[i] });
    if (i > 0) return;
    if (this.modelRows[0].length === 1) this.onstart();
    drawFaces(this.canvas, frame, this.latest.filter(Boolean), faceIndex(row, this.tracks[0]));
    const now = performance.now();
    this.resultTimes = [...this.resultTimes.filter((time) => now - time < 2000), now];
    const seconds = (now - this.resultTimes[0]) / 1000;
    const rate = Math.round((this.resultTimes.length - 1) / seconds);
    const full = this.modelRows[0].length === MAX_ROWS ? `; the files hold the first ${plural(MAX_ROWS, "frame")}` : "";
    if (seconds > 0.5) this.rate.textContent = `${plural(rate, "frame")} per second${full}`;
  }

  drawVideo(size) {
    drawFaces(this.canvas, this.video, [{ ...size, faces: [] }], 0, size);
  }

  render() {
    if (!this.running) return;
    // Live video until the first result.
    const { video } = this;
    if (video.videoWidth && !this.latest[0]) this.drawVideo({ width: video.videoWidth, height: video.videoHeight });
    this.drawTimelines();
    requestAnimationFrame(() => this.render());
  }

  drawTimelines() {
    this.timelines.forEach((timeline, i) => timeline.draw(this.tracks[i], TIMELINE_SECONDS));
  }

  stop() {
    if (!this.running) return;
    this.running = false;
    this.sockets.forEach((socket) => socket.close());
    this.release();
    const focused = document.activeElement === this.stopButton;
    this.stopButton.remove();
    if (focused) document.getElementById("camera").focus();
    this.setStatus(`The camera is off; ${plural(this.modelRows[0].length, "frame")} read.`);
    const show = ({ model, track }) => {
      this.tracks[this.models.indexOf(model)] = track;
      this.drawTimelines();
    };
    this.card.append(peopleTable(this.rows, this.labels, show) ?? "");
    this.onend();
  }
}
