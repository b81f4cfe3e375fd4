//! The API on sockets of its own, with rings that the test fills.

use std::{collections::BTreeMap, path::PathBuf};

use hyper_util::rt::TokioIo;
use rules::{Denial, Direction, PolicyKey};
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

use super::*;
use crate::{
    config,
    endpoint::Peer,
    flow::{
        DropReason, Ends, Flow, Headers, HttpInfo, HttpRecord, LostRecord, LostSource, RawHeaders, Record, RingConfig,
        Verdict, testing,
    },
};

/// When the flow of the number 0 was.
pub(super) const BEGINNING: Duration = Duration::from_hours(500_000);

pub(super) struct Stage {
    pub(super) hubble: Option<Hubble>,
    pub(super) sources: Sources,
    pub(super) counters: Arc<Counters>,
    pub(super) config: Config,
    pub(super) socket: PathBuf,
    pub(super) directory: tempfile::TempDir,
    newest: u64,
    ends: Arc<Ends>,
}

impl Stage {
    /// With a unix socket.
    pub(super) fn new() -> Self {
        Self::with(Limits::default(), RingConfig::default(), "")
    }

    pub(super) fn limited(limits: Limits) -> Self {
        Self::with(limits, RingConfig::default(), "")
    }

    /// `more` stands below `flows` in the configuration.
    pub(super) fn with(limits: Limits, rings: RingConfig, more: &str) -> Self {
        let mut stage = Self::without(rings, more, tempfile::tempdir().unwrap());
        stage.start(limits).unwrap();
        stage.listen(false);
        stage
    }

    /// Nobody is answered yet.
    pub(super) fn without(rings: RingConfig, more: &str, directory: tempfile::TempDir) -> Self {
        let file = directory.path().join("l7proxy.yaml");
        let text =
            format!("cluster: cluster1\nnode: node-a\nnodeLabels: {{zone: a}}\nflows:\n  socket: hubble.sock\n{more}");
        std::fs::write(&file, text).unwrap();
        let config = config::load(&file).unwrap();
        let labels: BTreeMap<_, _> = [("zone", "a")].into();
        let sources = Sources {
            node: NodeNames {
                cluster: config.cluster.clone(),
                node: config.node.clone(),
                labels: labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
            },
            rings: Rings::new(rings),
            namespaces: Arc::default(),
            events: Arc::default(),
        };
        let socket = directory.path().join("hubble.sock");
        Self { hubble: None, sources, counters: Arc::default(), config, socket, directory, newest: 0, ends: ends() }
    }

    pub(super) fn start(&mut self, limits: Limits) -> Result<(), HubbleError> {
        let hubble = Hubble::start(&self.config, self.sources.clone(), limits, Arc::clone(&self.counters))?;
        self.hubble = Some(hubble);
        Ok(())
    }

    pub(super) fn listen(&self, taken: bool) {
        self.hubble().listen(taken).unwrap();
    }

    pub(super) fn hubble(&self) -> &Hubble {
        self.hubble.as_ref().unwrap()
    }

    /// So many flows more; those whose number is a multiple of `denied` are denials.
    pub(super) fn append(&mut self, count: u64, denied: u64) {
        let first = self.newest + 1;
        self.newest += count;
        let flows: Vec<Flow> =
            (first..=self.newest).map(|number| request(number, &self.ends, number % denied == 0)).collect();
        self.sources.namespaces.note(&flows);
        self.sources.rings.append(flows);
    }

    /// The writer had no room for so many.
    pub(super) fn lose(&mut self, count: u64) {
        self.newest += 1;
        let lost = LostRecord {
            source: LostSource::ObserverEventsQueue,
            count,
            first: time(self.newest),
            last: time(self.newest),
        };
        let record = Record::Lost(Box::new(lost));
        let (number, time, headers) = (self.newest, time(self.newest), Headers::default());
        self.sources.rings.append(vec![Flow { number, time, headers, record }]);
    }

    pub(super) async fn channel(&self) -> Channel {
        self.try_channel().await.unwrap()
    }

    pub(super) async fn try_channel(&self) -> Result<Channel, tonic::transport::Error> {
        let socket = self.socket.clone();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connector).await
    }

    pub(super) async fn observer(&self) -> ObserverClient<Channel> {
        ObserverClient::new(self.channel().await)
    }

    pub(super) async fn flows(&self, request: GetFlowsRequest) -> Streaming<GetFlowsResponse> {
        self.observer().await.get_flows(request).await.unwrap().into_inner()
    }

    /// All numbers that the answer has.
    pub(super) async fn numbers(&self, request: GetFlowsRequest) -> Vec<u64> {
        numbers(&mut self.flows(request).await).await
    }

    pub(super) fn counted(&self, name: &str) -> u64 {
        self.counters.snapshot().into_iter().find(|(other, _)| *other == name).unwrap().1
    }

    /// Until it holds.
    pub(super) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            tokio::task::yield_now().await;
        }
    }
}

pub(super) fn time(number: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + BEGINNING + Duration::from_secs(number)
}

/// Number of a flow, by its time.
pub(super) fn number(response: &GetFlowsResponse) -> u64 {
    let Some(ResponseTypes::Flow(_)) = &response.response_types else { panic!("{response:?}") };
    u64::try_from(response.time.unwrap().seconds).unwrap() - BEGINNING.as_secs()
}

/// To its end.
pub(super) async fn numbers(stream: &mut Streaming<GetFlowsResponse>) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        numbers.push(number(&response));
    }
    numbers
}

fn ends() -> Arc<Ends> {
    let end = |namespace: &str, pod: &str, last| {
        let peer = Peer {
            cluster: "cluster1".to_owned(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            identity: 300,
            ..Peer::default()
        };
        (Arc::new(peer), SocketAddr::from(([10, 0, 0, last], 8080)))
    };
    let (source, destination) = (end("shop", "web-1", 1), end("payments", "api-1", 2));
    Arc::new(Ends { direction: Direction::Egress, source, destination })
}

fn request(number: u64, ends: &Arc<Ends>, is_denied: bool) -> Flow {
    let http = HttpInfo {
        method: "GET".into(),
        url: format!("http://api/{number}"),
        protocol: "HTTP/1.1",
        trace: None,
        headers: RawHeaders::default(),
    };
    let denial =
        Denial { denied_by: Vec::<Arc<PolicyKey>>::new().into(), rule: None, tier: None, nearest: None, notes: None };
    let verdict = if is_denied {
        Verdict::Dropped { reason: DropReason::PolicyDenied, denial: Box::new(denial) }
    } else {
        Verdict::Forwarded(None)
    };
    let record = HttpRecord {
        time: time(number),
        asked: testing::asked(Arc::clone(ends), http),
        verdict,
        code: 0,
        latency_ns: 0,
        reason: "",
        answer: RawHeaders::default(),
        notes: None,
        revision: 1,
    };
    Flow { number, time: time(number), headers: Headers::default(), record: Record::Request(record) }
}
