//! Counters of the kernel side: their names, and what they count.

use redirect_abi::stat;

/// Name, place in the programs' map, and what it counts.
type Row = (&'static str, u32, &'static str);

pub(super) const OF_PROGRAMS: [Row; 12] = [
    ("kernel_redirected_connects", stat::REDIRECTED, "Connections that pods opened and that were sent to the proxy."),
    ("kernel_refused", stat::REFUSED, "Connections, calls and packets that the kernel refused."),
    ("kernel_backstop_dropped", stat::BACKSTOP_DROPPED, "Packets that the backstop dropped; also counted as refused."),
    ("kernel_refusals_repeated", stat::REPEATS, "Refusals without a record, equal to one of the same second."),
    (
        "kernel_audited",
        stat::AUDITED,
        "What passed and would have been refused, if its policies were not only audited.",
    ),
    ("kernel_refusal_events_lost", stat::EVENTS_LOST, "Refusals for which there was no room, so without a record."),
    (
        "kernel_connection_events_lost",
        stat::CONNECTIONS_LOST,
        "Beginnings and ends of connections for which there was no room, so without a record.",
    ),
    (
        "unknown_namespaces_told",
        stat::STRANGERS,
        "First sockets of namespaces that nobody knows, while a pod was waited for.",
    ),
    ("unknown_namespaces_lost", stat::STRANGERS_LOST, "The same for which there was no room."),
    (
        "unenrolled_calls_refused",
        stat::UNENROLLED,
        "Calls of namespaces that no pod is enrolled for that were refused.",
    ),
    (
        "kernel_late_packets",
        stat::LATE,
        "Packets for the proxy of connections that were over; dropped, without a record.",
    ),
    ("unenrolled_packets_held", stat::HELD, "Packets of namespaces that no pod is enrolled for that were dropped."),
];
pub(super) const POLICY_WRITES: (&str, &str) = ("kernel_policy_writes", "Writes to the kernel's policy maps.");
pub(super) const STANDBYS_DROPPED: (&str, &str) =
    ("kernel_policy_standbys_dropped", "Kept versions of policies that were given up for room.");

/// What a counter counts; `None`: it is none of the kernel side.
#[must_use]
pub fn help(name: &str) -> Option<&'static str> {
    let all = OF_PROGRAMS.into_iter().map(|(name, _, help)| (name, help)).chain([POLICY_WRITES, STANDBYS_DROPPED]);
    all.into_iter().find(|(known, _)| *known == name).map(|(_, help)| help)
}
