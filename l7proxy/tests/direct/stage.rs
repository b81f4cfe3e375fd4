//! One client pod, one server pod, the data plane between them, and its records.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use l7proxy::{
    drain::{self, Drain},
    endpoint::{EndpointId, IpCache, Peer},
    flow,
    http::{self, Changes, Connection, Limits, Scratch, Worker},
    metrics::{Counters, Exposition},
    policy::{EndpointState, Live, Store, World},
    upstream::Dialer,
};
use rules::{Direction, Identities, InForce, Labels, NamedPorts, PathOptions, PodLabels, Secrets, manifest::Document};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{sync::oneshot, task};

use crate::wire::{PATIENCE, Wire};

/// GET below /read, and everything below /any.
pub(crate) const POLICY: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: policy, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
    - toEndpoints: [{matchLabels: {app: api}}]
      toPorts:
        - ports: [{port: "0", protocol: TCP}]
          rules:
            http:
              - {method: GET, path: "/read.*"}
              - {path: "/any.*"}
              - {method: OPTIONS}
              - {method: CONNECT, host: "inside:.*"}
"#;

/// For requests that are not allowed any more.
const GRACE: Duration = Duration::from_millis(100);

/// The shortest answer, as it is passed on.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

pub(crate) struct Stage {
    /// Where the server listens.
    pub(crate) upstream: TcpListener,
    /// Where clients connect to.
    pub(crate) front: SocketAddr,
    store: Arc<Store>,
    counters: Arc<Counters>,
    /// Tells the data plane to end.
    pub(crate) drain: Drain,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
    directory: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        Self::of(limits, true, PathOptions::default())
    }

    /// What is not allowed any more goes on.
    pub(crate) fn leaving() -> Self {
        Self::of(Limits::default(), false, PathOptions::default())
    }

    /// With what is relaxed of the path's normal form.
    pub(crate) fn relaxed(path: PathOptions) -> Self {
        Self::of(Limits::default(), true, path)
    }

    fn of(limits: Limits, ends: bool, path: PathOptions) -> Self {
        let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let original = upstream.local_addr().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let front = listener.local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let counters = Arc::new(Counters::default());
        let (sink, writer) = flow::pipeline(file(directory.path()), Arc::clone(&counters)).unwrap();
        let store = Arc::new(Store::default());
        let (stop, stopped) = oneshot::channel();
        let (drain, watch) = drain::new();
        let (of_store, of_counters) = (Arc::clone(&store), Arc::clone(&counters));
        let plane = Plane { watch, original, store: of_store, counters: of_counters, limits, path, ends, sink };
        let threads = vec![thread::spawn(move || writer.run()), thread::spawn(move || plane.run(listener, stopped))];
        let stage = Self { upstream, front, store, counters, drain, stop: Some(stop), threads, directory };
        stage.publish(POLICY);
        stage
    }

    /// Puts a policy in force. Port 0 in it stands for the upstream's.
    pub(crate) fn publish(&self, manifest: &str) {
        self.publish_with(manifest, &Secrets::default());
    }

    pub(crate) fn publish_with(&self, manifest: &str, secrets: &Secrets) {
        let port = self.upstream.local_addr().unwrap().port();
        let manifest = manifest.replace("port: \"0\"", &format!("port: \"{port}\""));
        let policies: Vec<InForce> = rules::manifest::parse(&manifest)
            .into_iter()
            .map(|document| {
                let Document::Policy(policy) = document else { panic!("{document:?}") };
                InForce::Policy(policy).with_secrets(secrets)
            })
            .collect();
        let mut identities = Identities::new();
        let (client, client_labels) = pod(&mut identities, "client", 1);
        let (api, _) = pod(&mut identities, "api", 0);
        let policy = rules::resolve(&policies, &client_labels, &NamedPorts::default(), &identities, &[]);
        let exact = HashMap::from([(Ipv4Addr::LOCALHOST.into(), Arc::new(api))]);
        self.store.publish(World {
            revision: self.store.current().revision + 1,
            ipcache: IpCache::new(exact, Vec::new(), Arc::default()),
            endpoints: HashMap::from([(EndpointId(1), Arc::new(EndpointState { peer: Arc::new(client), policy }))]),
        });
    }

    pub(crate) fn client(&self) -> Wire {
        Wire::connect(self.front)
    }

    /// Where clients connect to.
    pub(crate) fn front(&self) -> SocketAddr {
        self.front
    }

    /// The server's listener, for the runtime that this is called in.
    pub(crate) fn listener(&self) -> tokio::net::TcpListener {
        let listener = self.upstream.try_clone().unwrap();
        listener.set_nonblocking(true).unwrap();
        tokio::net::TcpListener::from_std(listener).unwrap()
    }

    /// The next connection that reaches the server.
    pub(crate) fn accept(&self) -> Wire {
        Wire::new(self.upstream.accept().unwrap().0)
    }

    /// Whether a connection waits that nobody accepted.
    pub(crate) fn was_dialled(&self) -> bool {
        self.upstream.set_nonblocking(true).unwrap();
        let dialled = self.upstream.accept().is_ok();
        self.upstream.set_nonblocking(false).unwrap();
        dialled
    }

    /// From now on nobody listens at the upstream's address.
    pub(crate) fn close_upstream(&mut self) {
        self.upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counts = self.counters.snapshot();
        counts.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).unwrap()
    }

    /// What a scrape would get of it.
    pub(crate) fn told(&self, series: &str) -> u64 {
        let text = {
            let mut exposition = Exposition::default();
            exposition.add(Arc::<Counters>::clone(&self.counters));
            exposition.text(Vec::new()).unwrap()
        };
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{series} is not told:\n{text}")).parse().unwrap()
    }

    /// Waits until a counter is at least `least`, and gives it.
    pub(crate) fn reached(&self, name: &str, least: u64) -> u64 {
        let waited = Instant::now();
        while self.counter(name) < least && waited.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        self.counter(name)
    }

    /// Waits for `count` records, ends every connection, and gives all records.
    pub(crate) fn records(mut self, count: usize) -> Vec<Value> {
        let path = self.directory.path().join("flows.jsonl");
        let lines = || fs::read_to_string(&path).unwrap().lines().count();
        let waited = Instant::now();
        while lines() < count && waited.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        drop(self.stop.take());
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["flow"].take()).collect()
    }
}

