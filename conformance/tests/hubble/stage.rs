//! A node with three pods and what they do, one thing after the other; and what `hubble observe` is to print of each.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use conformance::{
    Node, Pod, Process,
    client::{curl, grpc},
    eventually,
    node::{Flow, Service},
    server::{self, Server},
};
use serde_json::{Value, json};

/// Allows and refuses in every way that there is a record of.
const POLICY: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: NAMESPACE}
spec:
  endpointSelector: {matchLabels: {app: web}}
  egress:
    - toEndpoints: [{matchLabels: {app: checkout}}]
      toPorts:
        - ports: [{port: "8080", protocol: TCP}, {port: "8082", protocol: TCP}]
          rules: {http: [{method: GET}]}
        - ports: [{port: "8081", protocol: TCP}]
          rules: {http: [{method: POST, path: "/grpc[.]testing[.]TestService/.*"}]}
    - toEndpoints: [{matchLabels: {app: ledger}}]
  egressDeny:
    - toEndpoints: [{matchLabels: {app: checkout}}]
      toPorts: [{ports: [{port: "6666", protocol: TCP}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: ledger, namespace: NAMESPACE}
spec:
  endpointSelector: {matchLabels: {app: ledger}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: web}}]
      toPorts: [{ports: [{port: "9000", protocol: TCP}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: trial, namespace: NAMESPACE, annotations: {l7proxy.io/audit: "true"}}
spec:
  endpointSelector: {matchLabels: {app: batch}}
  egress:
    - toEndpoints: [{matchLabels: {app: checkout}}]
      toPorts: [{ports: [{port: "9000", protocol: TCP}]}]
"#;

/// Nobody of the node, and nobody at all.
const WORLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// What it is called.
const DOMAIN: &str = "api.example.com";
/// Of the first request.
pub(crate) const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What happened, in order, by the names that tests call it. A number is an answer's status.
pub(crate) const ALL: &[&str] = &[
    "items",
    "items-200",
    "cart",
    "cart-200",
    "six",
    "six-200",
    "delete",
    "delete-403",
    "empty",
    "empty-200",
    "unimplemented",
    "unimplemented-200",
    "closed-verdict",
    "closed",
    "denylist-verdict",
    "denylist",
    "entering-verdict",
    "entering",
    "world-verdict",
    "world",
    "datagram-verdict",
    "datagram",
    "audited",
    "boom",
    "boom-502",
];

/// One node of the cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) node: &'static str,
    /// Of its pods.
    pub(crate) namespace: &'static str,
}

pub(crate) const PAYMENTS: Site = Site { node: "node-a", namespace: "payments" };
pub(crate) const SHOP: Site = Site { node: "node-b", namespace: "shop" };

/// A record, and its line.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) name: &'static str,
    pub(crate) flow: Flow,
    /// As `hubble observe` prints it when it asks for the fields that it shows: names of domains are not among them.
    pub(crate) line: String,
}

pub(crate) struct Stage {
    pub(crate) site: Site,
    /// All that was done.
    pub(crate) told: Vec<Told>,
    pub(crate) web: Pod,
    pub(crate) checkout: Pod,
    pub(crate) ledger: Pod,
    batch: Pod,
    service: Service,
    _servers: (Server, Process),
    pub(crate) node: Node,
}

/// An HTTP request and what becomes of it.
struct Request<'r> {
    name: &'static str,
    answered: &'static str,
    /// What is printed of the server, with its port.
    to: &'r str,
    version: &'r str,
    /// Method and URL.
    asked: &'r str,
    verdict: &'r str,
    answer: &'r str,
}

