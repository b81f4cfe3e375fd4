//! The last word about what a pod sends and gets, at the node's end of its interfaces: nothing passes here that no policy
//! allows, whatever kind of socket it came from.

use aya_ebpf::{bindings::tcx_action_base::TCX_NEXT, macros::classifier, programs::TcContext};
use redirect_abi::stat;

use crate::{
    ctx::Packet,
    maps::{ENDS, count},
};

/// What leaves the pod arrives here.
#[classifier]
pub fn backstop_out(ctx: TcContext) -> i32 {
    judge(Packet(ctx.skb.skb))
}

/// What enters the pod leaves here.
#[classifier]
pub fn backstop_in(ctx: TcContext) -> i32 {
    judge(Packet(ctx.skb.skb))
}

#[inline(always)]
fn judge(packet: Packet) -> i32 {
    // SAFETY: u64 values are replaced whole.
    if unsafe { ENDS.get(packet.interface()) }.is_some() {
        count(stat::BACKSTOP_SEEN);
    }
    TCX_NEXT
}
