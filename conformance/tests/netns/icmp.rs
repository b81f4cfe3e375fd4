//! ICMP: by type, replies with their requests, errors with what they are about.

use std::net::IpAddr;

use anyhow::Result;
use conformance::{
    Node, Pod,
    node::Flow,
    packet::{self, ICMP, ICMP6, Ipv4, Ipv6},
    server::{self, Talk, ping, udp_connect},
    sniffer::{self, Sniffer},
};

use crate::manifests::PORTS;

/// Nothing leaves the client but what `rules` name.
fn client_may(rules: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: client-may, namespace: default}}\n\
         spec:\n  endpointSelector: {{matchLabels: {{app: client}}}}\n  egress:\n{rules}"
    )
}

/// Nothing enters the API but what `rules` name, and nothing leaves it.
fn api_may(rules: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: api-may, namespace: default}}\n\
         spec:\n  endpointSelector: {{matchLabels: {{app: api}}}}\n  egress: [{{toEndpoints: [{{matchLabels: {{app: nobody}}}}]}}]\n  \
         ingress:\n{rules}"
    )
}

const TO_NOBODY: &str = "  - toEndpoints: [{matchLabels: {app: nobody}}]\n";
const ECHO_TO_API: &str = "  - toEndpoints: [{matchLabels: {app: api}}]\n    \
                           icmps: [{fields: [{type: EchoRequest}, {family: IPv6, type: EchoRequest}]}]\n";
const ALL_TO_API: &str = "  - toEndpoints: [{matchLabels: {app: api}}]\n";
const FROM_NOBODY: &str = "  - fromEndpoints: [{matchLabels: {app: nobody}}]\n";
const ECHO_FROM_CLIENT: &str = "  - fromEndpoints: [{matchLabels: {app: client}}]\n    \
                                icmps: [{fields: [{type: 8}, {family: IPv6, type: 128}]}]\n";

/// Type of an echo request.
fn echo(address: IpAddr) -> u8 {
    if address.is_ipv4() { 8 } else { 128 }
}

struct Stage {
    client: Pod,
    api: Pod,
    node: Node,
}

fn stage(manifest: &str) -> Result<Stage> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    for pod in [&client, &api] {
        let everybody = "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range";
        anyhow::ensure!(pod.command("sh").args(["-c", everybody]).status()?.success());
    }
    node.write_manifest("policy.yaml", manifest)?;
    node.start()?;
    Ok(Stage { client, api, node })
}

impl Stage {
    fn dropped(&self) -> Result<Vec<Flow>> {
        Ok(self.node.flows()?.into_iter().filter(|flow| flow.verdict() == "DROPPED").collect())
    }

    fn must_answer(&self, from: &Pod, to: &Pod) -> Result<()> {
        for address in to.addresses() {
            for how in ["raw", "ping", "connected"] {
                let outcome = ping(from, address, how, echo(address), "hello")?;
                assert_eq!(
                    outcome.text.as_deref(),
                    Some("hello"),
                    "{how} {address}: {outcome:?} {:#?}",
                    self.dropped()
                );
            }
        }
        Ok(())
    }

    /// Requests that leave `from` unnoticed by it, and are dropped in this direction.
    fn must_be_silent(&self, from: &Pod, to: &Pod, direction: &str) -> Result<()> {
        let wire = Sniffer::start(to)?;
        for address in to.addresses() {
            for how in ["raw", "ping"] {
                let outcome = ping(from, address, how, echo(address), "this must not arrive")?;
                assert_eq!(outcome.result, "silent", "{how} {address}: {outcome:?}");
            }
            let of_it = |flow: &Flow| flow.verdict() == "DROPPED" && flow.destination_ip() == Some(address);
            for told in self.node.wait_flows(0, 1, of_it)? {
                let seen = (told.icmp(), told.direction(), told.reason());
                assert_eq!(seen, (Some((echo(address).into(), 0)), direction, "no-rule"), "{told:#?}");
            }
        }
        // The address of a neighbour is asked for all the same.
        assert!(!wire.saw(b"this must not arrive")?);
        Ok(())
    }
}

#[test]
fn default_deny_stops_echo_requests() -> Result<()> {
    let stage = stage(&client_may(TO_NOBODY))?;
    stage.must_be_silent(&stage.client, &stage.api, "EGRESS")?;
    for address in stage.api.addresses() {
        let outcome = ping(&stage.client, address, "connected", echo(address), "hello")?;
        assert!(outcome.is_refused() && outcome.call == "connect", "nothing else may it send: {outcome:?}");
    }
    stage.must_answer(&stage.client, &stage.client)
}

