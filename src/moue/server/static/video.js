// A video: uploaded, shown with its timeline while it is read, and deleted from the server.

import { query, request } from "./api.js";
import { save, stem } from "./save.js";
import { ResultPanel, Timeline, card, element, faceIndex } from "./view.js";

const POLL_INTERVAL = 400;
const FINISHED = ["done", "failed", "cancelled"];
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Runs a job with one model, from the upload to its deletion; calls onprogress(job, new rows).
async function runJob(file, model, detector, annotate, signal, onprogress) {
  const url = `v1/videos${query({ name: file.name, model, detector, annotate })}`;
  const options = { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" }, signal };
  const { id } = await (await request(url, options)).json();
  try {
    let job;
    let count = 0;
    do {
      job = await (await request(`v1/videos/${id}`, { signal })).json();
      const text = await (await request(`v1/videos/${id}/rows?start=${count}`, { signal })).text();
      const added = text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
      count += added.length;
      onprogress(job, added);
      if (!FINISHED.includes(job.status)) await sleep(POLL_INTERVAL);
    } while (!FINISHED.includes(job.status) || count < job.rows);
    if (job.status === "failed") throw new Error(job.reason);
    return job.annotated ? await (await request(`v1/videos/${id}/annotated`, { signal })).blob() : null;
  } finally {
    // Deleted at once instead of when it expires.
    await request(`v1/videos/${id}`, { method: "DELETE" }).catch(() => {});
  }
}

// Resolves with the rows of all models. Callbacks: setStatus(text); stage: an element; abort: an AbortController.
export async function readVideo(file, models, detector, { setStatus, stage, abort }) {
  let track;
  const views = models.map((model) => {
    const title = models.length > 1 ? `Probabilities over time, ${model}` : "Probabilities over time";
    const view = { model, rows: [], bar: element("progress", { max: 1, "aria-label": `Progress of ${model}` }) };
    view.count = element("span", { class: "muted count" });
    view.panel = new ResultPanel(model, (i) => { track = view.current?.faces[i]?.track; draw(); });
    view.timeline = new Timeline(title, (time) => { video.currentTime = time; });
    view.progress = element("div", { class: "progress" }, view.bar, view.count);
    return view;
  });
  const video = element("video", { controls: true, playsinline: true, hidden: true, "aria-label": `${file.name}, annotated` });
  const cancel = element("button", { type: "button", text: "Cancel", onclick: () => abort.abort() });
  const download = element("button", { type: "button", text: "Download the video", hidden: true });
  const node = card(
    models, file.name,
    element("div", { class: "media" }, video, element("div", { class: "row tools" }, cancel, download)),
    ...views.map((view) => element("div", { class: "column" }, view.panel.node, view.progress)),
    ...views.map((view) => view.timeline.node),
  );
  stage.replaceChildren(node);
  stage.hidden = false;

  function draw() {
    const time = video.src ? video.currentTime : Infinity;
    for (const view of views) {
      const timed = view.rows.filter((row) => row.timestamp !== undefined);
      view.current = timed.findLast((row) => row.timestamp <= time + 0.001) || timed[0];
      track ??= view.timeline.firstTrack();
      if (view.current) view.panel.show(view.current, faceIndex(view.current, track));
      view.timeline.duration = video.duration || 0;
      view.timeline.draw(track, Infinity, video.src ? video.currentTime : null);
    }
  }

  function update(view, job, added) {
    for (const row of added) {
      view.rows.push(row);
      if (row.timestamp !== undefined) view.timeline.add(row);
    }
    if (job.total) view.bar.value = Math.min(1, job.frames / job.total);
    view.count.textContent = job.status === "waiting" ? "waiting in the queue" : `${job.frames} of ${job.total ?? "?"} frames`;
    // Without the count: a screen reader would read out each change.
    if (job.status === "reading") setStatus(`Reading ${file.name} …`);
    draw();
  }

  function clearStage() {
    stage.hidden = true;
    stage.replaceChildren();
  }

  const allRows = () => views.flatMap((view) => view.rows.map((row) => ({ model: view.model, ...row })));
  try {
    setStatus(`Sending ${file.name} …`);
    const jobs = views.map((view, i) => runJob(file, view.model, detector, i === 0, abort.signal, (job, added) => update(view, job, added)));
    const [annotated] = await Promise.all(jobs).catch(async (error) => {
      // Cancels the job of the other model.
      abort.abort();
      await Promise.allSettled(jobs);
      throw error;
    });
    if (annotated) {
      video.src = URL.createObjectURL(annotated);
      video.hidden = false;
      download.hidden = false;
      download.addEventListener("click", () => save(annotated, `${stem(file.name)}-moue.mp4`));
      for (const event of ["timeupdate", "seeked", "loadedmetadata"]) video.addEventListener(event, draw);
    }
    draw();
    setStatus(`${file.name}: ${views[0].rows.filter((row) => row.frame !== undefined).length} frames read.`);
    return allRows();
  } catch (error) {
    // Meanwhile another video or the camera may have replaced the card.
    const shown = node.isConnected;
    if (error.name === "AbortError") {
      if (shown) {
        clearStage();
        setStatus(`${file.name} was cancelled and deleted from the server.`);
      }
      return [];
    }
    error.rows = allRows();
    if (shown && !error.rows.length) clearStage();
    throw error;
  } finally {
    views.forEach((view) => view.progress.remove());
    const focused = document.activeElement === cancel;
    cancel.remove();
    if (focused) (download.hidden ? document.getElementById("files") : download).focus();
  }
}
