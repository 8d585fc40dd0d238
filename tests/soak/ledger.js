// What a reader of numbered messages has had: each once, in order, and none that is missing without a word.
// Reads no socket, and knows no transport.

export class Ledger {
  // `name` stands in front of complaints, which go to `complain`. `mayLose`: declared gaps are in order.
  constructor(name, complain, { mayLose = false } = {}) {
    Object.assign(this, { name, complain, mayLose, next: null, had: 0, lost: 0, gaps: 0 });
  }

  // Message `number` came.
  take(number) {
    if (!Number.isInteger(number)) return this.complain(`${this.name}: not a number: ${number}`);
    if (this.next !== null && number < this.next) return this.complain(`${this.name}: doubled ${number}, due was ${this.next}`);
    if (this.next !== null && number > this.next) this.complain(`${this.name}: lost ${this.next} to ${number - 1}`);
    this.next = number + 1;
    this.had += 1;
  }

  // The server says that so many are lost.
  gap(lost) {
    this.gaps += 1;
    if (!this.mayLose) return this.complain(`${this.name}: a gap of ${lost} in front of ${this.next}`);
    if (!Number.isInteger(lost) || this.next === null) return this.complain(`${this.name}: a gap of ${lost}`);
    this.lost += lost;
    this.next += lost;
  }

  // The reader was away, and does not ask for what it missed.
  startAnew() {
    this.next = null;
  }

  // Whether all below `end` came or was declared lost. A reader that started anew and has had nothing since has nothing to miss.
  isAt(end) {
    return this.next === end || (this.next === null && this.had > 0);
  }
}
