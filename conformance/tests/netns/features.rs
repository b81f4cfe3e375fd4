//! Kernels that lack something: what can be done without it is done, and told; else the process does not start, and says why.

#![cfg(target_arch = "x86_64")]

use anyhow::Result;
use conformance::{
    Node, Pod,
    client::curl,
    eventually,
    node::Flow,
    packet::{self, Ipv4},
    server::{self, Server, Talk},
    sniffer::{self, Sniffer},
};
use serde_json::json;

use crate::manifests::{PORTS, READ_ONLY};

/// As `lacking.rs` names them: types of programs, kinds of attachment, types of maps, requests of netlink.
const TCX: &str = "link:46";
const CLSACT: &str = "netlink:36";
const PACKETS: &str = "program:3";
const HOLD: &str = "program:8";
const SOCK_DESTROY: &str = "netlink:21";

/// Without which there is nothing: what lacks, and what the process names.
const FLOOR: [(&str, &str); 12] = [
    ("program:18:10", "connect4"),
    ("program:18:11", "connect6"),
    ("program:18:14", "sendmsg4"),
    ("program:18:15", "sendmsg6"),
    ("program:18:29", "getpeername4"),
    ("program:18:30", "getpeername6"),
    ("program:13", "tcp_events"),
    ("program:9", "socket_made"),
    ("program:30", "lookup"),
    ("map:27", "failed to create map"),
    ("map:24", "failed to create map"),
    ("cookie", "SO_NETNS_COOKIE"),
];

struct Stage {
    client: Pod,
    api: Pod,
    _servers: [Server; 2],
    node: Node,
}

/// Allowed are UDP 5353 and TCP 7000 without the proxy, and TCP 8080 through it.
fn stage(lacks: &[&str]) -> Result<Stage> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let servers = [server::tcp(&api, "[::]:7000")?, server::http_at(&api, "[::]:8080")?];
    node.write_manifest("policy.yaml", &format!("{PORTS}---{READ_ONLY}"))?;
    node.lack(lacks);
    Ok(Stage { client, api, _servers: servers, node })
}

impl Stage {
    /// What the hooks judge is judged.
    fn hooks_work(&self) -> Result<()> {
        for address in self.api.addresses() {
            assert!(server::connect(&self.client, (address, 7001), None)?.is_refused());
            assert_eq!(server::connect(&self.client, (address, 7000), Some("a"))?.reply.as_deref(), Some("a"));
        }
        let request = |path| curl(&self.client, &[], &format!("http://{}:8080/{path}", self.api.v4));
        assert_eq!((request("read/a")?.status, request("write")?.status), (200, 403));
        Ok(())
    }

    /// Whether a raw packet that policy does not allow arrives.
    fn is_open(&self) -> Result<bool> {
        let wire = Sniffer::start(&self.api)?;
        let send = |port, text: &[u8]| {
            let ip = Ipv4::new(self.client.v4, self.api.v4, packet::UDP);
            sniffer::packet(&self.client, self.api.v4, &ip.with(&packet::udp(9999, port, text)))
        };
        assert_eq!(send(5354, b"this is not allowed")?.result, "sent");
        assert_eq!(send(5353, b"the last one")?.result, "sent");
        wire.wait_for(b"the last one")?;
        wire.saw(b"this is not allowed")
    }

    fn backstop(&self) -> Result<String> {
        let status = self.node.status()?;
        Ok(status.endpoint("default/client").and_then(|client| client.backstop.clone()).unwrap_or_default())
    }

    /// The features that are not there, by name, each with its line.
    fn lacking(&self) -> Result<Vec<String>> {
        let kernel = self.node.status()?.kernel;
        let names: Vec<String> =
            kernel.features.iter().filter(|(_, there)| !**there).map(|(name, _)| name.clone()).collect();
        for name in &names {
            assert!(
                kernel.lacking.iter().any(|line| line.starts_with(&format!("{name} (Linux "))),
                "{:?}",
                kernel.lacking
            );
        }
        assert_eq!(names.len(), kernel.lacking.len());
        Ok(names)
    }
}

#[test]
fn a_kernel_that_lacks_nothing() -> Result<()> {
    let mut stage = stage(&[])?;
    stage.node.start()?;
    assert_eq!((stage.lacking()?, stage.backstop()?.as_str(), stage.is_open()?), (vec![], "tcx", false));
    Ok(())
}