impl Stage {
    /// A node that serves its records as `flows` says, nothing was done yet; or nothing where a program is missing.
    pub(crate) fn new(site: Site, flows: &Value) -> Result<Option<Self>> {
        if grpc::programs().is_none() {
            return Ok(None);
        }
        let mut node = Node::new()?;
        let pod = |node: &mut Node, name: &str, app: &str, kind: &str| {
            let pod = node.pod(&format!("{}/{name}", site.namespace), &[("app", app)])?;
            let endpoint = node.endpoints_mut().last_mut().context("a pod without an entry")?;
            endpoint["workload"] = json!(format!("{kind}/{app}"));
            anyhow::Ok(pod)
        };
        let web = pod(&mut node, "web-7c9f-abcde", "web", "Deployment")?;
        let checkout = pod(&mut node, "checkout-5d4b-xyz12", "checkout", "Deployment")?;
        let ledger = pod(&mut node, "ledger-0", "ledger", "StatefulSet")?;
        let batch = pod(&mut node, "batch-29401-q8xkz", "batch", "Job")?;
        let servers = (server::http_at(&checkout, "[::]:8080")?, grpc::serve(&checkout, 8081)?);
        let service = Service::new(node.network(), 80, &[&checkout], 8080)?;
        node.set("cluster", json!("cluster1"));
        node.set("node", json!(site.node));
        node.set(
            "services",
            json!([{
                "name": format!("{}/checkout", site.namespace),
                "clusterIPs": service.addresses(),
                "ports": [{ "port": 80, "targetPort": 8080, "protocol": "TCP" }],
                "selector": { "app": "checkout" },
            }]),
        );
        node.set("names", json!([{ "name": DOMAIN, "addresses": [WORLD] }]));
        let mut all = flows.clone();
        all["file"] = json!({ "path": "flows.jsonl" });
        node.set("flows", all);
        node.write_manifest("policy.yaml", &POLICY.replace("NAMESPACE", site.namespace))?;
        node.start()?;
        Ok(Some(Self { site, told: Vec::new(), web, checkout, ledger, batch, service, _servers: servers, node }))
    }

    /// Does everything once.
    pub(crate) fn act(&mut self) -> Result<()> {
        self.ask()?;
        self.connect()?;
        self.get("boom", "boom-502", 8082, "/boom", "502")?;
        let names: Vec<_> = self.told.iter().map(|told| told.name).collect();
        ensure!(names == ALL, "{names:?}");
        Ok(())
    }

    /// A GET of the pod itself.
    pub(crate) fn get(
        &mut self,
        name: &'static str,
        answered: &'static str,
        port: u16,
        path: &str,
        code: &str,
    ) -> Result<()> {
        let url = format!("http://{}:{port}{path}", self.checkout.v4);
        let asked = format!("GET {url}");
        let trace = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01");
        let header: &[&str] = if name == "items" { &["--header", &trace] } else { &[] };
        let to = format!("{}:{port}", self.checkout.name);
        let answer = match code {
            "502" => "ERROR (HTTP/1.1 502",
            _ => "FORWARDED (HTTP/1.1 200",
        };
        let request =
            Request { name, answered, to: &to, version: "HTTP/1.1", asked: &asked, verdict: "FORWARDED", answer };
        self.http(&request, |stage| curl(&stage.web, header, &url).map(drop))
    }

    fn ask(&mut self) -> Result<()> {
        let (four, six, service) = (self.checkout.v4, self.checkout.v6, self.service.v4);
        let namespace = self.site.namespace;
        self.get("items", "items-200", 8080, "/v1/items?q=1&x=2", "200")?;
        let plain = |name, answered| Request {
            name,
            answered,
            to: "",
            version: "HTTP/1.1",
            asked: "",
            verdict: "FORWARDED",
            answer: "FORWARDED (HTTP/1.1 200",
        };
        let (to, url) = (format!("{namespace}/checkout:80"), format!("http://{service}/v1/cart"));
        let request = Request { to: &to, asked: &format!("GET {url}"), ..plain("cart", "cart-200") };
        self.http(&request, |stage| curl(&stage.web, &[], &url).map(drop))?;

        let (to, url) = (format!("{}:8080", self.checkout.name), format!("http://[{six}]:8080/v1/six"));
        let request = Request { to: &to, asked: &format!("GET {url}"), ..plain("six", "six-200") };
        self.http(&request, |stage| curl(&stage.web, &[], &url).map(drop))?;

        let url = format!("http://{four}:8080/v1/items/7");
        let asked = format!("DELETE {url}");
        let (verdict, answer) = ("DROPPED", "FORWARDED (HTTP/1.1 403");
        let request = Request { to: &to, asked: &asked, verdict, answer, ..plain("delete", "delete-403") };
        self.http(&request, |stage| curl(&stage.web, &["--request", "DELETE"], &url).map(drop))?;

        let target = SocketAddr::from((four, 8081));
        let (to, answer) = (format!("{}:8081", self.checkout.name), "FORWARDED (HTTP/2 200");
        let asked = format!("POST http://{target}/grpc.testing.TestService/EmptyCall");
        let base = Request { to: &to, version: "HTTP/2", asked: &asked, answer, ..plain("empty", "empty-200") };
        self.http(&base, |stage| grpc::run(&stage.web, target, "empty_unary").map(drop))?;
        let asked = format!("POST http://{target}/grpc.testing.UnimplementedService/UnimplementedCall");
        let (name, answered) = ("unimplemented", "unimplemented-200");
        let request = Request { name, answered, asked: &asked, verdict: "DROPPED", ..base };
        self.http(&request, |stage| grpc::run(&stage.web, target, "unimplemented_service").map(drop))
    }

