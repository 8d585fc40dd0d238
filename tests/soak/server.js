// The server of a soak: started, signalled, looked at from outside (proc(5), --admin), and ended.
// Makes no load.

import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import { openSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

// One request on a connection of its own, which is over with it; a POST if there is a body.
export function request(url, body) {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? "GET" : "POST";
    const sent = http.request(url, { method, agent: false, timeout: 10_000 }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part) => (text += part));
      response.on("error", reject).on("end", () => resolve({ status: response.statusCode, text }));
    });
    sent.on("timeout", () => sent.destroy(new Error(`${url}: no answer`)));
    sent.on("error", reject).end(body);
  });
}

export class Server {
  // Starts it with a file of settings, which a reload reads again; its log goes to `out`.
  static async start(binary, out) {
    const server = new Server();
    server.file = `${out}/wsfast.toml`;
    server.log = `${out}/server.log`;
    server.write(1024);
    const log = openSync(server.log, "w");
    server.child = spawn(binary, ["--config", server.file, "-v"], { stdio: ["ignore", "pipe", log] });
    process.on("exit", () => server.child.kill("SIGKILL"));
    server.child.on("exit", (code, signal) => (server.ended = code ?? signal));
    const lines = createInterface(server.child.stdout)[Symbol.asyncIterator]();
    const text = [];
    while (!text.at(-1)?.startsWith("to watch over it")) {
      const { value, done } = await lines.next();
      if (done) throw new Error(`the server does not start: ${readFileSync(server.log)}`);
      text.push(value);
    }
    const url = (scheme) => text.join("\n").match(new RegExp(`${scheme}://([0-9.]+:[0-9]+)`))[1];
    Object.assign(server, { plain: url("ws"), tls: url("wss"), admin: url("http") });
    return server;
  }

  // The settings. Messages of a topic go after a few seconds, so that memory has a level to stay at.
  write(headers) {
    const lines = [
      'listen = ["127.0.0.1:0", "tls:127.0.0.1:0"]',
      'admin = "127.0.0.1:0"',
      `tls-cert = "${this.file.replace("wsfast.toml", "dev-cert.pem")}"`,
      `tls-key = "${this.file.replace("wsfast.toml", "dev-key.pem")}"`,
      "history = 256",
      'history-ttl = "20s"',
      'topic-bytes = "2M"',
      'ping-interval = "5s"',
      // What a reload changes.
      `max-headers = ${headers % 900}`,
    ];
    writeFileSync(this.file, `${lines.join("\n")}\n`);
  }

  signal(name) {
    this.child.kill(name);
  }

  // How often a line of the log says that.
  logged(text) {
    return readFileSync(this.log, "utf8").split(text).length - 1;
  }

  // A field of /proc/PID/status: KiB, or a count.
  status(name) {
    const line = readFileSync(`/proc/${this.child.pid}/status`, "utf8").match(new RegExp(`^${name}:\\s+(\\d+)`, "m"));
    return Number(line[1]);
  }

  descriptors() {
    return readdirSync(`/proc/${this.child.pid}/fd`).length;
  }

  // Times that the loop's thread went to sleep: each timer that it has wakes it.
  sleeps() {
    return this.status("voluntary_ctxt_switches");
  }

  async metrics() {
    const { text } = await request(`http://${this.admin}/metrics`);
    const value = (name) => Number(text.match(new RegExp(`^${name} (\\d+)$`, "m"))[1]);
    return {
      clients: value("wsfast_clients"),
      subscriptions: value("wsfast_subscriptions"),
      topics: value("wsfast_topics"),
    };
  }

  // Ends it as an operator does; true: it drained and left with 0.
  async end() {
    if (this.ended !== undefined) return false;
    const ended = once(this.child, "exit");
    this.signal("SIGTERM");
    const [code] = await ended;
    return code === 0;
  }
}
