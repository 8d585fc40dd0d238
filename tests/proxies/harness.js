// The server, the proxies in front of it, and a stranger who comes by one of them.
//
// Each helper ends what it started when its test ends, by the process it holds.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request as sendRequest } from "node:http";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

const REPOSITORY = new URL("../../", import.meta.url).pathname;
const BINARY = process.env.WSFAST_BINARY ?? `${REPOSITORY}target/release/wsfast`;
const START_DEADLINE_MS = 20_000;
const STEP_DEADLINE_MS = 10_000;

// Starts the server with `args`; resolves to its port, that of its admin side, and what it said.
export async function startServer(t, ...args) {
  const [port, admin] = [await freePort(), await freePort()];
  const child = start(t, BINARY, ["--port", String(port), "--admin", `127.0.0.1:${admin}`, ...args]);
  await accepts(port, child);
  await accepts(admin, child);
  return { port, admin, said: () => child.output };
}

// Starts a proxy of `kind` with `config`, in which {listen} and {server} are ports and {dir} is its directory.
export async function startProxy(t, kind, config, server) {
  const dir = mkdtempSync(join(tmpdir(), `wsfast-${kind}-`));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, "temp"));
  const listen = await freePort();
  const file = join(dir, "config");
  writeFileSync(file, config.replaceAll("{listen}", listen).replaceAll("{server}", server).replaceAll("{dir}", dir));
  const [command, ...args] = {
    nginx: ["nginx", "-c", file, "-p", dir, "-e", join(dir, "error.log")],
    haproxy: ["haproxy", "-db", "-f", file],
    caddy: ["caddy", "run", "--adapter", "caddyfile", "--config", file],
  }[kind];
  const child = start(t, command, args, { HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir });
  await accepts(listen, child);
  return listen;
}

// The README's configuration in the language `name`, with the ports that the harness fills in.
export function advised(name) {
  const readme = readFileSync(`${REPOSITORY}README.md`, "utf8");
  const [, config] = new RegExp(`\`\`\`${name}\n([^]*?)\`\`\``).exec(readme) ?? assert.fail(`the README has no ${name}`);
  const replaced = {
    nginx: [/listen 80;/, "listen 127.0.0.1:{listen};"],
    haproxy: [/bind :80/, "bind 127.0.0.1:{listen}"],
    caddyfile: [/^chat\.example \{/m, "http://chat.example:{listen} {\n    bind 127.0.0.1"],
  }[name];
  assert.match(config, replaced[0]);
  assert.match(config, /127\.0\.0\.1:8002/);
  return config.replace(...replaced).replaceAll("127.0.0.1:8002", "127.0.0.1:{server}");
}

// What becomes of a stranger's request by HTTP: the status. `body` is there for what publishes.
export async function ask(port, method, path, headers, body) {
  const sent = sendRequest({ host: "127.0.0.1", port, method, path, headers, signal: AbortSignal.timeout(STEP_DEADLINE_MS) });
  sent.end(body);
  const [answer] = await once(sent, "response");
  // A stream has no end, and its head says all.
  answer.destroy();
  return answer.statusCode;
}

// Publishes by a message of a WebSocket: what comes back, or the code that it is closed with; the status, if it does not open.
export async function say(port, path, headers, subprotocols = []) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, subprotocols, { headers, handshakeTimeout: STEP_DEADLINE_MS });
  const told = new Promise((resolve) => {
    socket.on("open", () => socket.send("a stranger's"));
    socket.on("message", (data) => resolve(String(data)));
    socket.on("close", (code) => resolve(code));
    socket.on("unexpected-response", (_, answer) => resolve(answer.statusCode));
    socket.on("error", () => {});
  });
  const answer = await within(told, "a WebSocket's answer");
  socket.terminate();
  return answer;
}

// Publishes by Centrifugo's own client: "published", or the error's code.
export async function publish(port, headers, token) {
  const client = new Centrifuge(`ws://127.0.0.1:${port}/connection/websocket`, {
    websocket: class extends WebSocket {
      constructor(url) {
        super(url, { headers });
      }
    },
    ...(token ? { token } : {}),
  });
  client.connect();
  try {
    await within(client.ready(), "a connection");
    const told = client.publish("t", { from: "a stranger" });
    return await within(told.then(() => "published", (error) => error.code), "an answer");
  } finally {
    client.disconnect();
  }
}

function start(t, command, args, env = {}) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
  child.output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (child.output += data));
  // A command that is not there is told by `accepts`.
  child.on("error", (error) => (child.output += error));
  const ended = new Promise((resolve) => child.once("close", resolve));
  t.after(async () => {
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STEP_DEADLINE_MS);
    if (child.pid !== undefined) await ended;
    clearTimeout(timer);
  });
  return child;
}

async function accepts(port, child) {
  const deadline = Date.now() + START_DEADLINE_MS;
  const connects = () =>
    new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("connect", () => (socket.destroy(), resolve(true)));
      socket.once("error", () => setTimeout(resolve, 20, false));
    });
  while (!(await connects())) {
    if (child.exitCode !== null || child.pid === undefined || Date.now() > deadline) {
      throw new Error(`nobody listens on port ${port}: ${child.spawnargs.join(" ")}\n${child.output}`);
    }
  }
}

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come`)), STEP_DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
