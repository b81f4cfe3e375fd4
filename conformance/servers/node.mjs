// A server on Node's own HTTP, for the differential test of transparency: what it answers is named by the path.
// Says its port on standard output; ends when standard input does.

import http from "node:http";

const answers = {
  length: (res) => res.writeHead(200, ["Content-Type", "text/plain", "Content-Length", "5"]).end("hello"),
  empty: (res) => res.writeHead(200, ["Content-Length", "0"]).end(),
  chunked: (res) => {
    res.writeHead(200, ["Content-Type", "text/plain"]);
    res.write("hello");
    res.end(" world");
  },
  trailers: (res) => {
    res.writeHead(200, ["Trailer", "X-Sum, X-Other"]);
    res.write("hello");
    res.addTrailers([["X-Sum", "1"], ["X-Other", "a b"]]);
    res.end();
  },
  close: (res) => {
    res.shouldKeepAlive = false;
    res.writeHead(200, ["Connection", "close", "Content-Length", "5"]).end("hello");
  },
  "no-length": (res) => {
    res.useChunkedEncodingByDefault = false;
    res.writeHead(200, ["Connection", "close"]);
    res.end("hello");
  },
  204: (res) => res.writeHead(204, ["X-Y", "z"]).end(),
  205: (res) => res.writeHead(205, ["Content-Length", "0"]).end(),
  304: (res) => res.writeHead(304, ["ETag", '"x"', "Content-Length", "5"]).end(),
  299: (res) => res.writeHead(299, "Our own", ["Content-Length", "0"]).end(),
  599: (res) => res.writeHead(599, "", ["Content-Length", "0"]).end(),
  reason: (res) => res.writeHead(200, "Fine, thank you!", ["Content-Length", "0"]).end(),
  headers: (res) => {
    const lines = ["x-MiXeD", "1", "SERVER", "x", "Set-Cookie", "a=b; Path=/", "Set-Cookie", "c=d", "X-Empty", ""];
    lines.push("X-Latin", "\u00e9\u00ff", "X-Mixed", "2", "WWW-Authenticate", "Basic", "Content-Length", "0");
    res.writeHead(200, lines).end();
  },
  redirect: (res) => res.writeHead(301, ["Location", "/elsewhere?x=1", "Content-Length", "0"]).end(),
  hints: (res) => {
    res.writeEarlyHints({ link: "</style.css>; rel=preload" });
    res.writeProcessing();
    res.writeHead(200, ["Content-Length", "5"]).end("hello");
  },
  large: (res) => res.writeHead(200, ["Content-Length", String(1 << 20)]).end(Buffer.alloc(1 << 20, "x")),
  bytes: (res) => res.writeHead(200, ["Content-Length", "256"]).end(Buffer.from(Array.from({ length: 256 }, (_, i) => i))),
  nothing: (res) => res.socket.destroy(),
  reset: (res) => {
    res.writeHead(200, ["Content-Length", "100"]);
    res.write("hello", () => res.socket.resetAndDestroy());
  },
};

const server = http.createServer({ keepAliveTimeout: 60000 }, (request, response) => {
  let length = 0;
  request.on("data", (part) => (length += part.length));
  request.on("error", () => {});
  request.on("end", () => {
    const name = request.url.replace(/^http:\/\/[^/]*/, "").split("?")[0].split("/").pop();
    const answer = answers[name];
    response.sendDate = false;
    if (answer) answer(response);
    else response.writeHead(404, ["X-Got", String(length), "X-Trailers", request.rawTrailers.join(), "Content-Length", "0"]).end();
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
