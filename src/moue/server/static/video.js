// A film: uploaded, shown with its timeline while it is read, and deleted from the server.

import { query, request, sentence, sleep, upload } from "./api.js";
import { card, clock, element, percent, plural, table } from "./element.js";
import { faceIndex, ResultPanel } from "./panel.js";
import { people } from "./people.js";
import { datedName, peopleCsv, save, stem } from "./save.js";
import { Timeline } from "./timeline.js";

const POLL_INTERVAL = 400;
// For how long a film waits for others of a busy server, in seconds.
const PATIENCE = 3600;
const FINISHED = ["done", "failed", "cancelled"];

// Runs a job with one model, from the upload to its deletion; calls onupload(0 to 1) and onprogress(job, new rows).
async function runJob(file, options, signal, onupload, onprogress) {
  const url = `v1/videos${query({ name: file.name, ...options })}`;
  const sent = { body: file, headers: { "Content-Type": "application/octet-stream" }, signal, patience: PATIENCE, onprogress: onupload };
  const { id } = await (await upload(url, sent)).json();
  try {
    let job;
    let count = 0;
    do {
      job = await (await request(`v1/videos/${id}`, { signal })).json();
      const text = await (await request(`v1/videos/${id}/rows?start=${count}`, { signal })).text();
      const added = text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
      count += added.length;
      onprogress(job, added);
      if (!FINISHED.includes(job.status)) await sleep(POLL_INTERVAL, signal);
    } while (!FINISHED.includes(job.status) || count < job.rows);
    if (job.status === "failed") throw new Error(`${file.name}: ${job.reason}`);
    return job.annotated ? await (await request(`v1/videos/${id}/annotated`, { signal })).blob() : null;
  } finally {
    // Deleted at once instead of when it expires, even when the page is being closed.
    await request(`v1/videos/${id}`, { method: "DELETE", keepalive: true, patience: 0 }).catch(() => {});
  }
}

// The people of a film or of the camera: a table, and a button that saves it; null where there is nobody. The timeline
// shows the person that is selected in it: onselect(person).
export function peopleTable(rows, labels, onselect) {
  const persons = people(rows);
  if (!persons.length) return null;
  const models = new Set(persons.map((person) => person.model));
  const shown = persons.map((person) => [
    ...(models.size > 1 ? [person.model] : []), element("button", { type: "button", text: person.track, "aria-label": `Show person ${person.track}`, onclick: () => onselect(person) }), `${clock(person.start)} to ${clock(person.end)}`, person.label, percent(person.uncertain),
    ...labels.map((label) => (label in person.mean ? `${percent(person.mean[label])} (${percent(person.share[label])})` : "")),
  ]);
  const head = [...(models.size > 1 ? ["Model"] : []), "Person", "Time", "Mostly", "Uncertain", ...labels];
  const button = element("button", { type: "button", text: "Download CSV of the people", onclick: () => save(peopleCsv(rows, labels), datedName(".csv", `${stem(rows[0].source)}-people`)) });
  const caption = "People: the mean probability of each expression, and in how much of the time it was the most probable";
  return element("div", { class: "people" }, table(caption, head, shown), element("div", { class: "tools" }, button));
}

// Makes the card of a film, calls show(card) and reads the film; resolves to its rows, or null where it was cancelled
// in the card. options: fps, detector.
export async function readVideo(file, models, labels, options, { show, setStatus, signal }) {
  const abort = new AbortController();
  const clear = () => abort.abort();
  signal.addEventListener("abort", clear);
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
  const cancel = element("button", { type: "button", text: "Cancel", "aria-label": `Cancel ${file.name}`, onclick: clear });
  const download = element("button", { type: "button", text: "Download the video", hidden: true });
  const node = card(
    models, file.name,
    element("div", { class: "media" }, video, element("div", { class: "row tools" }, cancel, download)),
    ...views.map((view) => element("div", { class: "column" }, view.panel.node, view.progress)),
    ...views.map((view) => view.timeline.node),
  );
  node.classList.add("film");
  show(node);

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

  function select(person) {
    track = person.track;
    if (video.src) video.currentTime = person.start;
    draw();
  }

  function sending(view, share) {
    view.bar.value = share;
    view.count.textContent = share < 1 ? `${percent(share)} sent` : "sent";
  }

  function update(view, job, added) {
    for (const row of added) {
      view.rows.push({ ...row, model: view.model });
      if (row.timestamp !== undefined) view.timeline.add(row);
    }
    view.remark = job.remark;
    view.bar.value = job.total ? Math.min(1, job.frames / job.total) : 0;
    view.count.textContent = job.status === "waiting" ? "waiting in the queue" : `${job.frames} of ${job.total ?? "?"} frames`;
    // Without the count: a screen reader would read out each change.
    if (job.status === "reading") setStatus(`Reading ${file.name} …`);
    draw();
  }

  const allRows = () => [].concat(...views.map((view) => view.rows));
  try {
    setStatus(`Sending ${file.name} …`);
    const jobs = views.map((view, i) => runJob(
      file, { model: view.model, annotate: i === 0, ...options }, abort.signal,
      (share) => sending(view, share), (job, added) => update(view, job, added),
    ));
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
      if (views[0].remark) download.after(element("p", { class: "note", text: sentence(views[0].remark) }));
      download.addEventListener("click", () => save(annotated, `${stem(file.name)}-moue.mp4`));
      for (const event of ["timeupdate", "seeked", "loadedmetadata"]) video.addEventListener(event, draw);
    }
    draw();
    for (const { timeline } of views) timeline.node.hidden = timeline.firstTrack() === undefined;
    node.append(peopleTable(allRows(), labels, select) ?? "");
    setStatus(`${file.name}: ${plural(views[0].rows.filter((row) => row.frame !== undefined).length, "frame")} read.`);
    return allRows();
  } catch (error) {
    if (error.name !== "AbortError") {
      error.partial = allRows();
      if (!error.partial.length) node.remove();
      throw error;
    }
    node.remove();
    if (signal.aborted) throw error;
    setStatus(`${file.name} was cancelled and deleted from the server.`);
    return null;
  } finally {
    signal.removeEventListener("abort", clear);
    views.forEach((view) => view.progress.remove());
    const focused = document.activeElement === cancel;
    cancel.remove();
    if (focused) (download.hidden ? document.getElementById("files") : download).focus();
  }
}