    fn http(&mut self, request: &Request<'_>, act: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let Request { name, answered, to, version, asked, verdict, answer } = request;
        let asking = format!("WEB:PORT ID -> {to} PEER http-request {verdict} ({version} {asked})");
        let answering = format!("WEB:PORT ID <- {to} PEER http-response {answer} MSms ({asked}))");
        self.step(&[(name, &asking), (answered, &answering)], act)
    }

    fn connect(&mut self) -> Result<()> {
        let (checkout, ledger) = (self.checkout.name.clone(), self.ledger.name.clone());
        let to = |pod: &Pod, port: u16| SocketAddr::from((pod.v4, port));
        let target = format!("{checkout}:9999");
        let lines = self.refused("WEB", &target, ["none EGRESS", "Policy denied", "TCP Flags: SYN", "web"]);
        self.refuse(["closed-verdict", "closed"], &lines, |stage| attempt(stage, to(&stage.checkout, 9999)))?;
        let (target, why) = (format!("{checkout}:6666"), "Policy denied by denylist");
        let lines = self.refused("WEB", &target, ["L3-L4 EGRESS", why, "TCP Flags: SYN", "web"]);
        self.refuse(["denylist-verdict", "denylist"], &lines, |stage| attempt(stage, to(&stage.checkout, 6666)))?;
        // Its own side lets it go: the port is known that it came from.
        let target = format!("{ledger}:9999");
        let lines = self.refused("WEB:PORT", &target, ["none INGRESS", "Policy denied", "TCP Flags: SYN", "ledger"]);
        self.refuse(["entering-verdict", "entering"], &lines, |stage| attempt(stage, to(&stage.ledger, 9999)))?;
        let target = format!("{WORLD}:9999");
        let lines = self.refused("WEB", &target, ["none EGRESS", "Policy denied", "TCP Flags: SYN", "web"]);
        self.refuse(["world-verdict", "world"], &lines, |stage| attempt(stage, (WORLD, 9999).into()))?;
        let target = format!("{checkout}:53");
        let lines = self.refused("WEB:PORT", &target, ["none EGRESS", "Policy denied", "UDP", "web"]);
        self.refuse(["datagram-verdict", "datagram"], &lines, |stage| {
            let outcome = server::udp_send(&stage.web, to(&stage.checkout, 53), "hello")?;
            ensure!(outcome.is_refused(), "{outcome:?}");
            Ok(())
        })?;
        // It passes, to a port that nobody listens at.
        let batch = &self.batch.name;
        let line = format!("{batch} ID -> {checkout}:9999 PEER policy-verdict:none EGRESS AUDITED (TCP Flags: SYN)");
        self.step(&[("audited", &line)], |stage| {
            server::connect(&stage.batch, to(&stage.checkout, 9999), None).map(drop)
        })
    }

