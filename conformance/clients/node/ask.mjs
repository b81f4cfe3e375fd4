// Node's http, http2 and fetch, undici and ws as clients: `ask.mjs MODULES ADDRESS PORT` prints what they see, and nothing that
// differs from run to run.

import http from "node:http";
import http2 from "node:http2";
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { once } from "node:events";

const [modules, host, port] = process.argv.slice(2);
const require = createRequire(modules + "/");
const { Client } = require("undici");
const WebSocket = require("ws");

const authority = `${host}:${port}`;
const block = (number) => Buffer.alloc(1 << 20, createHash("sha256").update(Buffer.from([number])).digest());
const megabytes = Buffer.concat([0, 1, 2, 3, 4, 5, 6, 7].map(block));
const shown = (body) => {
  const hash = `${body.length} ${createHash("sha256").update(body).digest("hex")}`;
  return body.length > 2000 ? hash : JSON.stringify(body.toString("latin1")).replaceAll(authority, "ADDRESS");
};
const collect = async (stream) => {
  const parts = [];
  for await (const part of stream) parts.push(Buffer.from(part));
  return Buffer.concat(parts);
};
const say = (...words) => console.log(...words.map((word) => (typeof word === "string" ? word : JSON.stringify(word))));

// What denies a request is the proxy, or the server in its place: each has headers of its own.
const told = (status, headers) => (status === 403 ? "denied" : headers);

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

// Prints all that http's client sees.
async function ask(path, { method = "GET", headers = {}, body, parts, trailers, waits } = {}) {
  const seen = [];
  const request = http.request({ host, port, agent, method, path, headers });
  request.on("information", (info) => seen.push([info.statusCode, info.rawHeaders]));
  request.on("continue", () => {
    seen.push("continue");
    if (waits) request.end(body);
  });
  if (trailers) request.addTrailers(trailers);
  for (const part of parts ?? []) request.write(part);
  // What waits for leave sends its head alone.
  if (waits) request.flushHeaders();
  else request.end(body);
  const [response] = await once(request, "response");
  const answer = await collect(response);
  say("http", method, path, { again: request.reusedSocket, seen });
  say("  ", response.httpVersion, response.statusCode, response.statusMessage, told(response.statusCode, response.rawHeaders), response.rawTrailers);
  say("  ", shown(answer));
  if (waits && !seen.includes("continue")) request.destroy();
  // The agent takes the connection back in the next turn.
  await new Promise(setImmediate);
}

async function plain() {
  for (const path of ["length", "chunked", "204", "304", "hints", "headers", "length?x=/../y;z"]) await ask("/read/" + path);
  await ask("/read/length", { method: "HEAD" });
  await ask("/read/trailers", { headers: { te: "trailers" } });
  await ask("/write", { method: "POST", body: "hello" });
  await ask("/read/echo", { method: "POST", parts: ["hello", " world"], headers: { Trailer: "X-Sum" }, trailers: { "X-Sum": "1" } });
  await ask("/read/echo", { method: "MKCOL", headers: { "X-Twice": ["1", "2"], "x-LOWER": "a" } });
  await ask("/read/echo", { method: "PUT", body: megabytes, headers: { "Content-Length": megabytes.length } });
  await ask("/read/echo", { method: "PUT", parts: [megabytes.subarray(0, 5 << 20), megabytes.subarray(5 << 20)] });
  await ask("/read/large?mib=8");
  const expecting = { Expect: "100-continue", "Content-Length": 5 };
  await ask("/read/echo", { method: "PUT", headers: expecting, body: "hello", waits: true });
  await ask("/read/early", { method: "PUT", headers: { ...expecting, "Content-Length": 2 ** 40 }, waits: true });
  await ask("/read/close");
  await ask("/read/length");
}

// Lines both ways; events whose reader leaves.
async function streams() {
  const request = http.request({ host, port, method: "POST", path: "/read/duplex" });
  request.write("0\n");
  const [response] = await once(request, "response");
  const lines = response[Symbol.asyncIterator]();
  for (let number = 1; number < 6; number += 1) {
    say("talk", (await lines.next()).value.toString());
    if (number < 5) request.write(`${number}\n`);
  }
  request.end();
  say("talk", (await lines.next()).done);
  const events = http.get({ host, port, path: "/read/events" });
  const [told] = await once(events, "response");
  let text = "";
  for await (const part of told) {
    text += part;
    if (text.split("\n\n").length === 4) break;
  }
  say("events", text);
  events.destroy();
  await ask("/read/left");
}

