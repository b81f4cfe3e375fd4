//! Pods that come and go by themselves: nobody writes the configuration again.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command, thread};

use anyhow::Result;
use conformance::{
    Node, Pod,
    client::curl,
    eventually,
    node::{Netns, Plan, Status, ip},
    process::output,
    server::{self, Load},
};
use serde_json::json;

use crate::manifests::{PORTS, READ_ONLY};

const GUEST: &str = "default/guest";

fn is(state: &str) -> impl Fn(&Status) -> bool {
    move |status| status.endpoint(GUEST).is_some_and(|pod| pod.state == state)
}

/// The host end goes when the namespace really is gone, and not before.
pub(crate) fn wait_gone(plan: &Plan) -> Result<()> {
    eventually("the end of the namespace", || Ok(ip(&["link", "show", &plan.host_end()]).is_err().then_some(())))
}

#[test]
fn a_pod_is_enrolled_when_its_namespace_appears_and_released_when_it_goes() -> Result<()> {
    let mut node = Node::new()?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http_at(&api, "[::]:8080")?;
    let plan = node.plan(GUEST, &[("app", "client")])?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let (links, pins, descriptors) = (node.status()?.kernel.links, node.pins()?, descriptors(&mut node)?);
    for round in 1..=3 {
        let status = node.wait_status("the pod to be waited for", is("waiting"))?;
        assert!(status.ready && status.endpoint(GUEST).is_some_and(|pod| pod.egress.enforced), "{status:?}");
        let place = node.make(&plan)?;
        node.wait_status("the pod to be enrolled", is("ready"))?;
        // Of one family the loopback address may have come after the listener.
        for address in api.addresses() {
            let url = |path: &str| format!("http://{}{path}", SocketAddr::new(address, 8080));
            assert_eq!(curl(&place, &[], &url("/read/a"))?.status, 200, "{address}, round {round}");
            assert_eq!(curl(&place, &[], &url("/write"))?.status, 403, "{address}, round {round}");
            assert!(server::connect(&place, (address, 9090), None)?.is_refused(), "{address}, round {round}");
        }
        place.netns().delete()?;
        wait_gone(&plan)?;
        let released = |status: &Status| is("waiting")(status) && status.kernel.links == links;
        node.wait_status("everything of it to be released", released)?;
        assert_eq!(node.pins()?, pins, "round {round}");
    }
    assert_eq!(server.seen()?.len(), 6);
    eventually("the end of all descriptors", || Ok((self::descriptors(&mut node)? <= descriptors).then_some(())))
}

fn descriptors(node: &mut Node) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", node.proxy()?.id()))?.count())
}

#[test]
fn a_namespace_that_is_mounted_late_is_found() -> Result<()> {
    let mut node = Node::new()?;
    let plan = node.plan(GUEST, &[("app", "client")])?;
    node.start()?;
    fs::write(plan.path(), "")?;
    node.wait_status("nothing but the file", is("waiting"))?;
    output(Command::new("unshare").arg(format!("--net={}", plan.path().display())).arg("true"))?;
    node.wait_status("the pod to be enrolled", is("ready"))?;
    output(Command::new("umount").arg("--lazy").arg(plan.path()))?;
    fs::remove_file(plan.path())?;
    node.wait_status("the pod to be gone", is("waiting"))?;
    Ok(())
}

#[test]
fn an_interface_that_comes_after_the_enrolment_is_guarded() -> Result<()> {
    let mut node = Node::new()?;
    let plan = node.plan(GUEST, &[("app", "client")])?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let netns = Netns::new(&plan.name)?;
    let guard = |is: fn(&str) -> bool| {
        move |status: &Status| {
            status.endpoint(GUEST).is_some_and(|pod| pod.state == "ready" && is(pod.backstop.as_deref().unwrap_or("")))
        }
    };
    node.wait_status("the pod without interfaces", guard(|backstop| backstop.starts_with("absent")))?;
    let host_end = plan.host_end();
    ip(&["link", "add", &host_end, "type", "veth", "peer", "name", "eth0", "netns", &plan.name])?;
    node.wait_status("its first interface to be guarded", guard(|backstop| backstop == "tcx"))?;
    ip(&["link", "del", &host_end])?;
    node.wait_status("it to be gone", guard(|backstop| backstop.starts_with("absent")))?;
    netns.delete()?;
    node.wait_status("the pod to be gone", is("waiting"))?;
    Ok(())
}

