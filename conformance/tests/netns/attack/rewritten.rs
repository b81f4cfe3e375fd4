//! The pod's own netfilter: what a socket was allowed to send gets other ends on its way out.

use super::*;
use crate::manifests::GUARDED;

/// TCP 7000 of the pod to which nobody may send.
fn server(stage: &Stage) -> Result<Server> {
    server::tcp(&stage.other, "[::]:7000")
}

impl Stage {
    /// Runs a program in the client, which must succeed.
    pub(super) fn must(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let output = self.client.command(program).args(arguments).output()?;
        anyhow::ensure!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn translate(&self, rule: &str) -> Result<()> {
        self.must("nft", &["add table inet t"])?;
        self.must("nft", &["add chain inet t out { type nat hook output priority -100; }"])?;
        self.must("nft", &["add chain inet t post { type nat hook postrouting priority 100; }"])?;
        self.must("nft", &[&format!("add rule inet t {rule}")])
    }

    /// From now on, what leaves for a port of the API goes elsewhere, by a rule that knows nothing of connections.
    fn rewrite(&self, port: u16) -> Result<()> {
        let (api, other) = (self.api.v4, self.other.v4);
        self.must("nft", &["add table inet e"])?;
        self.must("nft", &["add chain inet e post { type filter hook postrouting priority 200; }"])?;
        self.must("nft", &[&format!("add rule inet e post ip daddr {api} tcp dport {port} ip daddr set {other}")])
    }

    fn must_be_told(&self, reason: &str) -> Result<()> {
        let told = self.node.wait_flows(0, 1, |flow| flow.verdict() == "DROPPED")?;
        assert!(told.iter().all(|flow| flow.reason() == reason), "{told:#?}");
        self.nothing_arrived()
    }
}

/// By connection, as kube-proxy does it.
#[test]
fn a_destination_that_the_pod_translates() -> Result<()> {
    let stage = Stage::new()?;
    let server = server(&stage)?;
    for (family, to, address) in [
        ("ip", stage.other.v4.to_string(), std::net::IpAddr::from(stage.api.v4)),
        ("ip6", format!("[{}]", stage.other.v6), stage.api.v6.into()),
    ] {
        stage.translate(&format!("out {family} daddr {address} tcp dport 7000 dnat {family} to {to}:7000"))?;
        let outcome = server::connect(&stage.client, (address, 7000), Some(std::str::from_utf8(FORBIDDEN)?))?;
        assert_ne!(outcome.result, "connected", "{outcome:?}");
    }
    stage.must_be_told("backstop")?;
    assert!(server.seen()?.is_empty());
    // To where the pod may send, it may translate.
    stage.translate(&format!("out ip daddr {} tcp dport 7002 dnat ip to {}:7000", stage.other.v4, stage.api.v4))?;
    assert!(server::connect(&stage.client, (stage.other.v4, 7002), None)?.is_refused(), "judged by what it asks for");
    Ok(())
}

/// What the proxy itself sends in the pod's namespace.
#[test]
fn a_request_that_the_pod_translates() -> Result<()> {
    let stage = Stage::new()?;
    let elsewhere = server::http_at(&stage.other, "[::]:8080")?;
    let url = format!("http://{}:8080/read/a", stage.api.v4);
    assert_eq!(conformance::client::curl(&stage.client, &[], &url)?.status, 200);
    stage.translate(&format!("out ip daddr {} tcp dport 8080 dnat ip to {}:8080", stage.api.v4, stage.other.v4))?;
    let outcome =
        server::connect(&stage.client, (stage.api.v4, 8080), Some("GET /read/a HTTP/1.1\r\nhost: a\r\n\r\n"))?;
    assert_ne!(outcome.result, "answered", "{outcome:?}");
    stage.must_be_told("backstop")?;
    assert!(elsewhere.seen()?.is_empty());
    Ok(())
}

/// In the middle of a connection that is allowed.
#[test]
fn segments_that_the_pod_rewrites() -> Result<()> {
    let stage = Stage::new()?;
    let mut talk = Talk::tcp(&stage.client, (stage.api.v4, 7000))?;
    assert!(talk.word()?.is_answered());
    stage.rewrite(7000)?;
    assert_eq!(silent(&mut talk)?.result, "silent");
    stage.must_be_told("backstop")
}

#[test]
fn segments_of_the_proxy_that_the_pod_rewrites() -> Result<()> {
    let stage = Stage::new()?;
    let mut held = server::Held::open(&stage.client, (stage.api.v4, 8080), "/read/a")?;
    assert_eq!(held.request()?["status"], 200);
    stage.rewrite(8080)?;
    let again = held.request();
    assert!(!again.is_ok_and(|answer| answer["status"] == 200));
    let told = stage.node.wait_flows(0, 1, |flow| flow.reason() == "backstop")?;
    assert!(told.iter().all(|flow| flow.destination() == Some((stage.other.v4, 8080).into())), "{told:#?}");
    assert_eq!(stage.web.seen()?.len(), 1);
    Ok(())
}

/// Bytes of a request that was allowed: nobody on the pod's side can see that (docs/redirect.md, "What is left"). Rules for what
/// enters the server are judged in the server's namespace, and hold.
#[test]
fn a_request_that_the_pod_rewrites_is_judged_where_it_enters() -> Result<()> {
    let stage = Stage::new()?;
    stage.node.apply("guarded.yaml", GUARDED)?;
    let mut held = server::Held::open(&stage.client, (stage.api.v4, 8080), "/read/a")?;
    assert_eq!(held.request()?["status"], 200);
    stage.must("nft", &["add table inet e"])?;
    stage.must("nft", &["add chain inet e post { type filter hook postrouting priority 200; }"])?;
    // GET becomes PUT, in the first bytes behind a header with time stamps.
    let request = format!("ip daddr {} tcp dport 8080 tcp flags psh @th,256,32 0x47455420", stage.api.v4);
    stage.must("nft", &[&format!("add rule inet e post {request} @th,256,32 set 0x50555420")])?;
    assert_eq!(held.request()?["status"], 403);
    let denied = stage.node.wait_flows(0, 1, |flow| flow.verdict() == "DROPPED")?;
    assert_eq!((denied[0].direction(), denied[0].method()), ("INGRESS", "PUT"), "{denied:#?}");
    assert_eq!(stage.web.seen()?.len(), 1);
    Ok(())
}

/// A source that is somebody else's.
#[test]
fn a_source_that_the_pod_translates() -> Result<()> {
    let stage = Stage::new()?;
    stage.translate(&format!("post ip daddr {} tcp dport 7000 snat ip to {}", stage.api.v4, stage.other.v4))?;
    let outcome = server::connect(&stage.client, (stage.api.v4, 7000), Some(std::str::from_utf8(FORBIDDEN)?))?;
    assert_ne!(outcome.result, "connected", "{outcome:?}");
    stage.must_be_told("address-not-of-a-known-pod")
}

/// Another port of its own is its own business, where policy allows the whole.
#[test]
fn a_source_port_that_the_pod_translates() -> Result<()> {
    let stage = Stage::new()?;
    let own = stage.client.v4;
    stage.translate(&format!("post ip daddr {} tcp dport 7000 snat ip to {own}:60000-60010", stage.api.v4))?;
    let outcome = server::connect(&stage.client, (stage.api.v4, 7000), Some("may arrive"))?;
    assert_eq!(outcome.reply.as_deref(), Some("may arrive"), "{outcome:?}");
    assert!(stage.dropped()?.is_empty(), "{:#?}", stage.dropped());
    Ok(())
}
