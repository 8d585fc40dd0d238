// Readers of numbered messages, one for each way to listen. Each comes back where it was cut off, as its clients do, and enters what
// it has had into a ledger. Decides nothing about what is right.

import http from "node:http";
import https from "node:https";
import { createRequire } from "node:module";

const interop = createRequire(new URL("../interop/package.json", import.meta.url));
const { WebSocket } = interop("ws");
const { Centrifuge } = interop("centrifuge");

class Reader {
  // Enters into `ledger` what `topic` at `place` (HOST:PORT) brings. `opened`: its connections so far.
  constructor(place, topic, ledger) {
    Object.assign(this, { place, topic, ledger, opened: 0, isOver: false, isCut: false });
  }

  // Its connection breaks, as connections do.
  cut() {
    this.isCut = true;
    this.sever();
  }

  // The connection is over; `why`, if it was not cut here. Slow readers may be ended, and TLS does not live through a restart.
  severed(why) {
    if (!this.isCut && !this.isOver && !this.ledger.mayLose && !this.tls) {
      this.ledger.complain(`${this.ledger.name}: ended by the server: ${why}`);
    }
    this.isCut = false;
  }

  // Comes back, unless it is over.
  again(milliseconds = 20) {
    if (!this.isOver) setTimeout(() => this.isOver || this.start(), milliseconds);
  }

  stop() {
    this.isOver = true;
    this.end?.();
  }
}

// A WebSocket: bare, which cannot resume and starts anew, or wsfast.meta, which goes on behind the last id that it has.
export class Socket extends Reader {
  constructor(place, topic, ledger, { meta = false, tls = null, deflate = false } = {}) {
    super(place, topic, ledger);
    Object.assign(this, { meta, tls, deflate, id: null });
  }

  start() {
    const since = this.meta && this.id ? `?since=${this.id}` : "";
    const scheme = this.tls ? "wss" : "ws";
    const options = { perMessageDeflate: this.deflate, ca: this.tls };
    this.socket = new WebSocket(`${scheme}://${this.place}/${this.topic}${since}`, this.meta ? ["wsfast.meta"] : [], options);
    if (!this.meta) this.ledger.startAnew();
    this.opened += 1;
    this.socket.on("message", (data) => this.take(data.toString()));
    this.socket.on("error", () => {});
    this.socket.on("close", (code) => {
      this.severed(code);
      this.again();
    });
  }

  take(text) {
    if (!this.meta) return this.ledger.take(JSON.parse(text).n);
    const [, head, body] = text.match(/^(.*?)\n\n([^]*)$/);
    if (head.startsWith("gap: ")) return this.gap(JSON.parse(head.slice(5)));
    this.id = head.slice(4);
    this.ledger.take(JSON.parse(body).n);
  }

  gap({ to, lost }) {
    this.id = to;
    this.ledger.gap(lost);
  }

  sever() {
    this.socket.terminate();
  }

  pause() {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.pause();
  }

  resume() {
    this.socket.resume();
  }

  end() {
    this.socket.terminate();
  }
}

// HTTP: server-sent events or JSON lines.
export class Stream extends Reader {
  constructor(place, topic, ledger, { accept, tls = null }) {
    super(place, topic, ledger);
    Object.assign(this, { accept, tls, id: null, rest: "", event: {} });
  }

  start() {
    const headers = { Accept: this.accept, ...(this.id ? { "Last-Event-ID": this.id } : {}) };
    const get = this.tls ? https.get : http.get;
    this.opened += 1;
    this.rest = "";
    this.event = {};
    this.response = undefined;
    const scheme = this.tls ? "https" : "http";
    const over = () => {
      this.severed("the end of the stream");
      this.again();
    };
    this.request = get(`${scheme}://${this.place}/${this.topic}`, { headers, agent: false, ca: this.tls }, (response) => {
      this.response = response.setEncoding("utf8");
      if (response.statusCode !== 200 && !(this.tls && response.statusCode === 503)) {
        this.ledger.complain(`${this.ledger.name}: ${response.statusCode}`);
      }
      response.on("data", (text) => {
        const lines = (this.rest + text).split("\n");
        this.rest = lines.pop();
        lines.forEach((line) => this.line(line));
      });
      response.on("error", () => {});
      response.on("close", over);
    });
    // Behind its head the response says so itself.
    this.request.on("error", () => this.response ?? over());
  }

