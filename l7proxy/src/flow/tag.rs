//! Numbers of the fields of `flow.Flow` that are written here: masks know fields by them.

use rules::Direction;

pub(super) const TIME: u32 = 1;
pub(super) const VERDICT: u32 = 2;
pub(super) const DROP_REASON: u32 = 3;
pub(super) const IP: u32 = 5;
pub(super) const L4: u32 = 6;
pub(super) const SOURCE: u32 = 8;
pub(super) const DESTINATION: u32 = 9;
pub(super) const TYPE: u32 = 10;
pub(super) const NODE_NAME: u32 = 11;
pub(super) const SOURCE_NAMES: u32 = 13;
pub(super) const DESTINATION_NAMES: u32 = 14;
pub(super) const L7: u32 = 15;
pub(super) const REPLY: u32 = 16;
pub(super) const EVENT_TYPE: u32 = 19;
pub(super) const SOURCE_SERVICE: u32 = 20;
pub(super) const DESTINATION_SERVICE: u32 = 21;
pub(super) const TRAFFIC_DIRECTION: u32 = 22;
pub(super) const POLICY_MATCH_TYPE: u32 = 23;
pub(super) const TRACE_OBSERVATION_POINT: u32 = 24;
pub(super) const DROP_REASON_DESC: u32 = 25;
pub(super) const IS_REPLY: u32 = 26;
pub(super) const TRACE_CONTEXT: u32 = 30;
pub(super) const UUID: u32 = 34;
pub(super) const NODE_LABELS: u32 = 37;
pub(super) const EMITTER: u32 = 41;
pub(super) const POLICY_LOG: u32 = 21006;
pub(super) const SUMMARY: u32 = 100_000;
pub(super) const EXTENSIONS: u32 = 150_000;

/// `egress_allowed_by` and its three sisters.
pub(super) fn by_policies(is_allowed: bool, direction: Direction) -> u32 {
    match (is_allowed, direction) {
        (true, Direction::Egress) => 21001,
        (true, Direction::Ingress) => 21002,
        (false, Direction::Egress) => 21004,
        (false, Direction::Ingress) => 21005,
    }
}
