//! From a connection that needs no proxy to its records.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rules::{Direction, L4Verdict, Protocol};

use super::RuleIds;
use crate::{
    endpoint::EndpointId,
    flow::{ConnectionEnd, ConnectionRecord, Ends, Process, Record, Sink},
    policy::{Store, World},
    redirect::{self, Connection, Connections, EGRESS, RedirectError},
};

/// Waits for beginnings and ends, and records each.
pub(super) async fn drain(
    connections: &mut Connections,
    store: &Store,
    ids: &RuleIds,
    flows: &Sink,
) -> Result<(), RedirectError> {
    connections
        .drain(|connection| {
            #[expect(
                clippy::disallowed_methods,
                reason = "the hook took no time; this is where the event is first seen"
            )]
            let now = SystemTime::now();
            let record = record(connection, &store.current(), ids, now);
            if let Some(decision) = record.decision() {
                flows.emit(Record::Connection(Box::new(decision)));
            }
            flows.emit(Record::Connection(Box::new(record)));
        })
        .await
}

/// By the rule that the kernel says it was; without a number, as the newest policy sees it.
fn record(connection: &Connection, world: &World, ids: &RuleIds, now: SystemTime) -> ConnectionRecord {
    let direction = if connection.direction == EGRESS { Direction::Egress } else { Direction::Ingress };
    let (local, remote) = redirect::ends(connection);
    let endpoint = world.endpoints.get(&EndpointId(connection.endpoint));
    let other = world.ipcache.lookup(remote.ip());
    let [source, destination] = world.ends(EndpointId(connection.endpoint), direction, local, remote);
    let port = destination.1.port();
    let (rule, revision) = if let Some(known) = ids.rule(connection.rule) {
        (Some(Arc::clone(&known.rule)), known.until.unwrap_or(world.revision))
    } else {
        let verdict = endpoint.map(|endpoint| endpoint.direction(direction).l4(other.identity(), Protocol::Tcp, port));
        let rule = if let Some(L4Verdict::Allowed(rule)) = verdict { rule } else { None };
        (rule, world.revision)
    };
    let process = Process { pid: connection.pid, command: redirect::command(&connection.command) };
    let end = ConnectionEnd {
        lasted: Duration::from_nanos(connection.lasted),
        sent: connection.sent,
        received: connection.received,
    };
    ConnectionRecord {
        time: now,
        ends: Ends { direction, source, destination },
        rule,
        process: (connection.pid != 0).then_some(process),
        allowed: None,
        end: (connection.ended != 0).then_some(end),
        revision,
    }
}
