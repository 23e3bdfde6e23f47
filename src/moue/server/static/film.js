// A film: sent, followed while it is read, shown with its timeline, and removed from the server.

import { ask, query } from "./api.js";
import { Answer, Timeline, element } from "./view.js";
import { save } from "./save.js";

const PAUSE = 400;
const rest = (ms) => new Promise((done) => setTimeout(done, ms));

// Resolves with its rows; hooks: say(words), stage (an element), signal of an AbortController that cancels.
export async function film(file, model, detector, { say, stage, abort }) {
  const progress = element("progress", { max: 1, "aria-label": "Progress" });
  const answer = new Answer(model);
  const video = element("video", { controls: true, playsinline: true, hidden: true });
  const timeline = new Timeline((time) => { video.currentTime = time; });
  const cancel = element("button", { type: "button", text: "Cancel", onclick: () => abort.abort() });
  const keep = element("button", { type: "button", text: "Download the film", hidden: true });
  const card = element(
    "article", { class: "card" },
    element("h2", { text: file.name }),
    element("div", { class: "shown" }, video, element("div", { class: "row tools" }, cancel, keep)),
    answer.node, timeline.node, element("div", { class: "wide" }, progress),
  );
  stage.replaceChildren(card);
  stage.hidden = false;
  let id = null;
  const rows = [];
  try {
    say(`Sending ${file.name} …`);
    const address = `v1/videos${query({ name: file.name, model, detector })}`;
    const started = await ask(address, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" }, signal: abort.signal });
    id = (await started.json()).id;
    let job;
    do {
      job = await (await ask(`v1/videos/${id}`, { signal: abort.signal })).json();
      const text = await (await ask(`v1/videos/${id}/rows?start=${rows.length}`, { signal: abort.signal })).text();
      for (const line of text.split("\n").filter(Boolean)) {
        const row = JSON.parse(line);
        rows.push(row);
        if (row.timestamp !== undefined) timeline.add(row, firstTrack(rows));
        answer.show(row, 0);
      }
      if (job.total) progress.value = Math.min(1, job.frames / job.total);
      timeline.draw();
      say(job.status === "waiting" ? "Waiting for another film …" : `Reading: ${job.frames} of ${job.total ?? "?"} frames`);
      if (!["done", "failed", "cancelled"].includes(job.status)) await rest(PAUSE);
    } while (!["done", "failed", "cancelled"].includes(job.status) || rows.length < job.rows);
    if (job.status === "failed") throw new Error(job.reason);
    if (job.film) {
      const blob = await (await ask(`v1/videos/${id}/film`, { signal: abort.signal })).blob();
      video.src = URL.createObjectURL(blob);
      video.hidden = false;
      keep.hidden = false;
      keep.addEventListener("click", () => save(blob, `${file.name.replace(/\.[^.]*$/, "")}-moue.mp4`));
      follow(video, rows, answer, timeline);
    }
    say(`${file.name}: ${rows.filter((row) => row.frame !== undefined).length} frames read.`);
    return { rows: rows.map((row) => ({ model, ...row })), video };
  } catch (error) {
    if (error.name !== "AbortError" && rows.length) throw error;
    stage.hidden = true;
    stage.replaceChildren();
    if (error.name !== "AbortError") throw error;
    say(`${file.name} was cancelled; nothing of it is left on the server.`);
    return { rows: [], video };
  } finally {
    progress.remove();
    cancel.remove();
    // Nothing shall wait on the server for its time to be up.
    if (id) await ask(`v1/videos/${id}`, { method: "DELETE" }).catch(() => {});
  }
}

function firstTrack(rows) {
  return rows.find((row) => row.faces.length)?.faces[0].track;
}

function follow(video, rows, answer, timeline) {
  const timed = rows.filter((row) => row.timestamp !== undefined);
  const show = () => {
    const row = timed.findLast((r) => r.timestamp <= video.currentTime + 0.001) || timed[0];
    if (row) answer.show(row, 0);
    timeline.duration = video.duration || 0;
    timeline.draw(Infinity, video.currentTime);
  };
  for (const event of ["timeupdate", "seeked", "loadedmetadata"]) video.addEventListener(event, show);
}
