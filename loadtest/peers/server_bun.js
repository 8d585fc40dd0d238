// Bun's own WebSocket server as an echo on the port that is its argument.
Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    if (!server.upgrade(request)) return new Response("a WebSocket is expected", { status: 426 });
  },
  websocket: {
    message(socket, message) {
      socket.send(message);
    },
  },
});
