// What every browser test needs: the server, a page from another origin, and Chromium.
//
// Each helper ends what it started when its test ends, by the process it holds.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, request as sendRequest } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const REPOSITORY = new URL("../../", import.meta.url).pathname;
const START_DEADLINE_MS = 20_000;
const STOP_DEADLINE_MS = 10_000;

// Another echo server may be put in: WSFAST_SERVER="command {port}".
const COMMAND = process.env.WSFAST_SERVER ?? `${REPOSITORY}target/release/wsfast --port {port}`;

// Starts the server with `args` and waits until its port accepts.
export async function startServer(t, ...args) {
  return startServerAt(t, await freePort(), ...args);
}

// The same on a port that is known, as when a server is started again.
export async function startServerAt(t, port, ...args) {
  const [command, ...words] = COMMAND.replaceAll("{port}", port).split(" ");
  const child = spawn(command, [...words, ...args], { cwd: REPOSITORY, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (output += data));
  const ended = new Promise((resolve) => {
    child.once("error", (error) => resolve({ error }));
    child.once("exit", (code, signal) => resolve({ code, signal }));
  });
  const server = {
    port,
    output: () => output,
    // What of its output matches, once something does.
    async said(pattern) {
      const deadline = Date.now() + START_DEADLINE_MS;
      while (!pattern.test(output)) {
        if (Date.now() > deadline) throw new Error(`the server does not say ${pattern}: ${output}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return pattern.exec(output);
    },
    // Sends SIGTERM and resolves to `{ code, signal }` of the end.
    async stop() {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_DEADLINE_MS);
      const end = await ended;
      clearTimeout(timer);
      return end;
    },
  };
  t.after(() => server.stop());

  const deadline = Date.now() + START_DEADLINE_MS;
  while (!(await accepts(port))) {
    if (child.exitCode !== null || child.pid === undefined || Date.now() > deadline) {
      throw new Error(`the server did not listen on port ${port}: ${command}\n${output}`);
    }
  }
  return server;
}

// Serves the pages of this folder, and a blank one at `/`, on a port of their own.
export async function startPages(t) {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const body = pathname === "/seed.html" ? readFileSync(new URL("seed.html", import.meta.url)) : "<!doctype html>";
    response.writeHead(200, { "Content-Type": "text/html; charset=utf-8", Connection: "close" }).end(body);
  });
  server.listen(0);
  await once(server, "listening");
  t.after(() => server.close());
  return server.address().port;
}

// A proxy in front of the server at `port`, which can be told to be in the way:
// `refused` and `held` are sets of "ws" and "sse". What is held is never answered.
export async function startProxy(t, port) {
  const refused = new Set();
  const held = new Set();
  const live = { ws: new Set(), sse: new Set(), other: new Set() };
  const server = createServer((request, response) => {
    const kind = request.headers.accept === "text/event-stream" ? "sse" : "other";
    if (held.has(kind)) return;
    if (refused.has(kind)) return void response.writeHead(502).end();
    const { method, url: path, headers } = request;
    const onward = sendRequest({ host: "127.0.0.1", port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      response.flushHeaders();
      answer.on("error", () => response.destroy()).pipe(response);
    });
    live[kind].add(request.socket);
    response.on("close", () => {
      live[kind].delete(request.socket);
      onward.destroy();
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  });
  const sockets = new Set();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("upgrade", (request, socket, head) => {
    socket.on("error", () => {});
    if (held.has("ws")) return;
    if (refused.has("ws")) return void socket.end("HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n");
    const lines = [`${request.method} ${request.url} HTTP/1.1`];
    for (let at = 0; at < request.rawHeaders.length; at += 2) {
      lines.push(`${request.rawHeaders[at]}: ${request.rawHeaders[at + 1]}`);
    }
    const onward = connect(port, "127.0.0.1");
    onward.write(`${lines.join("\r\n")}\r\n\r\n`);
    onward.write(head);
    onward.on("error", () => socket.destroy()).on("close", () => socket.destroy());
    live.ws.add(socket);
    socket.on("close", () => {
      live.ws.delete(socket);
      onward.destroy();
    });
    onward.pipe(socket).pipe(onward);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    port: server.address().port,
    refused,
    held,
    // Ends the connections of a kind that there are, without a closing handshake.
    cut(kind) {
      for (const socket of live[kind]) socket.destroy();
    },
  };
}

// A page of a headless Chromium of its own. `foreign.test` is this machine.
export async function openPage(t) {
  const profile = mkdtempSync(join(tmpdir(), "wsfast-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--host-resolver-rules=MAP foreign.test 127.0.0.1",
    ],
  });
  t.after(async () => {
    await context.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  });
  return context.pages()[0] ?? (await context.newPage());
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true));
    socket.once("error", () => setTimeout(resolve, 20, false));
    socket.once("close", () => socket.destroy());
    socket.once("connect", () => socket.destroy());
  });
}
