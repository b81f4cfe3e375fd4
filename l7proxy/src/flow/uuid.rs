//! What a flow is called: a UUID.
//!
//! Owns how it is made: of the flow's number and time, so that a file and the API agree without keeping it. Never a secret.
//! Start at [`Flow::uuid`].

use std::time::SystemTime;

use super::Flow;

impl Flow {
    /// Its UUID as text: that of no other flow of this node, and of another node's only by chance.
    pub fn uuid(&self, out: &mut Vec<u8>) {
        let since = self.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = since.as_secs().wrapping_mul(1_000_000_000).wrapping_add(since.subsec_nanos().into());
        id(mixed(time ^ self.number.rotate_left(32)), mixed(self.number.wrapping_add(mixed(time))), out);
    }
}

/// The last step of splitmix64: different numbers stay different.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A UUID of version 4, variant 1 (RFC 9562 §5.4), of two numbers that look random.
pub(super) fn id(high: u64, low: u64, out: &mut Vec<u8>) {
    let high = (high & !0xf000) | 0x4000;
    let low = (low & (u64::MAX >> 2)) | (1 << 63);
    let digits = [hex(high >> 32), hex(high), hex(low >> 32), hex(low)];
    let mut rest = digits.as_flattened();
    for length in [8, 4, 4, 4] {
        let Some((group, after)) = rest.split_at_checked(length) else { return };
        out.extend_from_slice(group);
        out.push(b'-');
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// The last eight hexadecimal digits of `number`.
pub(super) fn hex(number: u64) -> [u8; 8] {
    // Each half byte gets a byte of its own: halves are parted, then their halves.
    let mut digits = number & 0xffff_ffff;
    digits = (digits << 16 | digits) & 0x0000_ffff_0000_ffff;
    digits = (digits << 8 | digits) & 0x00ff_00ff_00ff_00ff;
    digits = (digits << 4 | digits) & 0x0f0f_0f0f_0f0f_0f0f;
    // 1 where the digit is a letter.
    let letters = ((digits + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (digits + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}
