//! User space only: which types may be copied to and from maps byte by byte.

use crate::{ConnKey, Peer, Pod, PolicyKey, PolicyValue, Refusal, ReplyKey};

macro_rules! pod {
    ($($t:ty),*) => { $(
        // SAFETY: `repr(C)`, integers and arrays of integers only, no hidden padding (sizes are asserted beside each type).
        unsafe impl aya::Pod for $t {}
    )* };
}

pod!(ConnKey, Peer, Pod, PolicyKey, PolicyValue, Refusal, ReplyKey);