// Ten requests on their way at once, on one connection; one in between is denied.
async function pipelined() {
  const client = new Client(`http://${authority}`, { pipelining: 10 });
  const paths = ["length", "chunked", "echo", "../write", "204", "large?mib=1", "headers", "304", "length", "trailers"];
  const answers = paths.map(async (path) => {
    const { statusCode, headers, body } = await client.request({ path: `/read/${path}`.replace("/read/..", ""), method: "GET" });
    return [path, statusCode, told(statusCode, headers), shown(Buffer.from(await body.arrayBuffer()))];
  });
  for (const answer of await Promise.all(answers)) say("undici", ...answer);
  await client.close();
}

async function fetched() {
  for (const [path, init] of [
    ["/read/length", {}],
    ["/read/echo", { method: "POST", body: "hello" }],
    ["/read/echo", { method: "POST", duplex: "half", body: new Blob(["hello", " world"]).stream() }],
    ["/write", { method: "DELETE" }],
    ["/read/large?mib=4", {}],
  ]) {
    const response = await fetch(`http://${authority}${path}`, init);
    const body = Buffer.from(await response.arrayBuffer());
    say("fetch", path, response.status, told(response.status, [...response.headers]), shown(body));
  }
}

async function switched() {
  const headers = { Connection: "Upgrade", Upgrade: "echo" };
  const request = http.get({ host, port, path: "/read/upgrade", headers });
  const [response, socket, head] = await once(request, "upgrade");
  say("upgrade", response.statusCode, response.rawHeaders, head.toString());
  socket.end("word");
  say("  ", (await collect(socket)).toString());
  const refused = http.get({ host, port, path: "/read/upgrade", headers: { ...headers, Upgrade: "other" } });
  say("upgrade", (await once(refused, "response"))[0].statusCode);
  for (const perMessageDeflate of [false, true]) {
    const ws = new WebSocket(`ws://${authority}/read/socket`, { perMessageDeflate });
    const messages = [];
    ws.on("message", (data, isBinary) => messages.push([isBinary, shown(data)]));
    const refusal = await Promise.race([once(ws, "open"), once(ws, "unexpected-response")]);
    if (refusal.length) {
      // Of a server without WebSocket.
      say("websocket", refusal[1].statusCode);
      refusal[1].destroy();
      continue;
    }
    for (const message of ["word", "", block(1), megabytes.toString("base64")]) ws.send(message);
    while (messages.length < 4) await once(ws, "message");
    ws.ping("p");
    const [pong] = await once(ws, "pong");
    ws.close(4001, "done");
    const [code, reason] = await once(ws, "close");
    say("websocket", ws.extensions, messages, pong.toString(), code, reason.toString());
  }
  const denied = new WebSocket(`ws://${authority}/write`);
  const [, answer] = await once(denied, "unexpected-response");
  say("websocket", answer.statusCode, shown(await collect(answer)));
}

// Prints all that one stream of HTTP/2 sees.
async function stream(session, path, { method = "GET", headers = {}, body, trailers } = {}) {
  const options = trailers ? { waitForTrailers: true } : {};
  const request = session.request({ ":method": method, ":path": path, ...headers }, { endStream: !body, ...options });
  const seen = [];
  request.on("headers", (info) => seen.push(info));
  request.on("continue", () => seen.push("continue"));
  request.on("trailers", (lines) => seen.push(lines));
  if (trailers) request.on("wantTrailers", () => request.sendTrailers(trailers));
  if (body) request.end(body);
  const [response] = await once(request, "response");
  const answer = await collect(request);
  say("http2", method, path, seen, told(response[":status"], response), response[":status"], shown(answer));
}

async function multiplexed() {
  const session = http2.connect(`http://${authority}`);
  for (const path of ["length", "chunked", "204", "304", "hints", "headers", "trailers", "large?mib=8"]) {
    await stream(session, "/read/" + path);
  }
  await stream(session, "/read/length", { method: "HEAD" });
  await stream(session, "/write", { method: "PUT", body: "hello" });
  await stream(session, "/read/echo", { method: "PUT", body: megabytes, headers: { cookie: ["a=b", "c=d"] } });
  await stream(session, "/read/echo", { method: "POST", body: "hello", trailers: { "x-sum": "1" } });
  const talk = session.request({ ":method": "POST", ":path": "/read/duplex" });
  talk.write("0\n");
  const lines = talk[Symbol.asyncIterator]();
  for (let number = 1; number < 6; number += 1) {
    say("http2 talk", (await lines.next()).value.toString());
    if (number < 5) talk.write(`${number}\n`);
  }
  talk.end();
  say("http2 talk", (await lines.next()).done);
  const events = session.request({ ":path": "/read/events" });
  let text = "";
  for await (const part of events) {
    text += part;
    if (text.split("\n\n").length === 4) break;
  }
  say("http2 events", text, events.rstCode);
  await stream(session, "/read/left");
  // Go's server says goodbye with it.
  await stream(session, "/read/close");
  session.close();
  if (!session.destroyed) await once(session, "close");
}

for (const step of [plain, streams, pipelined, fetched, switched, multiplexed]) await step();
process.exit(0);
