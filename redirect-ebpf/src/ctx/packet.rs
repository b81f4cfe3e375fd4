//! Packets: what the kernel says of one, and what is in it.

use core::mem::{MaybeUninit, offset_of};

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::bpf_skb_load_bytes,
};

use super::{ld_pointer, ld8, ld16, ld32, ld64};

/// Context of a program at an interface: a packet.
#[derive(Clone, Copy)]
pub struct Packet(pub *mut __sk_buff);

impl Packet {
    /// Index of the interface.
    #[inline(always)]
    pub fn interface(self) -> u32 {
        ld32::<_, { offset_of!(__sk_buff, ifindex) }>(self.0)
    }

    /// Bytes from the link layer's header to the end.
    #[inline(always)]
    pub fn len(self) -> u32 {
        ld32::<_, { offset_of!(__sk_buff, len) }>(self.0)
    }

    /// What the link layer says is inside, host byte order.
    #[inline(always)]
    pub fn protocol(self) -> u16 {
        u16::from_be(ld32::<_, { offset_of!(__sk_buff, protocol) }>(self.0) as u16)
    }

    /// Whether it has a VLAN tag beside its data.
    #[inline(always)]
    pub fn is_tagged(self) -> bool {
        ld32::<_, { offset_of!(__sk_buff, vlan_present) }>(self.0) != 0
    }

    /// The socket that sent it, whatever kind of socket: it may be a mere request or null.
    #[inline(always)]
    pub fn sock(self) -> *mut bpf_sock {
        ld64::<_, { offset_of!(__sk_buff, __bindgen_anon_2.sk) }>(self.0) as *mut bpf_sock
    }

    /// The first `N` bytes from the link layer's header on, if they lie in one piece: cheaper than [`Self::words`].
    #[inline(always)]
    pub fn head<const N: usize>(self) -> Option<Head> {
        let begin = ld_pointer::<_, { offset_of!(__sk_buff, data) }>(self.0);
        let end = ld_pointer::<_, { offset_of!(__sk_buff, data_end) }>(self.0);
        (begin + N as u64 <= end).then_some(Head(begin as *const u8))
    }

    /// Words, as they lie there, at an offset from the link layer's header, if there are so many.
    #[inline(always)]
    pub fn words<const N: usize>(self, offset: u32) -> Option<[u32; N]> {
        let mut words = MaybeUninit::<[u32; N]>::uninit();
        // SAFETY: the helper writes exactly so many bytes, or zeroes them and says that it failed.
        let failed = unsafe { bpf_skb_load_bytes(self.0.cast(), offset, words.as_mut_ptr().cast(), N as u32 * 4) };
        if failed != 0 {
            return None;
        }
        // SAFETY: written by the helper.
        Some(unsafe { words.assume_init() })
    }
}

/// The beginning of a packet. The verifier proves that no more of it is read than was asked for.
#[derive(Clone, Copy)]
pub struct Head(*const u8);

impl Head {
    #[inline(always)]
    pub fn byte<const AT: usize>(self) -> u8 {
        ld8::<_, AT>(self.0)
    }

    /// Two bytes as they lie there.
    #[inline(always)]
    pub fn half<const AT: usize>(self) -> u16 {
        ld16::<_, AT>(self.0)
    }

    /// Four bytes as they lie there.
    #[inline(always)]
    pub fn word<const AT: usize>(self) -> u32 {
        ld32::<_, AT>(self.0)
    }
}
