// A stranger who comes by a proxy on the server's machine may listen, and needs a key or a token for anything else.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { advised, ask, publish, say, startProxy, startServer } from "./harness.js";

const DEADLINE_MS = 60_000;
const KEY = "the-key-of-the-operator";
const SECRET = "a secret of more than sixteen bytes";
const PAGES = ["--allow-origin", "https://chat.example"];

const NGINX = (body) => `
daemon off;
pid {dir}/pid;
events {}
http {
  access_log off;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path {dir}/temp/${name};`).join("\n  ")}
  ${body}
}`;
const LOCATION = (lines) =>
  NGINX(`server { listen 127.0.0.1:{listen}; location / {
    proxy_pass http://127.0.0.1:{server};
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $http_connection;
    ${lines}
  } }`);
const HAPROXY = (body) => `defaults
    timeout connect 5s
    timeout client 1m
    timeout server 1m
${body}`;
const FRONTEND = (lines) =>
  HAPROXY(`listen web
    mode http
    bind 127.0.0.1:{listen}
    timeout tunnel 1h
    ${lines}
    server one 127.0.0.1:{server}
`);
const CADDY = (body) => `{\n    admin off\n}\n${body}`;

// What users write. `passes`: names that a stranger may ask for there so that it looks as if it came from this machine, as the README
// and the start-up lines warn. `hosts`: those that the proxy serves.
const SETUPS = [
  { name: "nginx as the README has it", kind: "nginx", config: NGINX(advised("nginx")), passes: [] },
  { name: "nginx with its own Host", kind: "nginx", config: LOCATION(""), passes: ["chat.example", "localhost"] },
  { name: "nginx with Host $host", kind: "nginx", config: LOCATION("proxy_set_header Host $host;"), passes: ["localhost"] },
  { name: "nginx with X-Real-IP", kind: "nginx", config: LOCATION("proxy_set_header X-Real-IP $remote_addr;"), passes: [] },
  { name: "HAProxy as the README has it", kind: "haproxy", config: HAPROXY(advised("haproxy")), passes: [] },
  { name: "HAProxy as it is", kind: "haproxy", config: FRONTEND(""), passes: ["localhost"] },
  { name: "HAProxy with Forwarded", kind: "haproxy", config: FRONTEND("http-request set-header Forwarded for=%[src]"), passes: [] },
  { name: "Caddy as the README has it", kind: "caddy", config: CADDY(advised("caddyfile")), passes: [], hosts: ["chat.example"] },
  { name: "Caddy for any host", kind: "caddy", config: CADDY("http://:{listen} {\n    bind 127.0.0.1\n    reverse_proxy 127.0.0.1:{server}\n}"), passes: [] },
];

for (const { name, kind, config, passes, hosts = ["chat.example", "localhost"] } of SETUPS) {
  const setup = async (t, ...args) => {
    const server = await startServer(t, ...args);
    return { server, port: await startProxy(t, kind, config, server.port) };
  };

  const kept = hosts.filter((host) => !passes.includes(host));
  if (kept.length > 0) {
    test(`${name}: a stranger does nothing where this machine may`, { timeout: DEADLINE_MS }, async (t) => {
      const { server, port } = await setup(t);
      for (const host of kept) await expectToListenAlone(port, { Host: host });
      if (kept.includes("localhost")) {
        // Other names are refused to pages, and where no upgrade is asked for to programs as well.
        await expectToListen(port, { Host: "localhost" });
        // Two hosts at once: the proxy may choose, or refuse.
        const status = await ask(port, "POST", "http://localhost/t", { Host: "chat.example" }, "hi");
        assert.ok([400, 403].includes(status), `${status}`);
        assert.ok([400, 403].includes(await ask(port, "POST", "http://chat.example/t", { Host: "localhost" }, "hi")));
      }
      await expectNothingSaid(server);
    });
  }

  if (passes.length > 0) {
    test(`${name}: what cannot be told is said`, { timeout: DEADLINE_MS }, async (t) => {
      const { server, port } = await setup(t);
      for (const host of passes) assert.equal(await ask(port, "POST", "/t", { Host: host }, "hi"), 200, host);
      assert.match(server.said(), /behind one that shows none anyone publishes, so give --publish-key or --jwt-secret there/);
    });
  }

  test(`${name}: nor where pages are allowed, whatever the proxy shows`, { timeout: DEADLINE_MS }, async (t) => {
    const { server, port } = await setup(t, ...PAGES);
    for (const host of hosts) {
      await expectToListenAlone(port, { Host: host });
      await expectToListenAlone(port, { Host: host, Origin: "https://chat.example" });
      await expectToListen(port, { Host: host });
      // What a client says does not take the signs away.
      await expectToListenAlone(port, { Host: host, Connection: "close, X-Forwarded-For, Via, X-Real-IP, Forwarded" }, "not tried");
    }
    await expectNothingSaid(server);
  });

  test(`${name}: a key opens, and its lack does not`, { timeout: DEADLINE_MS }, async (t) => {
    const { port } = await setup(t, ...PAGES, "--publish-key", KEY);
    for (const host of hosts) {
      await expectToListenAlone(port, { Host: host });
      await expectEverything(port, { Host: host, "X-API-Key": KEY });
    }
  });

  test(`${name}: so does a key where no pages are allowed`, { timeout: DEADLINE_MS }, async (t) => {
    const { port } = await setup(t, "--publish-key", KEY);
    for (const host of hosts) await expectToListenAlone(port, { Host: host });
  });

  test(`${name}: a token opens what it grants`, { timeout: DEADLINE_MS }, async (t) => {
    const { port } = await setup(t, ...PAGES, "--jwt-secret", SECRET);
    const bearer = token({ subscribe: ["t"], publish: ["t"] });
    const headers = { Host: "chat.example", Authorization: `Bearer ${bearer}` };
    assert.equal(await ask(port, "POST", "/t", headers, "hi"), 200);
    assert.equal(await say(port, "/t", headers), "a stranger's");
    assert.equal(await publish(port, { Host: "chat.example" }, bearer), "published");
    assert.equal(await ask(port, "POST", "/u", headers, "hi"), 403);
    assert.equal(await ask(port, "POST", "/api/info", headers, "{}"), 403);
    assert.equal(await say(port, "/t", { Host: "chat.example" }), 401);
  });

  test(`${name}: --client-publish on opens messages, and no more`, { timeout: DEADLINE_MS }, async (t) => {
    const { port } = await setup(t, ...PAGES, "--client-publish", "on");
    const headers = { Host: "chat.example" };
    assert.equal(await say(port, "/t", headers), "a stranger's");
    assert.equal(await publish(port, headers), "published");
    assert.equal(await ask(port, "POST", "/t", headers, "hi"), 403);
    assert.equal(await ask(port, "POST", "/api/info", headers, "{}"), 403);
  });
}

test("the PROXY protocol: whoever comes by it is from elsewhere", { timeout: DEADLINE_MS }, async (t) => {
  const { port: server } = await startServer(t, "--proxy-protocol", "v2", "--trust-proxy", "127.0.0.1");
  const config = HAPROXY(`listen web
    mode tcp
    bind 127.0.0.1:{listen}
    server one 127.0.0.1:{server} send-proxy-v2
