// A video: sent, followed while it is read, shown with its timeline, and removed from the server.

import { ask, query } from "./api.js";
import { Answer, Timeline, element, pick } from "./view.js";
import { save } from "./save.js";

const PAUSE = 400;
const ENDED = ["done", "failed", "cancelled"];
const rest = (ms) => new Promise((done) => setTimeout(done, ms));

// One model's reading of a video, from its upload to its end on the server.
async function read(file, model, detector, annotate, signal, onprogress) {
  const address = `v1/videos${query({ name: file.name, model, detector, annotate })}`;
  const options = { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" }, signal };
  const { id } = await (await ask(address, options)).json();
  const rows = [];
  try {
    let job;
    do {
      job = await (await ask(`v1/videos/${id}`, { signal })).json();
      const text = await (await ask(`v1/videos/${id}/rows?start=${rows.length}`, { signal })).text();
      const fresh = text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
      for (const row of fresh) rows.push(row);
      onprogress(job, fresh);
      if (!ENDED.includes(job.status)) await rest(PAUSE);
    } while (!ENDED.includes(job.status) || rows.length < job.rows);
    if (job.status === "failed") throw new Error(job.reason);
    const annotated = job.annotated ? await (await ask(`v1/videos/${id}/annotated`, { signal })).blob() : null;
    return { rows, annotated };
  } finally {
    // Nothing shall wait on the server for its time to be up.
    await ask(`v1/videos/${id}`, { method: "DELETE" }).catch(() => {});
  }
}

// Resolves with its rows; hooks: say(words), stage (an element), abort (an AbortController that cancels).
export async function video(file, models, detector, { say, stage, abort }) {
  let who;
  const views = models.map((model) => {
    const name = models.length > 1 ? `Probabilities over time, ${model}` : "Probabilities over time";
    const view = { model, rows: [], progress: element("progress", { max: 1, "aria-label": `Progress of ${model}` }) };
    view.words = element("span", { class: "quiet count" });
    view.answer = new Answer(model, (i) => { who = view.shown?.faces[i]?.track; draw(); });
    view.timeline = new Timeline(name, (time) => { video.currentTime = time; });
    view.wait = element("div", { class: "wait" }, view.progress, view.words);
    return view;
  });
  const video = element("video", { controls: true, playsinline: true, hidden: true, "aria-label": `${file.name}, annotated` });
  const cancel = element("button", { type: "button", text: "Cancel", onclick: () => abort.abort() });
  const keep = element("button", { type: "button", text: "Download the video", hidden: true });
  const card = element(
    "article", { class: models.length > 1 ? "card two" : "card" },
    element("h2", { text: file.name }),
    element("div", { class: "shown" }, video, element("div", { class: "row tools" }, cancel, keep)),
    ...views.map((view) => element("div", { class: "column" }, view.answer.node, view.wait)),
    ...views.map((view) => view.timeline.node),
  );
  stage.replaceChildren(card);
  stage.hidden = false;

  function draw() {
    const time = video.src ? video.currentTime : Infinity;
    for (const view of views) {
      const timed = view.rows.filter((row) => row.timestamp !== undefined);
      view.shown = timed.findLast((row) => row.timestamp <= time + 0.001) || timed[0];
      who ??= view.timeline.first();
      if (view.shown) view.answer.show(view.shown, pick(view.shown, who));
      view.timeline.duration = video.duration || 0;
      view.timeline.draw(who, Infinity, video.src ? video.currentTime : null);
    }
  }

  function moved(view, job, fresh) {
    for (const row of fresh) view.rows.push(row);
    fresh.filter((row) => row.timestamp !== undefined).forEach((row) => view.timeline.add(row));
    if (job.total) view.progress.value = Math.min(1, job.frames / job.total);
    view.words.textContent = job.status === "waiting" ? "waiting for its turn" : `${job.frames} of ${job.total ?? "?"} frames`;
    // Said once, not at every step: a screen reader reads all of it out.
    if (job.status === "reading") say(`Reading ${file.name} …`);
    draw();
  }

  const collected = () => views.flatMap((view) => view.rows.map((row) => ({ model: view.model, ...row })));
  try {
    say(`Sending ${file.name} …`);
    const started = views.map((view, i) => read(file, view.model, detector, i === 0, abort.signal, (job, fresh) => moved(view, job, fresh)));
    const done = await Promise.all(started).catch(async (error) => {
      // The other one has no reason to go on.
      abort.abort();
      await Promise.allSettled(started);
      throw error;
    });
    const { annotated } = done[0];
    if (annotated) {
      video.src = URL.createObjectURL(annotated);
      video.hidden = false;
      keep.hidden = false;
      keep.addEventListener("click", () => save(annotated, `${file.name.replace(/\.[^.]*$/, "")}-moue.mp4`));
      for (const event of ["timeupdate", "seeked", "loadedmetadata"]) video.addEventListener(event, draw);
    }
    draw();
    say(`${file.name}: ${views[0].rows.filter((row) => row.frame !== undefined).length} frames read.`);
    return collected();
  } catch (error) {
    // By now another video or the camera may have the stage.
    const ours = card.isConnected;
    if (error.name === "AbortError") {
      if (!ours) return [];
      stage.hidden = true;
      stage.replaceChildren();
      say(`${file.name} was cancelled; nothing of it is left on the server.`);
      return [];
    }
    error.rows = collected();
    if (ours && !error.rows.length) {
      stage.hidden = true;
      stage.replaceChildren();
    }
    throw error;
  } finally {
    views.forEach((view) => view.wait.remove());
    const focused = document.activeElement === cancel;
    cancel.remove();
    // The keyboard stays where it was.
    if (focused) (keep.hidden ? document.getElementById("files") : keep).focus();
  }
}