#[test]
fn the_directory_of_a_namespace_may_come_as_well() -> Result<()> {
    let mut node = Node::new()?;
    let stranger = node.stranger()?;
    let file = node.path("deep/er/netns");
    let endpoint = json!({ "pod": GUEST, "netns": file, "addresses": [stranger.v4] });
    node.endpoints_mut().push(endpoint);
    node.start()?;
    node.wait_status("the pod to be waited for", is("waiting"))?;
    fs::create_dir_all(node.path("deep/er"))?;
    // A name of a namespace need not be a mount.
    std::os::unix::fs::symlink(stranger.netns().path(), &file)?;
    node.wait_status("the pod to be enrolled", is("ready"))?;
    Ok(())
}

/// A pod whose namespace is found in a directory that is mounted: nothing but its first socket tells.
struct Hidden {
    stranger: Pod,
    directory: PathBuf,
}

fn hidden(node: &mut Node) -> Result<Hidden> {
    let stranger = node.stranger()?;
    let directory = node.path("mounted");
    fs::create_dir_all(&directory)?;
    fs::create_dir_all(node.path("names"))?;
    std::os::unix::fs::symlink(stranger.netns().path(), node.path("names/guest"))?;
    let labels = json!({ "app": "client" });
    let endpoint =
        json!({ "pod": GUEST, "netns": directory.join("guest"), "addresses": stranger.addresses(), "labels": labels });
    node.endpoints_mut().push(endpoint);
    Ok(Hidden { stranger, directory })
}

impl Hidden {
    fn mount(&self, node: &Node) -> Result<()> {
        output(Command::new("mount").arg("--bind").arg(node.path("names")).arg(&self.directory)).map(drop)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // In the node's directory, which is to be removed.
        drop(output(Command::new("umount").arg("--lazy").arg(&self.directory)));
    }
}

#[test]
fn the_first_socket_of_a_namespace_enrols_it() -> Result<()> {
    let mut node = Node::new()?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _server = server::http(&api, 8080)?;
    let hidden = hidden(&mut node)?;
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let url = format!("http://{}:8080/write", api.v4);
    hidden.mount(&node)?;
    node.wait_status("nobody to notice", is("waiting"))?;
    assert!(server::connect(&api, (api.v4, 9090), None)?.is_refused());
    output(node.network().command("curl").args(["--silent", "--output", "/dev/null", &url]))?;
    assert_eq!(told(&node)?, 0, "pods that are there and the node itself are no strangers");
    let _socket = server::udp(&hidden.stranger, "0.0.0.0:5353")?;
    node.wait_status("the pod to be enrolled", is("ready"))?;
    assert_eq!(curl(&hidden.stranger, &[], &url)?.status, 403);
    let before = told(&node)?;
    server::sockets(node.network(), 10)?;
    assert_eq!(told(&node)?, before, "nobody is waited for any more");
    Ok(())
}

fn told(node: &Node) -> Result<u64> {
    Ok(node.status()?.counters.get("unknown_namespaces_told").copied().unwrap_or_default())
}

#[test]
fn a_flood_of_unknown_namespaces_is_bounded() -> Result<()> {
    const NAMESPACES: u32 = 100;
    const SOCKETS: u32 = 100;
    let mut node = Node::new()?;
    let hidden = hidden(&mut node)?;
    node.start()?;
    let descriptors = descriptors(&mut node)?;
    for _ in 0..NAMESPACES {
        server::sockets(node.network(), SOCKETS)?;
    }
    let told = told(&node)?;
    assert!((NAMESPACES.into()..=u64::from(NAMESPACES * SOCKETS / 10)).contains(&told), "{told} were told");
    assert_eq!(node.status()?.counters["unknown_namespaces_lost"], 0);
    eventually("nothing to be held of them", || Ok((self::descriptors(&mut node)? <= descriptors).then_some(())))?;
    hidden.mount(&node)?;
    let _socket = server::udp(&hidden.stranger, "0.0.0.0:5353")?;
    node.wait_status("the pod that is waited for", is("ready"))?;
    Ok(())
}

