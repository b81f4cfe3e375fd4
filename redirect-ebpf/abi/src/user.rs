//! User space only: which types may be copied to and from maps byte by byte.

use crate::{ConnKey, Connection, Peer, Pod, PolicyKey, PolicyValue, Refusal, ReplyKey, Stranger, Told, ToldKey};

macro_rules! pod {
    ($($t:ty),*) => { $(
        // SAFETY: `repr(C)`, integers and arrays of integers only, no hidden padding (sizes are asserted beside each type).
        unsafe impl aya::Pod for $t {}
    )* };
}

pod!(ConnKey, Peer, Pod, PolicyKey, PolicyValue, Refusal, ReplyKey, Stranger, Told, ToldKey);

// SAFETY: any bytes are a valid value: integers only.
unsafe impl bytemuck::Zeroable for Refusal {}
// SAFETY: `repr(C)`, integers only, no padding.
unsafe impl bytemuck::Pod for Refusal {}
// SAFETY: as for `Refusal`.
unsafe impl bytemuck::Zeroable for Stranger {}
// SAFETY: as for `Refusal`.
unsafe impl bytemuck::Pod for Stranger {}

impl Refusal {
    /// A refusal from the bytes of a ring buffer entry; `None` when the length is not that of this type.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == size_of::<Self>()).then(|| bytemuck::pod_read_unaligned(bytes))
    }
}

// SAFETY: as for `Refusal`.
unsafe impl bytemuck::Zeroable for Connection {}
// SAFETY: as for `Refusal`.
unsafe impl bytemuck::Pod for Connection {}

impl Connection {
    /// From the bytes of a ring buffer entry; `None` when the length is not that of this type.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == size_of::<Self>()).then(|| bytemuck::pod_read_unaligned(bytes))
    }
}

impl Stranger {
    /// From the bytes of a ring buffer entry; `None` when the length is not that of this type.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == size_of::<Self>()).then(|| bytemuck::pod_read_unaligned(bytes))
    }
}
