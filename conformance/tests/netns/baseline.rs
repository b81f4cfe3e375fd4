//! Without the proxy everything passes: what the other tests see refused is refused by it, not by the stage.

use anyhow::Result;
use conformance::{
    Node,
    client::curl,
    server::{self, Held, Load, udp_connect, udp_send},
};

#[test]
fn pods_reach_each_other() -> Result<()> {
    let mut node = Node::new()?;
    let client = node.pod("default/client", &[])?;
    let api = node.pod("default/api", &[])?;
    let server = server::http_at(&api, "[::]:8080")?;
    let _udp = server::udp(&api, "[::]:5353")?;
    let answer = curl(&client, &["--data", "abc"], &format!("http://{}:8080/x?y", api.v4))?;
    assert_eq!((answer.exit, answer.status), (0, 200), "{answer:?}");
    let seen = &server.seen()?[0];
    assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.body), ("POST", "/x?y", 3));
    assert_eq!(seen.peer.port(), answer.local_port);
    assert_eq!(answer.json()?["target"], "/x?y");
    assert_eq!(curl(&client, &[], &format!("http://[{}]:8080/", api.v6))?.status, 200);
    assert!(curl(&client, &[], &format!("http://{}:9090/", api.v4))?.is_refused());
    for outcome in [udp_send(&client, (api.v4, 5353), "a")?, udp_connect(&client, (api.v6, 5353), "a")?] {
        assert_eq!(outcome.text.as_deref(), Some("a"), "{outcome:?}");
    }
    assert!(server::connect(&client, (api.v4, 9090), None)?.is_refused());
    let mut held = Held::open(&client, (api.v4, 8080), "/held")?;
    for _ in 0..2 {
        assert_eq!(held.request()?["status"], 200);
    }
    let load = Load::start(&client, (api.v4, 8080), "/load", 2)?;
    let answers = load.finish()?;
    assert!(answers.clients.iter().flatten().all(|(status, _)| status == "200"), "{answers:?}");
    Ok(())
}