    /// What is printed of a refusal: by what of it was decided, and what became of it.
    fn refused(&self, from: &str, to: &str, [by, why, what, policy]: [&str; 4]) -> [String; 2] {
        let policy = format!("denied by CiliumNetworkPolicy {}/{policy}", self.site.namespace);
        let ends = format!("{from} ID <> {to} PEER");
        [format!("{ends} policy-verdict:{by} DENIED ({what})"), format!("{ends} {why} DROPPED ({what}; {policy})")]
    }

    fn refuse(
        &mut self,
        [decided, dropped]: [&'static str; 2],
        [decision, drop]: &[String; 2],
        act: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        self.step(&[(decided, decision), (dropped, drop)], act)
    }

    /// Does something that there is a record of for each line.
    fn step(&mut self, lines: &[(&'static str, &str)], act: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let from = self.told.len();
        act(self)?;
        let flows = eventually(&format!("records of {lines:?}"), || {
            let flows = self.node.all_flows()?.split_off(from);
            Ok((flows.len() >= lines.len()).then_some(flows))
        })?;
        ensure!(flows.len() == lines.len(), "more than {lines:?}: {flows:#?}");
        for (flow, (name, pattern)) in flows.into_iter().zip(lines) {
            let line = self.line(&flow, pattern)?;
            self.told.push(Told { name, flow, line });
        }
        Ok(())
    }

    /// The line of a record; who is who and when are the record's, all the rest is known.
    fn line(&self, flow: &Flow, pattern: &str) -> Result<String> {
        let is_answer = flow.kind() == "RESPONSE";
        let (client, other) = if is_answer { ("destination", "source") } else { ("source", "destination") };
        let identity = |end: &str| flow.0.pointer(&format!("/flow/{end}/identity")).and_then(Value::as_u64);
        let id = |end| match identity(end) {
            Some(2) => "(world)".to_owned(),
            Some(number) => format!("(ID:{number})"),
            None => "(unknown)".to_owned(),
        };
        let port = if is_answer { flow.destination() } else { flow.source() };
        let port = port.map_or_else(String::new, |end| end.port().to_string());
        let ms = flow.0.pointer("/flow/l7/latency_ns").and_then(Value::as_str).unwrap_or("0").parse::<u64>()?;
        let text = pattern
            .replacen("WEB", &self.web.name, 1)
            .replacen("PORT", &port, 1)
            .replacen("ID", &id(client), 1)
            .replacen("PEER", &id(other), 1)
            .replacen("MS", &(ms / 1_000_000).to_string(), 1);
        Ok(format!("{}: {text}", stamp(&time(flow))?))
    }

    /// What was done under one of these names.
    pub(crate) fn told(&self, name: &str) -> Result<&Told> {
        self.told.iter().find(|told| told.name == name).with_context(|| format!("nothing is called {name}"))
    }
}

fn attempt(stage: &Stage, target: SocketAddr) -> Result<()> {
    let outcome = server::connect(&stage.web, target, None)?;
    ensure!(outcome.is_refused(), "{outcome:?}");
    Ok(())
}

/// A line as it is printed of a record with names.
pub(crate) fn named(line: &str) -> String {
    line.replace(&format!("{WORLD}:"), &format!("{DOMAIN}:"))
}

/// When it was, as the record says it.
pub(crate) fn time(flow: &Flow) -> String {
    flow.0.pointer("/time").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// To put records in order: a time of text may have less digits than another.
pub(crate) fn moment(flow: &Flow) -> String {
    let time = time(flow);
    let (second, fraction) = time.trim_end_matches('Z').split_once('.').unwrap_or((&time, ""));
    format!("{}.{fraction:0<9}", second.trim_end_matches('Z'))
}

/// `2026-01-02T03:04:05.678901234Z` as `Jan  2 03:04:05.678`.
fn stamp(time: &str) -> Result<String> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let read = || {
        let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
        let mut parts = date.split('-').skip(1);
        let month = MONTHS.get(parts.next()?.parse::<usize>().ok()?.checked_sub(1)?)?;
        let day: u8 = parts.next()?.parse().ok()?;
        let (seconds, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        Some(format!("{month} {day:>2} {seconds}.{:0<3}", fraction.get(..3).unwrap_or(fraction)))
    };
    read().with_context(|| format!("not a time: {time:?}"))
}