`);
  const port = await startProxy(t, "haproxy", config, server);
  await expectToListenAlone(port, { Host: "localhost" });
});

for (const [kind, config] of [
  ["nginx", LOCATION("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;")],
  ["haproxy", FRONTEND("option forwardfor")],
  ["caddy", CADDY("http://:{listen} {\n    bind 127.0.0.1\n    reverse_proxy 127.0.0.1:{server}\n}")],
]) {
  test(`${kind} in front of the admin side: a stranger needs a key`, { timeout: DEADLINE_MS }, async (t) => {
    const server = await startServer(t, "--publish-key", KEY);
    const port = await startProxy(t, kind, config, server.admin);
    // nginx says a Host of its own; to the others the stranger says that of this machine.
    const headers = { Host: "localhost" };
    for (const path of ["/metrics", "/topics", "/connections", "/events"]) {
      assert.equal(await ask(port, "GET", path, headers), 401, path);
      assert.ok([200, 204].includes(await ask(port, "GET", path, { ...headers, "X-API-Key": KEY })), path);
    }
    assert.equal(await ask(port, "DELETE", "/connections/0.1", headers), 401);
    assert.equal(await ask(port, "DELETE", "/connections/0.1", { ...headers, "X-API-Key": KEY }), 404);
    assert.equal(await say(port, "/events", headers), 401);
    assert.equal(await ask(port, "GET", "/ready", headers), 200);
  });
}

// By default nginx speaks HTTP/1.0 to who is behind it, or does from some version on not.
test("nginx with proxy_pass alone: a stranger does nothing where pages are allowed", { timeout: DEADLINE_MS }, async (t) => {
  const config = NGINX("server { listen 127.0.0.1:{listen}; location / { proxy_pass http://127.0.0.1:{server}; } }");
  const server = await startServer(t, ...PAGES);
  const port = await startProxy(t, "nginx", config, server.port);
  for (const path of ["/t", ...Object.keys(API).map((method) => `/api/${method}`)]) {
    const status = await ask(port, "POST", path, { Host: "chat.example" }, "{}");
    assert.ok([403, 505].includes(status), `${path}: ${status}`);
  }
  await expectNothingSaid(server);
});

const API = {
  publish: { channel: "t", data: 1 },
  broadcast: { channels: ["t"], data: 1 },
  presence: { channel: "t" },
  presence_stats: { channel: "t" },
  history: { channel: "t", limit: 1 },
  history_remove: { channel: "t" },
  disconnect: { user: "nobody" },
  info: {},
};

// Nothing is published or called, on any way; messages are not tried where `headers` keep a WebSocket from opening.
async function expectToListenAlone(port, headers, messages = "tried") {
  const refused = [401, 403];
  const where = JSON.stringify(headers);
  for (const method of ["POST", "PUT"]) {
    const status = await ask(port, method, "/t", headers, "hi");
    assert.ok(refused.includes(status), `${method} ${where}: ${status}`);
  }
  for (const [method, body] of Object.entries(API)) {
    const status = await ask(port, "POST", `/api/${method}`, headers, JSON.stringify(body));
    assert.ok(refused.includes(status), `${method} ${where}: ${status}`);
  }
  if (messages !== "tried") return;
  assert.equal(await say(port, "/t", headers), 1008, where);
  assert.equal(await say(port, "/t", headers, ["wsfast.meta"]), 1008, where);
  assert.equal(await publish(port, headers), 103, where);
}

// Asks the server itself.
async function expectNothingSaid({ port }) {
  assert.equal(await ask(port, "GET", "/t?since=all", { Host: "localhost" }), 204);
}

async function expectToListen(port, headers) {
  for (const accept of ["*/*", "text/event-stream", "application/x-ndjson"]) {
    const status = await ask(port, "GET", "/t", { ...headers, Accept: accept });
    assert.ok([200, 204].includes(status), `${accept} ${JSON.stringify(headers)}: ${status}`);
  }
}

async function expectEverything(port, headers) {
  const where = JSON.stringify(headers);
  for (const method of ["POST", "PUT"]) assert.equal(await ask(port, method, "/t", headers, "hi"), 200, where);
  for (const [method, body] of Object.entries(API)) {
    assert.equal(await ask(port, "POST", `/api/${method}`, headers, JSON.stringify(body)), 200, `${method} ${where}`);
  }
  assert.equal(await say(port, "/t", headers), "a stranger's", where);
  assert.equal(await publish(port, headers), "published", where);
}

function token(claims) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}
