// The files that are dropped on the page, those in folders included.

const MEDIA = /\.(jpe?g|png|gif|webp|bmp|tiff?|avif|hei[cf]|mp4|m4v|mov|mkv|webm|avi|mpe?g|ts|ogv|flv|wmv)$/i;

// Resolves to { files, skipped }: skipped counts the files in folders that are neither photos nor videos, as those of a
// dropped folder are not chosen one by one.
export async function droppedFiles(transfer) {
  // Entries must be taken before the first await: then the browser forgets what was dropped.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return { files: [...transfer.files], skipped: 0 };
  const found = { files: [], skipped: 0 };
  for (const entry of entries) await collect(entry, found, true);
  return found;
}

async function collect(entry, found, chosen = false) {
  if (entry.isDirectory) {
    const reader = entry.createReader();
    // It gives a part of the entries at a time, and none after the last.
    for (let part; (part = await called((done, fail) => reader.readEntries(done, fail))).length;) {
      for (const inner of part) await collect(inner, found);
    }
  } else if (chosen || MEDIA.test(entry.name)) {
    found.files.push(await called((done, fail) => entry.file(done, fail)));
  } else {
    found.skipped += 1;
  }
}

function called(method) {
  return new Promise(method);
}