/// `VERDICT METHOD path code reason` of each record; requests have no code.
pub(crate) fn told(records: &[Value]) -> Vec<String> {
    let line = |flow: &Value| {
        let http = &flow["l7"]["http"];
        let url = http["url"].as_str().unwrap_or_default();
        let path = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).map_or(url, |(_, path)| path);
        let method = http["method"].as_str().unwrap_or_default();
        let code = http["code"].as_u64().map(|code| format!(" {code}")).unwrap_or_default();
        let reason = flow["extensions"]["value"]["reason"].as_str().map(|why| format!(" {why}")).unwrap_or_default();
        format!("{} {method} /{path}{code}{reason}", flow["verdict"].as_str().unwrap_or_default())
    };
    records.iter().map(line).collect()
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.stop.take());
        for thread in self.threads.drain(..) {
            // The writer would make the directory again that is removed next.
            let joined = thread.join();
            assert!(joined.is_ok() || thread::panicking());
        }
    }
}

/// What the data plane's thread needs.
struct Plane {
    watch: drain::Watch,
    original: SocketAddr,
    store: Arc<Store>,
    counters: Arc<Counters>,
    limits: Limits,
    path: PathOptions,
    /// Whether what is not allowed any more is ended.
    ends: bool,
    sink: flow::Sink,
}

impl Plane {
    fn run(self, listener: TcpListener, stopped: oneshot::Receiver<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = task::LocalSet::new();
        local.block_on(&runtime, async move {
            let worker = Rc::new(Worker {
                flows: self.sink.clone(),
                capture: flow::Capture::default(),
                counters: Arc::clone(&self.counters),
                limits: self.limits,
                path: self.path,
                changes: Changes::new(self.ends.then_some(GRACE)),
                drain: self.watch,
                scratch: Scratch::default(),
            });
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let accepting = async {
                loop {
                    let (stream, client) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let live = Live::new(Arc::clone(&self.store), EndpointId(1), Direction::Egress, self.original.ip());
                    let connection = Connection {
                        direction: Direction::Egress,
                        client,
                        original: self.original,
                        live,
                        dialer: Dialer::direct(self.original),
                    };
                    task::spawn_local(http::serve(stream, connection, Rc::clone(&worker), ()));
                }
            };
            tokio::select! {
                () = accepting => {}
                _ = stopped => {}
            }
        });
    }
}

fn pod(identities: &mut Identities, app: &str, id: u32) -> (Peer, Labels) {
    let labels = Labels::from(PodLabels {
        namespace: "default",
        cluster: "default",
        service_account: None,
        labels: &BTreeMap::from([("app".to_owned(), app.to_owned())]),
        namespace_labels: &BTreeMap::new(),
    });
    let peer = Peer {
        identity: identities.allocate(&labels).0,
        id,
        namespace: "default".to_owned(),
        pod: app.to_owned(),
        labels: labels.strings(),
        ..Peer::default()
    };
    (peer, labels)
}

fn file(directory: &Path) -> flow::Config {
    let file = flow::FileConfig { path: directory.join("flows.jsonl"), max_size_mb: 10, max_backups: 0 };
    let names = flow::NodeNames { cluster: "default".to_owned(), node: "node".to_owned(), labels: Vec::new() };
    let redaction = flow::Redaction::Of(vec!["x-secret".to_owned()]);
    flow::Config { file: Some(file), names, redaction, ..flow::Config::default() }
}
