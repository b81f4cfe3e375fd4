//! Every file under `cases/`, played with curl against the real binary.

use conformance::case;

/// One test per file, so that each is named in the output.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                if let Err(error) = case::play(stringify!($name)) {
                    panic!("{error:?}");
                }
            }
        )+

        #[test]
        fn every_file_is_played() {
            let mut named = vec![$(stringify!($name)),+];
            named.sort_unstable();
            assert_eq!(case::names().expect("the directory of cases"), named);
        }
    };
}

cases!(additive, both_sides, cidr, cidr_groups, headers, host, l4_opens_l7, methods, path_anchoring);
