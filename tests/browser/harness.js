// What every browser test needs: the server, a page from another origin, and Chromium.
//
// Each helper ends what it started when its test ends, by the process it holds.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
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
  const port = await freePort();
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
