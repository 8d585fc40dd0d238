// npm's ws as an echo server on the port that is its first argument, over TLS if a certificate and a key follow: as its
// README sets one up, compression off as by default.
import { readFileSync } from "node:fs";
import { createServer as createPlain } from "node:http";
import { createServer as createSecure } from "node:https";
import { WebSocketServer } from "ws";

const [port, cert, key] = process.argv.slice(2);
const server = cert ? createSecure({ cert: readFileSync(cert), key: readFileSync(key) }) : createPlain();
new WebSocketServer({ server }).on("connection", (socket) => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on("error", () => {});
});
server.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
