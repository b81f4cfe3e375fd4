//! Flows as `flow.Flow` of Hubble's API, in protobuf.
//!
//! Owns which field says what. Never builds a message of strings to encode it afterwards: what many flows say is kept encoded,
//! and the rest is written as it is. The JSON lines of `flow/json.rs` say the same. Start at [`Encoder::flow`].

use rules::{Direction, PolicyKey, RuleRef};

use super::{
    ConnectionRecord, DropReason, DropRecord, Flow, HttpRecord, NodeNames, Record, Verdict, fragments::Fragments, summary,
};
use crate::endpoint::Peer;

mod ends;
mod extension;
mod field;

use self::{
    ends::{endpoints, policies},
    extension::{Details, extension},
    field::{message, number, text, timestamp},
};

/// Numbers of fields of `flow.Flow`.
mod tag {
    pub(super) const TIME: u32 = 1;
    pub(super) const VERDICT: u32 = 2;
    pub(super) const DROP_REASON: u32 = 3;
    pub(super) const TYPE: u32 = 10;
    pub(super) const NODE_NAME: u32 = 11;
    pub(super) const L7: u32 = 15;
    pub(super) const REPLY: u32 = 16;
    pub(super) const EVENT_TYPE: u32 = 19;
    pub(super) const TRAFFIC_DIRECTION: u32 = 22;
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
}

/// Of `flow.FlowType`.
const (L3_L4, L7): (u32, u32) = (1, 2);
