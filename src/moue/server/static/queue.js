// The files that are to be read, one after the other; those that are added meanwhile wait for their turn.

export class FileQueue {
  // read(item, signal) reads one, and rejects where the signal is aborted; onchange() is called before each and at the
  // end, then onfinish(number of items).
  constructor(read, onchange, onfinish) {
    Object.assign(this, { read, onchange, onfinish });
    this.reset();
  }

  reset() {
    this.items = [];
    this.done = 0;
    this.abort = null;
  }

  get running() {
    return this.abort !== null;
  }

  get total() {
    return this.items.length;
  }

  // What is not read yet, the present one included.
  get rest() {
    return this.items.slice(this.done);
  }

  add(items) {
    this.items.push(...items);
    if (this.running) this.onchange();
    else if (items.length) this.run();
  }

  async run() {
    const { signal } = this.abort = new AbortController();
    for (; this.rest.length; this.done += 1) {
      this.onchange();
      await this.read(this.rest[0], signal).catch((error) => { if (!signal.aborted) reportError(error); });
      if (signal.aborted) return;
    }
    const { total } = this;
    this.reset();
    this.onchange();
    this.onfinish(total);
  }

  // Stops the file that is being read, and forgets the others.
  clear() {
    this.abort?.abort();
    this.reset();
  }
}