/// A pod of the node's cgroup whose name is a link that is not there yet.
fn unenrolled(node: &mut Node, mode: &str) -> Result<Pod> {
    let stranger = node.stranger()?;
    let labels = json!({ "app": "client" });
    let endpoint =
        json!({ "pod": GUEST, "netns": node.path("guest"), "addresses": stranger.addresses(), "labels": labels });
    node.endpoints_mut().push(endpoint);
    node.set_redirect("unenrolled", json!(mode));
    // A test may take longer than the kernel would wait for an answer.
    output(stranger.command("sh").args(["-c", "echo 12 > /proc/sys/net/ipv4/tcp_syn_retries"]))?;
    Ok(stranger)
}

fn enrol(node: &Node, stranger: &Pod) -> Result<()> {
    std::os::unix::fs::symlink(stranger.netns().path(), node.path("guest"))?;
    node.wait_status("the pod to be enrolled", is("ready")).map(drop)
}

#[test]
fn who_is_not_enrolled_may_be_refused() -> Result<()> {
    let mut node = Node::new()?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http(&api, 8080)?;
    let echo = server::udp(&api, "0.0.0.0:5353")?;
    let stranger = unenrolled(&mut node, "deny")?;
    node.write_manifest("policy.yaml", &format!("{READ_ONLY}---{PORTS}"))?;
    node.start()?;
    let own = server::tcp(&stranger, "127.0.0.1:7000")?;
    for to in [(api.v4, 8080).into(), (api.v6, 8080).into(), SocketAddr::new(api.v4.to_ipv6_mapped().into(), 8080)] {
        assert!(server::connect(&stranger, to, None)?.is_refused(), "{to}");
    }
    assert!(server::udp_send(&stranger, (api.v4, 5353), "hello")?.is_refused());
    assert!(server::udp_connect(&stranger, (api.v4, 5353), "hello")?.is_refused());
    assert_eq!(server::connect(&stranger, "127.0.0.1:7000".parse::<SocketAddr>()?, None)?.result, "connected");
    let records = node.wait_flows(0, 5, |flow| flow.reason() == "namespace-not-enrolled")?;
    assert!(records.iter().all(|flow| flow.verdict() == "DROPPED" && flow.direction() == "EGRESS"), "{records:?}");
    assert_eq!(records[0].destination(), Some((api.v4, 8080).into()));
    let url = format!("http://{}:8080/healthz", api.v4);
    output(node.network().command("curl").args(["--silent", "--fail", "--output", "/dev/null", &url]))?;
    assert_eq!(server.seen()?.len(), 1, "the node itself is not meant");

    enrol(&node, &stranger)?;
    assert_eq!(curl(&stranger, &[], &format!("http://{}:8080/read/a", api.v4))?.status, 200);
    assert_eq!(server::udp_send(&stranger, (api.v4, 5353), "hello")?.text.as_deref(), Some("hello"));
    fs::remove_file(node.path("guest"))?;
    node.wait_status("the pod to be gone", is("waiting"))?;
    assert!(server::connect(&stranger, (api.v4, 8080), None)?.is_refused());
    drop((own, echo));
    Ok(())
}

