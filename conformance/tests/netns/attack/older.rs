//! Sockets that are older than the policy.

use super::*;

#[test]
fn a_connected_datagram_socket() -> Result<()> {
    let (mut denied, mut allowed) = (None, None);
    let stage = Stage::prepared(|client, api| {
        denied = Some(Talk::udp(client, (api.v4, 5354))?);
        allowed = Some(Talk::udp(client, (api.v4, 5353))?);
        Ok(())
    })?;
    let (mut denied, mut allowed) = (denied.expect("it was made"), allowed.expect("it was made"));
    assert_eq!(silent(&mut denied)?.result, "silent");
    stage.node.wait_flows(0, 1, |flow| flow.reason() == "backstop")?;
    stage.nothing_arrived()?;
    assert_eq!(allowed.say("hello")?.text.as_deref(), Some("hello"), "policy allows it");
    Ok(())
}

/// Connections without HTTP rules go on; what needs them does not pass without the proxy.
#[test]
fn open_connections() -> Result<()> {
    let (mut plain, mut denied, mut http) = (None, None, None);
    let mut echo = None;
    let stage = Stage::prepared(|client, api| {
        echo = Some(server::tcp(api, "0.0.0.0:7001")?);
        plain = Some(Talk::tcp(client, (api.v4, 7000))?);
        denied = Some(Talk::tcp(client, (api.v4, 7001))?);
        http = Some(Talk::tcp(client, (api.v4, 8080))?);
        Ok(())
    })?;
    let say = |kept: Option<Talk>| silent(&mut kept.expect("it was made"));
    assert_eq!(say(denied)?.result, "silent");
    assert_eq!(say(http)?.result, "silent");
    let told = stage.node.wait_flows(0, 2, |flow| flow.reason() == "backstop")?;
    let ports: Vec<_> = told.iter().filter_map(Flow::destination).map(|end| end.port()).collect();
    assert!(ports.contains(&7001) && ports.contains(&8080), "{ports:?}");
    stage.nothing_arrived()?;
    assert_eq!(plain.expect("it was made").say("hello")?.text.as_deref(), Some("hello"), "policy allows it");
    assert!(stage.web.seen()?.is_empty());
    Ok(())
}

/// What clients may enter goes on getting answers when the server's own egress comes under enforcement.
#[test]
fn an_accepted_connection_is_no_egress() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[("app", "client")])?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _echo = server::tcp(&api, "0.0.0.0:7000")?;
    node.write_manifest("policy.yaml", "")?;
    node.start()?;
    let mut before = Talk::tcp(&client, (api.v4, 7000))?;
    assert_eq!(before.say("hello")?.text.as_deref(), Some("hello"));
    let nothing_out = READ_ONLY.replace("app: client", "app: api").replace("app: api}}]", "app: nobody}}]");
    node.apply("policy.yaml", &nothing_out)?;
    assert!(node.status()?.endpoint("default/api").is_some_and(|api| api.egress.enforced && !api.ingress.enforced));
    let mut after = Talk::tcp(&client, (api.v4, 7000))?;
    for (kept, when) in [(&mut before, "before"), (&mut after, "after")] {
        assert_eq!(kept.say("hello")?.text.as_deref(), Some("hello"), "accepted {when} the policy");
    }
    // The same connections when the process is gone, and when the next one has taken over.
    node.kill()?;
    assert_eq!(before.say("again")?.text.as_deref(), Some("again"));
    node.start()?;
    for kept in [&mut before, &mut after] {
        assert_eq!(kept.say("and again")?.text.as_deref(), Some("and again"));
    }
    assert!(server::connect(&api, (client.v4, 7000), None)?.is_refused());
    Ok(())
}
