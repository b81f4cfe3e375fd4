//! Transparency as a difference: the same requests sent to a server directly and through the data plane in this process,
//! and what the server received and what the client received compared.
//!
//! The servers are nginx, Node, Go's net/http and hyper; their programs are in `conformance/servers`. Only what belongs to
//! one connection may differ: chunks, and blanks around values (`compare.rs` has the list); what differs besides is in
//! `known.yaml`, with its reason.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test, what is not as expected has failed"
)]

mod compare;
mod corpus;
mod exchange;
mod known;
mod message;
mod servers;
#[expect(dead_code, reason = "shared with the tests of whole connections, which ask for more")]
#[path = "../direct/stage.rs"]
mod stage;
mod tap;
#[expect(dead_code, reason = "shared with the tests of whole connections, which ask for more")]
#[path = "../direct/wire.rs"]
mod wire;

use std::net::SocketAddr;

use crate::{stage::Stage, tap::Tap};

#[test]
fn nginx_and_its_clients_see_the_same() {
    let server = servers::nginx();
    compare("nginx", server.address);
}

#[test]
fn node_and_its_clients_see_the_same() {
    let server = servers::node();
    compare("node", server.address);
}

#[test]
fn go_and_its_clients_see_the_same() {
    let server = servers::go();
    compare("go", server.address);
}

#[test]
fn hyper_and_its_clients_see_the_same() {
    let server = servers::hyper();
    compare("hyper", server.address);
}

fn compare(name: &str, server: SocketAddr) {
    let stage = Stage::new();
    let tap = Tap::new(stage.upstream.try_clone().unwrap(), server);
    let requests = corpus::requests();
    let mut found = Vec::new();
    for request in &requests {
        let direct = exchange::run(server, request);
        let through = exchange::run(stage.front, request);
        let received = tap.received();
        let mut differences = compare::requests(&through.sent, &received);
        differences.extend(compare::answers(request, &direct, &through));
        found.extend(differences.into_iter().map(|difference| (request.name.clone(), difference)));
    }
    let wrong = known::unexpected(name, &found);
    assert!(wrong.is_empty(), "{} differences in {} requests:\n{}", wrong.len(), requests.len(), wrong.join("\n"));
}