#[test]
fn who_is_not_enrolled_may_be_held_until_it_is() -> Result<()> {
    let mut node = Node::new()?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let allowed = server::tcp(&api, "[::]:7000")?;
    let (denied, http) = (server::tcp(&api, "0.0.0.0:9090")?, server::http(&api, 8080)?);
    let stranger = unenrolled(&mut node, "hold")?;
    node.write_manifest("policy.yaml", &format!("{READ_ONLY}---{PORTS}"))?;
    node.start()?;
    let own = server::tcp(&stranger, "127.0.0.1:7000")?;
    assert_eq!(server::connect(&stranger, "127.0.0.1:7000".parse::<SocketAddr>()?, None)?.result, "connected");

    let held = |node: &Node| Ok::<_, anyhow::Error>(node.status()?.counters["unenrolled_packets_held"]);
    let six = SocketAddr::from((api.v6, 7000));
    let first = [(api.v4, 7000).into(), six, (api.v4, 9090).into(), (api.v4, 8080).into()];
    let outcomes = thread::scope(|scope| {
        let begin = |to: SocketAddr| {
            let before = held(&node)?;
            let from = &stranger;
            let attempt = scope.spawn(move || server::connect(from, to, Some("hello")));
            // Its first packet was dropped, and it goes on trying.
            eventually("a packet that is held", || Ok((held(&node)? >= before + 2).then_some(())))?;
            Ok(attempt)
        };
        let attempts = first.map(begin).into_iter().collect::<Result<Vec<_>>>()?;
        assert!(attempts.iter().all(|attempt| !attempt.is_finished()), "nothing has passed");
        enrol(&node, &stranger)?;
        attempts.into_iter().map(|attempt| attempt.join().expect("no panic")).collect::<Result<Vec<_>>>()
    })?;
    for (outcome, to) in outcomes.iter().zip(first).take(2) {
        assert_eq!(outcome.reply.as_deref(), Some("hello"), "{to}: {outcome:?}");
    }
    // What policy does not allow is ended, and what needs the proxy cannot be turned to it any more.
    for (outcome, to) in outcomes.iter().zip(first).skip(2) {
        assert!(outcome.is_ended() && outcome.call == "connect", "{to}: {outcome:?}");
    }
    assert_eq!((allowed.seen()?.len(), denied.seen()?.len(), http.seen()?.len()), (2, 0, 0));
    let reasons = node.wait_flows(0, 2, |flow| flow.reason().starts_with("ended-"))?;
    assert!(reasons.iter().any(|flow| flow.reason() == "ended-needs-http-rules"), "{reasons:?}");
    let before = held(&node)?;
    assert_eq!(curl(&stranger, &[], &format!("http://{}:8080/read/a", api.v4))?.status, 200);
    assert_eq!(held(&node)?, before, "nothing is held any more");
    drop(own);
    Ok(())
}

#[test]
fn a_restart_holds_nobody_who_is_enrolled() -> Result<()> {
    let mut node = Node::new()?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _server = server::http(&api, 7000)?;
    let stranger = unenrolled(&mut node, "hold")?;
    node.write_manifest("policy.yaml", PORTS)?;
    node.start()?;
    enrol(&node, &stranger)?;
    let url = format!("http://{}:7000/", api.v4);
    assert_eq!(curl(&stranger, &[], &url)?.status, 200);
    // What does not need the proxy goes on without it.
    let load = Load::start(&stranger, (api.v4, 7000), "/", 2)?;
    for _ in 0..3 {
        node.kill()?;
        node.start()?;
        assert_eq!(curl(&stranger, &[], &url)?.status, 200);
        assert_eq!(node.status()?.counters["unenrolled_packets_held"], 0);
    }
    for runs in load.finish()?.clients {
        assert_eq!(runs.iter().map(|(answer, _)| answer.as_str()).collect::<Vec<_>>(), ["200"], "{runs:?}");
    }
    // Without the mode its program is not there any more.
    node.set_redirect("unenrolled", json!("allow"));
    node.stop()?;
    assert!(node.pins()?.iter().any(|pin| pin.ends_with("_hold")), "{:?}", node.pins());
    node.start()?;
    assert!(!node.pins()?.iter().any(|pin| pin.ends_with("_hold")), "{:?}", node.pins());
    let other = node.stranger()?;
    assert_eq!(curl(&other, &[], &url)?.status, 200);
    Ok(())
}

#[test]
fn a_file_that_never_becomes_a_namespace_is_told() -> Result<()> {
    let mut node = Node::new()?;
    let plan = node.plan(GUEST, &[("app", "client")])?;
    node.start()?;
    fs::write(plan.path(), "no namespace")?;
    let status = node.wait_status("an error", is("error"))?;
    let error = status.endpoint(GUEST).and_then(|pod| pod.error.clone()).unwrap_or_default();
    assert!(error.contains(&plan.path().display().to_string()), "{error}");
    fs::remove_file(plan.path())?;
    node.wait_status("the pod to be waited for again", is("waiting"))?;
    Ok(())
}

