// A server on Node's http and http2, and on ws: `serve.mjs MODULES ADDRESS PORT` says `ready`, and ends when standard input
// does. What it answers is named by the path; for the WebSocket suite it sends back each message, whatever the path.

import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { createHash } from "node:crypto";
import { createRequire } from "node:module";

const [modules, address, port] = process.argv.slice(2);
const { WebSocketServer } = createRequire(modules + "/")("ws");

const block = (number) => Buffer.alloc(1 << 20, createHash("sha256").update(Buffer.from([number])).digest());

// Streams whose client went away, and who waits for one.
let left = 0;
const waiting = [];
const leave = () => {
  left += 1;
  if (waiting.length) waiting.shift()();
};

const length = (res, status, body, more = {}) =>
  res.writeHead(status, { "content-length": Buffer.byteLength(body), ...more }).end(body);

const answers = {
  length: (req, res) => length(res, 200, "hello"),
  chunked: (req, res) => {
    res.writeHead(200, { "content-type": "text/plain" });
    res.write("hello");
    setImmediate(() => res.end(" world"));
  },
  trailers: (req, res) => {
    res.writeHead(200, { trailer: "X-Sum, X-Other" });
    res.write("hello");
    res.addTrailers({ "X-Sum": "1", "X-Other": "a b" });
    res.end();
  },
  204: (req, res) => res.writeHead(204, { etag: '"x"' }).end(),
  304: (req, res) => res.writeHead(304, { etag: '"x"' }).end(),
  hints: (req, res) => {
    res.writeEarlyHints({ link: "</style.css>; rel=preload" });
    length(res, 200, "hello");
  },
  large: (req, res) => {
    const mib = Number(new URL(req.url, "http://h").searchParams.get("mib"));
    res.writeHead(200, { "content-length": mib << 20 });
    for (let number = 0; number < mib; number += 1) res.write(block(number));
    res.end();
  },
  close: (req, res) => length(res, 200, "bye", req.httpVersion === "2.0" ? {} : { connection: "close" }),
  headers: (req, res) =>
    length(res, 200, "", { "X-MiXeD": "1", "Set-Cookie": ["a=b; Path=/", "c=d"], "X-Empty": "", "X-Latin": "\u00e9" }),
  // As the proxy denies: who is denied sees what he would see of such a server.
  write: (req, res) => length(res, 403, "Access denied\r\n", { "content-type": "text/plain" }),
  echo: (req, res, body) => {
    const sum = createHash("sha256").update(body).digest("hex").slice(0, 16);
    const names = Object.keys(req.headers).filter((name) => !name.startsWith(":")).sort();
    const lines = [`${req.method} ${req.url} ${req.httpVersion}`, `body ${body.length} ${sum}`];
    lines.push(...names.map((name) => `${name}: ${JSON.stringify(req.headers[name])}`));
    lines.push(...Object.entries(req.trailers).map(([name, value]) => `trailer ${name}: ${value}`).sort());
    length(res, 200, lines.join("\n") + "\n");
  },
  left: (req, res) => {
    const answer = () => {
      left -= 1;
      length(res, 200, "left\n");
    };
    if (left > 0) answer();
    else waiting.push(answer);
  },
};

// Answered before their body has come.
const atOnce = {
  duplex: (req, res) => {
    res.writeHead(200, { "content-type": "text/plain" });
    res.flushHeaders?.();
    req.on("data", (part) => res.write(part.toString().replace(/(\d+)\n/g, "<$1>\n")));
    req.on("end", () => res.end());
  },
  events: (req, res) => {
    res.writeHead(200, { "content-type": "text/event-stream" });
    for (let number = 0; number < 3; number += 1) res.write(`id: ${number}\ndata: event\n\n`);
    res.on("close", leave);
  },
  early: (req, res) => length(res, 413, "too large\n", req.httpVersion === "2.0" ? {} : { connection: "close" }),
};

const serve = (req, res) => {
  const name = req.url.split("?")[0].split("/").pop();
  res.sendDate = false;
  req.on("error", () => {});
  res.on("error", () => {});
  if (atOnce[name]) return atOnce[name](req, res);
  const parts = [];
  req.on("data", (part) => parts.push(part));
  req.on("end", () => (answers[name] ?? ((req, res) => length(res, 404, "")))(req, res, Buffer.concat(parts)));
};

const http1 = http.createServer({ keepAliveTimeout: 60000 }, serve);
http1.on("checkContinue", (req, res) => {
  if (!req.url.endsWith("/early")) res.writeContinue();
  serve(req, res);
});
// The suite sends more fragments, and more bytes, than a server of today would take.
const sockets = new WebSocketServer({ noServer: true, maxPayload: 1 << 28, maxFragments: 1 << 20, perMessageDeflate: true });
http1.on("upgrade", (req, socket, head) => {
  socket.on("error", () => {});
  if (req.url === "/write") {
    socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 15\r\n\r\nAccess denied\r\n");
  } else if (req.headers.upgrade === "websocket") {
    sockets.handleUpgrade(req, socket, head, (ws) => {
      ws.on("error", () => {});
      ws.on("message", (data, isBinary) => ws.send(data, { binary: isBinary }));
    });
  } else if (req.headers.upgrade === "echo") {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    socket.write(head);
    socket.pipe(socket, { end: false });
    socket.on("end", () => socket.end("bye\n"));
  } else {
    socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  }
});
const h2 = http2.createServer(serve);
h2.on("checkContinue", (req, res) => {
  res.writeContinue();
  serve(req, res);
});

// One port for both: the first bytes say which it is.
const listener = net.createServer((socket) => {
  socket.on("error", () => {});
  socket.once("readable", () => {
    const first = socket.read();
    if (first === null) return socket.end();
    socket.unshift(first);
    (first.subarray(0, 3).toString() === "PRI" ? h2 : http1).emit("connection", socket);
  });
});
listener.listen(Number(port), address, () => console.log("ready"));
process.stdin.on("end", () => process.exit(0)).resume();
