//! Fields that ask what a flow is: its kind, its verdict, its place in a trace.

use std::net::IpAddr;

use hubble_api::flow::{EventTypeFilter, FlowFilter, IpVersion, TcpFlags, Verdict};

use super::{
    Condition, Conditions, one_of,
    view::{Side, View},
    when,
};

/// `uuid` to `encrypted`.
pub(super) fn kind(filter: &FlowFilter, all: &mut Conditions) {
    when(&filter.uuid, all, |ids| {
        let ids = ids.to_vec();
        Box::new(move |view| {
            let own = view.uuid();
            ids.iter().any(|id| id.as_bytes() == own)
        })
    });
    when(&filter.event_type, all, event_type);
    one_of(&filter.verdict, all, |view| view.verdict);
    when(&filter.drop_reason_desc, all, |reasons| {
        let reasons = reasons.to_vec();
        Box::new(move |view| is_dropped(view) && reasons.contains(&view.reason))
    });
    when(&filter.reply, all, |replies| {
        let replies = replies.to_vec();
        // Hubble's older clients take a drop for what is no reply.
        Box::new(move |view| match view.is_reply {
            None => is_dropped(view) && replies.contains(&false),
            Some(is_reply) => replies.contains(&is_reply),
        })
    });
    // No flow of ours was encrypted by the node.
    one_of(&filter.encrypted, all, |_| false);
}

fn is_dropped(view: &View<'_>) -> bool {
    view.verdict == i32::from(Verdict::Dropped)
}

fn event_type(types: &[EventTypeFilter]) -> Condition {
    let types = types.to_vec();
    Box::new(move |view| {
        let (kind, sub_type) = view.event;
        types.iter().any(|wanted| {
            (wanted.r#type == 0 || wanted.r#type == kind) && (!wanted.match_sub_type || wanted.sub_type == sub_type)
        })
    })
}

/// `tcp_flags`.
pub(super) fn flags(filter: &FlowFilter, all: &mut Conditions) {
    when(&filter.tcp_flags, all, |flags| {
        let wanted: Vec<u16> = flags.iter().map(bits).collect();
        Box::new(move |view| {
            view.flags.is_some_and(|flags| wanted.iter().any(|wanted| wanted & !u16::from(flags) == 0))
        })
    });
}

/// As in a TCP header.
fn bits(flags: &TcpFlags) -> u16 {
    let TcpFlags { fin, syn, rst, psh, ack, urg, ece, cwr, ns } = *flags;
    let flags = [fin, syn, rst, psh, ack, urg, ece, cwr, ns];
    flags.into_iter().enumerate().map(|(place, set)| u16::from(set) << place).sum()
}

/// `ip_version` to `ip_trace_id`.
pub(super) fn rest(filter: &FlowFilter, all: &mut Conditions) -> Result<(), String> {
    one_of(&filter.ip_version, all, |view| {
        // That of the destination counts, as in flows.
        match view.end(Side::Destination).1.ip().to_canonical() {
            IpAddr::V4(_) => IpVersion::IPv4,
            IpAddr::V6(_) => IpVersion::IPv6,
        }
        .into()
    });
    when(&filter.trace_id, all, |ids| {
        let ids = ids.to_vec();
        Box::new(move |view| {
            let own = view.http.as_ref().and_then(|http| http.info.trace.as_deref()).unwrap_or_default();
            ids.iter().any(|id| id == own)
        })
    });
    one_of(&filter.traffic_direction, all, |view| view.direction);
    if filter.experimental.as_ref().is_some_and(|experimental| !experimental.cel_expression.is_empty()) {
        return Err("CEL expressions are not supported by this server; use other fields of the filter".to_owned());
    }
    // No flow of ours has a network interface.
    when(&filter.interface, all, |_| Box::new(|_| false));
    // Nor an IP trace id, which then is 0.
    one_of(&filter.ip_trace_id, all, |_| 0);
    Ok(())
}
