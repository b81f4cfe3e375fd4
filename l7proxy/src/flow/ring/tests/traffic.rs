//! Flows as a node has them.

use std::time::Instant;

use rules::{Direction, RuleRef};

use super::*;
use crate::{
    endpoint::Peer,
    flow::{Asked, Ends, Headers, HttpInfo, HttpRecord, RawHeaders},
};

/// A request, the rule that allowed it, its id.
type Waiting = (Arc<Asked>, Arc<RuleRef>, String);

/// Traffic as it is: clients with their connections, each request with ids of its own.
pub(super) struct Traffic {
    connections: Vec<Arc<Ends>>,
    rules: Vec<Arc<RuleRef>>,
    random: u64,
    number: u64,
    time: SystemTime,
    /// Requests that were not answered yet.
    waiting: VecDeque<Waiting>,
}

impl Traffic {
    pub(super) fn new() -> Self {
        let peer = |pod: String| {
            let labels = ["app=", "pod-template-hash=5d4b7c9f6d", "io.kubernetes.pod.namespace=payments"];
            Arc::new(Peer {
                pod,
                namespace: "payments".to_owned(),
                labels: labels.map(|label| format!("k8s:{label}")).into(),
                ..Peer::default()
            })
        };
        let server = peer("checkout-5d4b7c9f6d-x2x7v".to_owned());
        let clients: Vec<_> = (0..20).map(|client| peer(format!("web-7c9f5d4b7c-{client:05x}"))).collect();
        let ends = |number: u16| Ends {
            direction: Direction::Ingress,
            source: (
                Arc::clone(&clients[usize::from(number) % clients.len()]),
                ([10, 0, 1, 7], 40_000 + number).into(),
            ),
            destination: (Arc::clone(&server), ([10, 0, 2, 9], 8080).into()),
        };
        let policy = Arc::new(rules::PolicyKey {
            kind: rules::Kind::CiliumNetworkPolicy,
            namespace: "payments".to_owned(),
            name: "checkout".to_owned(),
        });
        let rule = |number| RuleRef {
            policy: Arc::clone(&policy),
            rule: format!("ingress[0].toPorts[0].rules.http[{number}]"),
            summary: "GET /api/.*".to_owned(),
            log: None,
            matches: rules::MatchType::None,
        };
        Self {
            connections: (0..400).map(|number| Arc::new(ends(number))).collect(),
            rules: (0..8).map(|number| Arc::new(rule(number))).collect(),
            random: 0x9e37_79b9_7f4a_7c15,
            number: 0,
            time: SystemTime::UNIX_EPOCH + Duration::from_hours(500_000),
            waiting: VecDeque::new(),
        }
    }

    /// What a request said.
    pub(super) fn info(asked: &Asked) -> HttpInfo {
        asked.http.clone()
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn below(&mut self, bound: u64) -> usize {
        usize::try_from(self.random() % bound).unwrap()
    }

    fn step(&mut self) {
        self.number += 1;
        let since = self.random() % 100_000;
        self.time += Duration::from_nanos(50_000 + since);
    }

    fn request(&mut self) -> Flow {
        self.step();
        let id = format!("{:032x}", u128::from(self.random()) << 64 | u128::from(self.random()));
        let mut uuid = id;
        for at in [20, 16, 12, 8] {
            uuid.insert(at, '-');
        }
        let trace = format!("{:016x}{:016x}", self.random(), self.random());
        let (path, order) = (self.below(6), self.below(1_000_000));
        let path = match path {
            0 => format!("/api/v1/orders/{order}"),
            1 => format!("/api/v1/orders/{order}/items?page={}", order % 7),
            2 => "/api/v1/cart".to_owned(),
            3 => format!("/api/v1/users/{:08x}-{:04x}-4c4c-8aaa-{:012x}", order, order % 65536, order * 7919),
            4 => format!("/static/app.{:08x}.js", order % 50),
            _ => format!("/api/v2/products?query=shoes&limit=20&offset={}", order % 1000),
        };
        let agents = [
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
            "Go-http-client/1.1",
            "python-requests/2.32.3",
            "curl/8.14.1",
        ];
        let agent = agents[self.below(4)];
        let span = self.random();
        let headers = format!(
            "Accept:application/json, text/plain, */*\nAccept-Encoding:gzip, deflate\nHost:checkout.payments.svc.cluster.local:8080\nTraceparent:00-{trace}-{span:016x}-01\nUser-Agent:{agent}\nX-Request-Id:{uuid}\n"
        );
        let http = HttpInfo {
            method: if order % 5 == 0 { "POST" } else { "GET" }.into(),
            url: format!("http://checkout.payments.svc.cluster.local:8080{path}"),
            protocol: "HTTP/1.1",
            trace: Some(trace),
            headers: RawHeaders::default(),
        };
        let connection = self.below(400);
        let rule = self.below(8);
        let rule = Arc::clone(&self.rules[rule]);
        let asked = Arc::new(Asked {
            ends: Arc::clone(&self.connections[connection]),
            http,
            time: self.time,
            started: Instant::now(),
            ended: false.into(),
        });
        let record = HttpRecord {
            time: self.time,
            asked: Arc::clone(&asked),
            verdict: Verdict::Forwarded(Some(Arc::clone(&rule))),
            code: 0,
            latency_ns: 0,
            reason: "",
            answer: RawHeaders::default(),
            notes: None,
            revision: 12,
        };
        self.waiting.push_back((asked, rule, uuid));
        Flow {
            number: self.number,
            time: self.time,
            headers: Headers::of_text(&headers),
            record: Record::Request(record),
        }
    }

    fn response(&mut self) -> Flow {
        self.step();
        let out_of_order = self.below(20).min(self.waiting.len() - 1);
        let (asked, rule, uuid) = self.waiting.remove(out_of_order).unwrap();
        let code = [200, 200, 200, 200, 404, 304, 201, 503][self.below(8)];
        let length = self.below(20_000);
        let second = self.time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() % 60;
        let headers = format!(
            "Connection:keep-alive\nContent-Length:{length}\nContent-Type:application/json; charset=utf-8\nDate:Thu, 26 Nov 2026 14:03:{second:02} GMT\nServer:nginx/1.29.3\nVary:Accept-Encoding\nX-Request-Id:{uuid}\n"
        );
        let latency = self.time.duration_since(asked.time).unwrap();
        let record = HttpRecord {
            time: self.time,
            asked,
            verdict: Verdict::Forwarded(Some(rule)),
            code,
            latency_ns: u64::try_from(latency.as_nanos()).unwrap(),
            reason: "",
            answer: RawHeaders::default(),
            notes: None,
            revision: 12,
        };
        Flow {
            number: self.number,
            time: self.time,
            headers: Headers::of_text(&headers),
            record: Record::Response(record),
        }
    }
}

impl Iterator for Traffic {
    type Item = Flow;

    fn next(&mut self) -> Option<Flow> {
        if self.waiting.len() > 40 + self.below(20) { Some(self.response()) } else { Some(self.request()) }
    }
}