#[test]
fn without_tcx_the_backstop_is_clsact() -> Result<()> {
    let mut stage = stage(&[TCX])?;
    stage.node.start()?;
    assert_eq!((stage.lacking()?, stage.backstop()?.as_str()), (vec!["tcx".to_owned()], "clsact"));
    assert!(!stage.is_open()?);
    stage.hooks_work()
}

#[test]
fn without_tcx_and_clsact_there_is_no_backstop() -> Result<()> {
    let mut stage = stage(&[TCX, CLSACT])?;
    stage.node.start()?;
    assert!(stage.backstop()?.starts_with("absent (eth0: clsact"), "{}", stage.backstop()?);
    assert!(stage.is_open()?, "nobody is there who could stop it");
    stage.hooks_work()
}

#[test]
fn without_programs_for_packets_there_is_no_backstop() -> Result<()> {
    let mut stage = stage(&[PACKETS])?;
    stage.node.start()?;
    assert_eq!(stage.lacking()?, ["backstop_in", "backstop_out"]);
    assert!(stage.backstop()?.starts_with("absent (eth0: "), "{}", stage.backstop()?);
    assert!(stage.is_open()?, "nobody is there who could stop it");
    stage.hooks_work()
}

#[test]
fn without_cookies_of_packets_nothing_can_be_held() -> Result<()> {
    let mut stage = stage(&[HOLD])?;
    stage.node.start()?;
    assert_eq!((stage.lacking()?, stage.backstop()?.as_str()), (vec!["hold".to_owned()], "tcx"));
    stage.hooks_work()?;
    stage.node.kill()?;
    stage.node.set_redirect("unenrolled", json!("hold"));
    must_refuse(&stage.node, "redirect.unenrolled: hold")
}

#[test]
fn without_an_end_of_sockets_older_connections_stay() -> Result<()> {
    let mut stage = stage(&[SOCK_DESTROY])?;
    let _echo = server::tcp(&stage.api, "0.0.0.0:7001")?;
    let mut older = Talk::tcp(&stage.client, (stage.api.v4, 7001))?;
    stage.node.start()?;
    let not_enforced = stage.node.status()?.not_enforced;
    for protocol in ["Tcp", "Udp"] {
        let line = format!("redirect.existing: this kernel cannot end {protocol} connections");
        assert!(not_enforced.iter().any(|said| said.starts_with(&line)), "{not_enforced:?}");
    }
    assert_eq!(older.word()?.result, "silent", "it is not ended; what it sends does not pass");
    stage.node.wait_flows(0, 1, |flow: &Flow| flow.reason() == "backstop")?;
    stage.hooks_work()?;
    stage.node.kill()?;
    stage.node.set_redirect("unenrolled", json!("hold"));
    must_refuse(&stage.node, "redirect.unenrolled: hold")
}

#[test]
fn below_the_floor_it_does_not_start() -> Result<()> {
    for (lacks, named) in FLOOR {
        let stage = stage(&[lacks])?;
        must_refuse(&stage.node, named)?;
        assert_eq!(server::connect(&stage.client, (stage.api.v4, 7000), Some("a"))?.reply.as_deref(), Some("a"));
    }
    Ok(())
}

/// One line, which names what is missing; exit code 2; and nothing is attached.
fn must_refuse(node: &Node, named: &str) -> Result<()> {
    let attached = || -> Result<Vec<String>> {
        Ok(node.pins()?.into_iter().filter(|pin| !pin.starts_with("map_") && !pin.contains(".debug")).collect())
    };
    let before = attached()?;
    node.write_config()?;
    // A process before, which ends because what traced it did, may hold its lock a moment longer.
    let (output, said) = eventually("the end of the process before", || {
        let output = node.run("run", &[])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((!said.contains("another process runs")).then_some((output, said)))
    })?;
    assert_eq!(output.status.code(), Some(2), "{named}: {said}");
    let errors: Vec<&str> = said.lines().filter(|line| !line.contains(" WARN ") && !line.contains(" INFO ")).collect();
    assert!(matches!(errors[..], [line] if line.contains(named)), "{named}: {said}");
    assert_eq!(attached()?, before, "{named}");
    Ok(())
}