  line(line) {
    if (this.accept === LINES) {
      if (line === "") return;
      const { id, text, gap } = JSON.parse(line);
      return gap ? this.gap(gap) : this.take(id, text);
    }
    if (line !== "") {
      const [, name, value] = line.match(/^([a-z]*): ?(.*)$/);
      this.event[name] = value;
      return;
    }
    const { id, event, data } = this.event;
    this.event = {};
    if (data === undefined) return;
    if (event === "gap") this.gap(JSON.parse(data));
    else this.take(id, data);
  }

  take(id, text) {
    this.id = id;
    this.ledger.take(JSON.parse(text).n);
  }

  gap({ to, lost }) {
    this.id = to;
    this.ledger.gap(lost);
  }

  sever() {
    this.request.destroy();
  }

  pause() {
    this.response?.pause();
  }

  resume() {
    this.response?.resume();
  }

  end() {
    this.request.destroy();
  }
}

// Long-poll: one request after another on one connection.
export class Poll extends Reader {
  start() {
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    this.opened += 1;
    this.ask();
  }

  ask() {
    if (this.isOver) return;
    const headers = this.etag ? { "If-None-Match": this.etag } : {};
    this.request = http.get(`http://${this.place}/${this.topic}?wait=5`, { headers, agent: this.agent }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text) => (body += text));
      // A response that is cut is a request that failed.
      response.on("error", () => {});
      response.on("end", () => {
        if (!response.complete) return;
        if (![200, 204].includes(response.statusCode)) this.ledger.complain(`${this.ledger.name}: ${response.statusCode}`);
        for (const line of body.split("\n").filter((line) => line !== "")) {
          const { text, gap } = JSON.parse(line);
          if (gap) this.ledger.gap(gap.lost);
          else this.ledger.take(JSON.parse(text).n);
        }
        this.etag = response.headers.etag ?? this.etag;
        this.ask();
      });
    });
    this.request.on("error", ({ message }) => {
      this.severed(message);
      setTimeout(() => this.ask(), 20);
    });
  }

  sever() {
    this.request.destroy();
  }

  end() {
    this.request.destroy();
    this.agent.destroy();
  }
}

// The stock client of Centrifugo's protocol, which recovers by itself.
export class Stock extends Reader {
  constructor(place, topic, ledger, { deflate = false } = {}) {
    super(place, topic, ledger);
    this.deflate = deflate;
  }

  start() {
    const reader = this;
    class Counted extends WebSocket {
      constructor(address, protocols) {
        super(address, protocols, { perMessageDeflate: reader.deflate });
        reader.opened += 1;
        reader.socket = this;
      }
    }
    this.client = new Centrifuge(`ws://${this.place}/connection/websocket`, {
      websocket: Counted,
      minReconnectDelay: 10,
      maxReconnectDelay: 100,
    });
    this.client.on("error", () => {});
    this.subscription = this.client.newSubscription(this.topic, { positioned: true, recoverable: true });
    this.subscription.on("publication", ({ data }) => this.ledger.take(data.n));
    this.subscription.on("subscribed", ({ wasRecovering, recovered }) => {
      if (wasRecovering && !recovered) this.ledger.complain(`${this.ledger.name}: it could not recover`);
    });
    this.client.on("connecting", ({ code, reason }) => {
      if (code !== 0) this.severed(`${code} ${reason}`);
    });
    this.client.on("disconnected", ({ code, reason }) => {
      if (!this.isOver) this.ledger.complain(`${this.ledger.name}: ended for good: ${code} ${reason}`);
    });
    this.subscription.subscribe();
    this.client.connect();
  }

  sever() {
    this.socket.terminate();
  }

  end() {
    this.client.disconnect();
  }
}

export const EVENTS = "text/event-stream";
export const LINES = "application/x-ndjson";
export { WebSocket };
