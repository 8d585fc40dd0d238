// Node's own WebSocket (undici's). It offers "permessage-deflate; client_max_window_bits", inflates, and deflates nothing.

import { standardPeer } from "./cases.js";
import { runAll, skip } from "./report.js";

const client = `node ${process.versions.node}`;
if (typeof WebSocket === "undefined") skip(client, "no WebSocket before Node 20, or without --experimental-websocket");
else await runAll(client, [{ client_max_window_bits: true }], standardPeer);