#[test]
fn a_rule_for_echo_requests_allows_them_alone() -> Result<()> {
    let stage = stage(&client_may(ECHO_TO_API))?;
    stage.must_answer(&stage.client, &stage.api)?;
    assert!(stage.dropped()?.is_empty(), "{:#?}", stage.dropped());
    let timestamp = ping(&stage.client, stage.api.v4, "raw", 13, "hello")?;
    assert_eq!(timestamp.result, "silent");
    let told = stage.node.wait_flows(0, 1, |flow| flow.verdict() == "DROPPED")?;
    assert_eq!(told[0].icmp(), Some((13, 0)));
    assert!(server::connect(&stage.client, (stage.api.v4, 8080), None)?.is_refused());
    Ok(())
}

#[test]
fn a_rule_for_everything_allows_every_type() -> Result<()> {
    let stage = stage(&client_may(ALL_TO_API))?;
    stage.must_answer(&stage.client, &stage.api)?;
    // A message that nobody answers.
    let wire = Sniffer::start(&stage.api)?;
    let message = Ipv4::new(stage.client.v4, stage.api.v4, ICMP).with(&packet::icmp(200, 3, 0, b"hello there"));
    assert_eq!(sniffer::packet(&stage.client, stage.api.v4, &message)?.result, "sent");
    wire.wait_for(b"hello there")
}

#[test]
fn what_may_enter_is_named_by_ingress_rules() -> Result<()> {
    let stage = stage(&api_may(FROM_NOBODY))?;
    stage.must_be_silent(&stage.client, &stage.api, "INGRESS")
}

/// And the replies leave, though nothing else may.
#[test]
fn what_may_enter_is_answered() -> Result<()> {
    let stage = stage(&api_may(ECHO_FROM_CLIENT))?;
    stage.must_answer(&stage.client, &stage.api)?;
    assert!(stage.dropped()?.is_empty(), "{:#?}", stage.dropped());
    stage.must_be_silent(&stage.api, &stage.client, "EGRESS")
}

#[test]
fn a_reply_that_nobody_asked_for() -> Result<()> {
    let guarded =
        api_may(FROM_NOBODY).replace("app: api}", "app: client}").replace("app: nobody}}]}]", "app: api}}]}]");
    let stage = stage(&guarded)?;
    // What the client asks for it gets, though nothing may enter.
    stage.must_answer(&stage.client, &stage.api)?;
    let wire = Sniffer::start(&stage.client)?;
    let reply = Ipv4::new(stage.api.v4, stage.client.v4, ICMP).with(&packet::icmp(0, 0, 0x7777_0001, b"not asked for"));
    assert_eq!(sniffer::packet(&stage.api, stage.client.v4, &reply)?.result, "sent");
    let told = stage.node.wait_flows(0, 1, |flow| flow.verdict() == "DROPPED")?;
    assert_eq!((told[0].icmp(), told[0].direction()), (Some((0, 0)), "INGRESS"));
    assert!(!wire.saw(b"not asked for")?);
    Ok(())
}

#[test]
fn a_new_policy_stops_what_went_on() -> Result<()> {
    let stage = stage(&client_may(ECHO_TO_API))?;
    stage.must_answer(&stage.client, &stage.api)?;
    stage.node.apply("policy.yaml", &client_may(TO_NOBODY))?;
    stage.must_be_silent(&stage.client, &stage.api, "EGRESS")?;
    stage.node.apply("policy.yaml", &client_may(ECHO_TO_API))?;
    stage.must_answer(&stage.client, &stage.api)
}

/// Replies too: the request was let in by a policy that is not in force any more.
#[test]
fn a_new_policy_stops_replies_to_what_it_would_not_let_in() -> Result<()> {
    let stage = stage(&api_may(ECHO_FROM_CLIENT))?;
    stage.must_answer(&stage.client, &stage.api)?;
    stage.node.apply("policy.yaml", &api_may(FROM_NOBODY))?;
    let wire = Sniffer::start(&stage.client)?;
    // Of a raw socket of `conformance-pod`, the identifier of which is always the same.
    let late =
        Ipv4::new(stage.api.v4, stage.client.v4, ICMP).with(&packet::icmp(0, 0, 0x4c37_0001, b"too late a reply"));
    assert_eq!(sniffer::packet(&stage.api, stage.client.v4, &late)?.result, "sent");
    let told = stage.node.wait_flows(0, 1, |flow| flow.verdict() == "DROPPED")?;
    assert_eq!((told[0].icmp(), told[0].direction()), (Some((0, 0)), "EGRESS"));
    assert!(!wire.saw(b"too late a reply")?);
    Ok(())
}

