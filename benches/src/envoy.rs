//! Envoy with the same rules in its RBAC filter: what a request costs its process.
//!
//! Envoy answers by itself, nothing is forwarded. One connection over loopback, one request after the other; loops end by
//! count and by time. Must never leave the process behind. Start at [`run`].

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::rule_set::{Kind, Target};

/// Envoy with ten thousand expressions takes seconds to begin.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// One target is asked for so long, or so often.
const ROUND: Duration = Duration::from_millis(600);
const REQUESTS: u32 = 4000;
const ROUNDS: u32 = 3;
/// So many requests are not counted.
const WARM_UP: u32 = 20;

/// CPU microseconds of one request, by target: the best of some rounds.
pub(crate) fn run(program: &Path, kind: Kind, rules: u32) -> Result<Value> {
    let file = std::env::temp_dir().join(format!("l7proxy-bench-envoy-{}.json", std::process::id()));
    let port = free_port()?;
    fs::write(&file, config(kind, rules, port).to_string()).with_context(|| format!("{}", file.display()))?;
    let envoy = Envoy::start(program, &file, port);
    let found = envoy.and_then(|envoy| {
        let mut found = Map::new();
        let targets = [("first", Target::First, 200), ("last", Target::Last, 200), ("none", Target::None, 403)];
        for _ in 0..ROUNDS {
            for (name, target, status) in targets {
                let cpu = envoy.cpu_of(&kind.path(target, rules), status)?;
                let best = found.get(name).and_then(Value::as_f64).unwrap_or(f64::INFINITY);
                found.insert(name.to_owned(), json!(best.min(cpu)));
            }
        }
        Ok(Value::Object(found))
    });
    fs::remove_file(&file).with_context(|| format!("{}: cannot be removed", file.display()))?;
    found
}

/// A process that ends with this value.
struct Envoy {
    child: Child,
    port: u16,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Envoy {
    fn start(program: &Path, config: &Path, port: u16) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "--config-path"]);
        command.arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("{}: cannot be started", program.display()))?;
        let mut envoy = Self { child, port };
        let begin = Instant::now();
        while envoy.connect().is_err() {
            if let Some(status) = envoy.child.try_wait()? {
                bail!("{}: ended with {status}", program.display());
            }
            ensure!(begin.elapsed() < READY_WITHIN, "{}: does not listen", program.display());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(envoy)
    }

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(BufReader::new(stream))
    }

    fn cpu_of(&self, path: &str, status: u16) -> Result<f64> {
        let mut connection = self.connect()?;
        for _ in 0..WARM_UP {
            request(&mut connection, path, status)?;
        }
        let before = self.cpu()?;
        let begin = Instant::now();
        let mut requests = 0_u32;
        while requests < REQUESTS && begin.elapsed() < ROUND {
            request(&mut connection, path, status)?;
            requests += 1;
        }
        Ok(self.cpu()?.saturating_sub(before).as_secs_f64() * 1e6 / f64::from(requests.max(1)))
    }

    /// Time that its threads have run.
    fn cpu(&self) -> Result<Duration> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let running = text.split_whitespace().next().context("schedstat: is empty")?;
            sum += running.parse::<u64>().context("schedstat: is no number")?;
        }
        Ok(Duration::from_nanos(sum))
    }
}

/// A port that nobody listens on.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("127.0.0.1: no port is free")?;
    Ok(listener.local_addr()?.port())
}

fn request(connection: &mut BufReader<TcpStream>, path: &str, wanted: u16) -> Result<()> {
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: server.default.svc:80\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n");
    connection.get_mut().write_all(head.as_bytes())?;
    let mut line = String::new();
    connection.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    ensure!(status == Some(wanted), "{path}: answered with {line:?}, not {wanted}");
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        ensure!(connection.read_line(&mut line)? > 0, "{path}: the answer breaks off");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().context("content-length: is no number")?;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok(())
}

/// The same rules for Envoy: `exact`, `prefix` and `safe_regex`, as one writes them there.
fn config(kind: Kind, rules: u32, port: u16) -> Value {
    let permission = |rule: u32| {
        let pattern = kind.pattern(rule);
        let path = match kind {
            Kind::Literal => json!({ "exact": pattern }),
            Kind::Prefix => json!({ "prefix": pattern.trim_end_matches(".*") }),
            Kind::Regex => json!({ "safe_regex": { "regex": pattern } }),
        };
        let method = json!({ "header": { "name": ":method", "string_match": { "exact": "GET" } } });
        json!({ "and_rules": { "rules": [method, { "url_path": { "path": path } }] } })
    };
    let permissions: Vec<Value> = (0..rules).map(permission).collect();
    let policy = json!({ "principals": [{ "any": true }], "permissions": permissions });
    let filter = |name: &str, mut config: Value, kind: &str| {
        if let Some(fields) = config.as_object_mut() {
            let kind = format!("type.googleapis.com/envoy.extensions.filters.{kind}");
            fields.insert("@type".to_owned(), json!(kind));
        }
        json!({ "name": name, "typed_config": config })
    };
    let rbac = json!({ "rules": { "action": "ALLOW", "policies": { "p": policy } } });
    let route =
        json!({ "match": { "prefix": "/" }, "direct_response": { "status": 200, "body": { "inline_string": "ok" } } });
    let manager = json!({
        "stat_prefix": "bench",
        "generate_request_id": false,
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
        "http_filters": [
            filter("envoy.filters.http.rbac", rbac, "http.rbac.v3.RBAC"),
            filter("envoy.filters.http.router", json!({}), "http.router.v3.Router"),
        ],
    });
    let manager = filter(
        "envoy.filters.network.http_connection_manager",
        manager,
        "network.http_connection_manager.v3.HttpConnectionManager",
    );
    json!({ "static_resources": { "listeners": [{
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } },
        "filter_chains": [{ "filters": [manager] }],
    }] } })
}