#[test]
fn a_pod_ends_with_the_process_that_names_it_and_stays_judged() -> Result<()> {
    let mut node = Node::new()?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let server = server::http(&api, 8080)?;
    let other = server::tcp(&api, "0.0.0.0:9090")?;
    let stranger = node.stranger()?;
    let process = server::udp(&stranger, "0.0.0.0:5353")?;
    let labels = json!({ "app": "client" });
    let endpoint = json!({ "pod": GUEST, "pid": process.id(), "addresses": stranger.addresses(), "labels": labels });
    node.endpoints_mut().push(endpoint);
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let (links, url) = (node.status()?.kernel.links, format!("http://{}:8080/read/a", api.v4));
    assert_eq!(curl(&stranger, &[], &url)?.status, 200);

    process.kill()?;
    node.wait_status("the end of the pod", is("ended"))?;
    // Others are left in its namespace. What was denied is; what needs the proxy has none.
    assert!(server::connect(&stranger, (api.v4, 9090), None)?.is_refused());
    assert!(server::connect(&stranger, (api.v4, 8080), None)?.is_refused());
    assert_eq!((server.seen()?.len(), other.seen()?.len()), (1, 0));
    assert_eq!(node.status()?.kernel.links, links);

    stranger.netns().delete()?;
    // Its steering, and what leaves and enters by its interface.
    node.wait_status("the rest to be released", |status| status.kernel.links == links - 3)?;
    Ok(())
}

#[test]
fn a_namespace_that_is_found_again_is_served_again() -> Result<()> {
    let mut node = Node::new()?;
    let api = node.pod("default/api", &[("app", "api")])?;
    let _server = server::http(&api, 8080)?;
    let stranger = node.stranger()?;
    let file = node.path("netns");
    std::os::unix::fs::symlink(stranger.netns().path(), &file)?;
    let labels = json!({ "app": "client" });
    let endpoint = json!({ "pod": GUEST, "netns": file, "addresses": stranger.addresses(), "labels": labels });
    node.endpoints_mut().push(endpoint);
    node.write_manifest("policy.yaml", READ_ONLY)?;
    node.start()?;
    let url = format!("http://{}:8080/read/a", api.v4);
    assert_eq!(curl(&stranger, &[], &url)?.status, 200);
    fs::remove_file(&file)?;
    node.wait_status("the pod to be gone", is("waiting"))?;
    assert!(server::connect(&stranger, (api.v4, 8080), None)?.is_refused());
    std::os::unix::fs::symlink(stranger.netns().path(), &file)?;
    node.wait_status("the pod to be enrolled", is("ready"))?;
    assert_eq!(curl(&stranger, &[], &url)?.status, 200);

    // The same namespace by another name: nothing changes for who is in it.
    let mut held = server::Held::open(&stranger, (api.v4, 8080), "/read/a")?;
    assert_eq!(held.request()?["status"], 200);
    let last = node.endpoints_mut().len() - 1;
    node.endpoints_mut()[last]["netns"] = json!(stranger.netns().path());
    let before = node.status()?.revision;
    node.write_config()?;
    node.wait_revision(before)?;
    assert_eq!(held.request()?["status"], 200);
    assert_eq!(curl(&stranger, &[], &url)?.status, 200);

    // Another pod of the same namespace.
    node.endpoints_mut()[last]["pod"] = json!("default/other");
    let before = node.status()?.revision;
    node.write_config()?;
    node.wait_revision(before)?;
    assert!(held.request()?.get("error").is_some(), "its connections were the other's");
    assert_eq!(curl(&stranger, &[], &url)?.status, 200);
    Ok(())
}

#[test]
fn one_namespace_is_not_two_pods() -> Result<()> {
    let mut node = Node::new()?;
    // Wherever it stands on the list: what is enrolled stays.
    let file = node.path("guest");
    node.endpoints_mut().push(json!({ "pod": GUEST, "netns": file, "addresses": ["10.99.0.1"] }));
    let first = node.pod("default/first", &[("app", "client")])?;
    node.start()?;
    std::os::unix::fs::symlink(first.netns().path(), &file)?;
    let status = node.wait_status("the second pod to be found", is("error"))?;
    let error = status.endpoint(GUEST).and_then(|pod| pod.error.clone()).unwrap_or_default();
    assert!(error.contains("default/first"), "{error}");
    assert_eq!(status.endpoint("default/first").map(|pod| pod.state.as_str()), Some("ready"));
    Ok(())
}