/// That a port is closed is told to who may ask, though nothing may enter.
#[test]
fn errors_about_what_the_pod_sent_enter() -> Result<()> {
    let closed = api_may(FROM_NOBODY)
        .replace("app: api}", "app: client}")
        .replace("  egress: [{toEndpoints: [{matchLabels: {app: nobody}}]}]\n", "");
    let stage = stage(&format!("{PORTS}---\n{closed}"))?;
    for address in stage.api.addresses() {
        // Nobody listens there.
        let outcome = udp_connect(&stage.client, (address, 5353), "hello")?;
        assert!(outcome.is_refused() && outcome.call == "receive", "{address}: {outcome:?} {:#?}", stage.dropped());
    }
    assert!(stage.dropped()?.is_empty(), "{:#?}", stage.dropped());
    // An error about nothing does not.
    let wire = Sniffer::start(&stage.client)?;
    let inner = Ipv4::new(stage.client.v4, stage.api.v4, packet::UDP).with(&packet::udp(1, 2, b"about nothing"));
    let error = Ipv4::new(stage.api.v4, stage.client.v4, ICMP).with(&packet::icmp(3, 3, 0, &inner));
    assert_eq!(sniffer::packet(&stage.api, stage.client.v4, &error)?.result, "sent");
    let told = stage.node.wait_flows(0, 1, |flow| flow.verdict() == "DROPPED")?;
    assert_eq!((told[0].icmp(), told[0].direction()), (Some((3, 3)), "INGRESS"));
    assert!(!wire.saw(b"about nothing")?);
    Ok(())
}

/// A path that is narrower than the link: whoever sends too much must hear of it, whatever may enter.
#[test]
fn the_path_s_size_is_found() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let far = node.network().far(1300)?;
    let echo = server::tcp(&far, "[::]:7000")?;
    let cidrs = format!("[{}/32, {}/128]", far.v4, far.v6);
    let out =
        client_may(&format!("  - toCIDR: {cidrs}\n    toPorts: [{{ports: [{{port: \"7000\", protocol: TCP}}]}}]\n"));
    let nothing_in = api_may(FROM_NOBODY)
        .replace("app: api}", "app: client}")
        .replace("  egress: [{toEndpoints: [{matchLabels: {app: nobody}}]}]\n", "");
    node.write_manifest("policy.yaml", &format!("{out}---\n{nothing_in}"))?;
    node.start()?;
    let wire = Sniffer::start(&client)?;
    let text = "x".repeat(30_000);
    for address in far.addresses() {
        let mut kept = Talk::tcp(&client, (address, 7000))?;
        let outcome = kept.say(&text)?;
        assert_eq!(outcome.text.as_deref().map(str::len), Some(text.len()), "{address}: {:?}", outcome.result);
    }
    assert_eq!(echo.seen()?.len(), 2);
    // The next hop's size, where the messages have it: they were needed, and arrived.
    wire.wait_for(&[0, 0, 0x05, 0x14, 0x45])?;
    wire.wait_for(&[0, 0, 0x05, 0x14, 0x60])?;
    Ok(())
}

/// Without it there is no IPv6; it is not policy's business.
#[test]
fn neighbours_are_found_where_nothing_may_pass() -> Result<()> {
    let both = |app: &str| api_may(FROM_NOBODY).replace("app: api}", &format!("app: {app}}}")).replace("api-may", app);
    let stage = stage(&format!("{}---\n{}", both("client"), both("api")))?;
    // Nobody answers, but the neighbour must be known afterwards.
    let outcome = ping(&stage.client, stage.api.v6, "raw", 128, "hello")?;
    assert_eq!(outcome.result, "silent");
    let known =
        conformance::node::ip(&["-n", stage.client.netns().name(), "-6", "neigh", "show", &stage.api.v6.to_string()])?;
    assert!(known.contains("REACHABLE") || known.contains("DELAY") || known.contains("STALE"), "{known:?}");
    let told = stage.dropped()?;
    assert!(told.iter().all(|flow| flow.icmp() == Some((128, 0))), "{told:#?}");
    // One from further away says nothing of neighbours.
    let everybody = "ff02::1".parse()?;
    let ip = Ipv6 { hop_limit: 64, ..Ipv6::new(stage.client.v6, everybody, ICMP6) };
    let mut contents = stage.api.v6.octets().to_vec();
    contents.extend(b"from far away");
    let wire = Sniffer::start(&stage.api)?;
    let advertisement = ip.with(&packet::icmp6(&ip, 136, 0, 0, &contents));
    assert_eq!(sniffer::packet(&stage.client, everybody, &advertisement)?.result, "sent");
    let told = stage.node.wait_flows(0, 1, |flow| flow.icmp() == Some((136, 0)))?;
    assert!(told.iter().all(|flow| flow.direction() == "EGRESS"), "{told:#?}");
    assert!(!wire.saw(b"from far away")?);
    Ok(())
}

#[test]
fn audited_messages_pass_and_are_told_once() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    node.set("audit", serde_json::json!(true));
    node.write_manifest("policy.yaml", &client_may(TO_NOBODY))?;
    node.start()?;
    for _ in 0..3 {
        assert_eq!(ping(&client, api.v4, "raw", 8, "hello")?.text.as_deref(), Some("hello"));
    }
    let told = node.wait_flows(0, 1, |flow| flow.verdict() == "AUDIT")?;
    assert_eq!((told.len(), told[0].icmp()), (1, Some((8, 0))), "one exchange, by its identifier: {told:#?}");
    Ok(())
}
