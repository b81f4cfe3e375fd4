use proptest::prelude::*;

use super::*;
use crate::flow::{testing, uuid::id};

fn shown(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

/// Groups of an address, zeros among them.
fn groups() -> impl Strategy<Value = [u16; 8]> {
    prop::array::uniform8(prop_oneof![Just(0), 0_u16..=0x20, any::<u16>()])
}

proptest! {
    #[test]
    fn addresses_are_those_of_the_standard_library(groups in groups(), four in any::<[u8; 4]>()) {
        for ip in [IpAddr::from(groups), IpAddr::from(four), std::net::Ipv4Addr::from(four).to_ipv6_mapped().into()] {
            prop_assert_eq!(shown(|out| address(ip, out)), ip.to_string());
        }
    }

    #[test]
    fn times_are_those_of_humantime(
        times in prop::collection::vec((0_u64..3, prop_oneof![0_u32..1000, 0_u32..1_000_000_000, (0_u32..1000).prop_map(|milli| milli * 1_000_000)]), 1..8),
        base in 0_u64..200_000_000_000,
    ) {
        // One after another, within a second and across.
        let mut stamp = Stamp::default();
        for (second, nanos) in times {
            let time = SystemTime::UNIX_EPOCH + Duration::new(base + second, nanos);
            stamp.set(time);
            let wanted = testing::shown_time(time);
            prop_assert_eq!(std::str::from_utf8(stamp.bytes()).unwrap(), wanted);
        }
    }

    #[test]
    fn ids_are_the_random_digits_but_for_version_and_variant(high: u64, low: u64) {
        let wanted = format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            ((low >> 48) & 0x3fff) | 0x8000,
            low & 0xffff_ffff_ffff
        );
        prop_assert_eq!(shown(|out| id(high, low, out)), wanted);
    }

    #[test]
    fn text_is_read_back_as_it_was(value in any::<String>()) {
        let line = shown(|out| text(&value, out));
        prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), value);
        prop_assert!(!line.chars().any(char::is_control));
    }
}
