//! The examples of RFC 7541, what is broken, and that what is packed is unpacked to the same.

use std::rc::Rc;

use http::HeaderValue;
use proptest::prelude::*;

use super::{Broken, Decoder, Encoder, Field, Indexing, Name, Shared, TABLE, fixed, huffman};

const LIMIT: usize = 60 << 10;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn lines(fields: &[Shared]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    fields.iter().map(|field| format!("{}: {}", text(field.name.as_bytes()), text(field.value.as_bytes()))).collect()
}

fn unpack(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Shared>, Broken> {
    let mut fields = Vec::new();
    decoder.decode(block, LIMIT, &mut fields).map(|_| fields)
}

#[test]
fn requests_of_the_specification() {
    let first = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
    let second = [&first[..], &["cache-control: no-cache"]].concat();
    let third = [
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
    ];
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let packed = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    for blocks in [plain, packed] {
        let mut decoder = Decoder::default();
        for (block, expected) in blocks.iter().zip([&first[..], &second, &third]) {
            assert_eq!(lines(&unpack(&mut decoder, &bytes(block)).unwrap()), expected);
        }
    }
}

#[test]
fn answers_of_the_specification_with_a_small_table() {
    let mut decoder = Decoder::default();
    decoder.table.resize(256);
    let date = "date: Mon, 21 Oct 2013 20:13:21 GMT";
    for (block, expected) in [
        (
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
            vec![":status: 302", "cache-control: private", date, "location: https://www.example.com"],
        ),
        ("4883640effc1c0bf", vec![":status: 307", "cache-control: private", date, "location: https://www.example.com"]),
        (
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af\
             27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            vec![
                ":status: 200",
                "cache-control: private",
                "date: Mon, 21 Oct 2013 20:13:22 GMT",
                "location: https://www.example.com",
                "content-encoding: gzip",
                "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ],
        ),
    ] {
        assert_eq!(lines(&unpack(&mut decoder, &bytes(block)).unwrap()), expected);
    }
}

#[test]
fn what_is_secret_stays_so() {
    let mut decoder = Decoder::default();
    let fields = unpack(&mut decoder, &bytes("100870617373776f726406736563726574")).unwrap();
    assert_eq!(lines(&fields), ["password: secret"]);
    assert!(fields[0].value.is_sensitive());
    let mut block = Vec::new();
    Encoder::default().field(&fields[0], &mut block);
    assert_eq!(block, bytes("100870617373776f726406736563726574"));
    let header = Field::header(&http::header::AUTHORIZATION, &fields[0].value);
    let mut block = Vec::new();
    Encoder::default().field(&Rc::new(header), &mut block);
    assert_eq!(block[0] & 0xf0, 0x10, "also when rules made it");
}

#[test]
fn what_cannot_be_unpacked() {
    for (name, block) in [
        ("place 0", "80"),
        ("a place that is not there", "be"),
        ("a name that is not there", "7f0161"),
        ("a number without end", "ffffffffffffffffff01"),
        ("a number that is too large", "7fffffffff7f"),
        ("nothing behind a name", "4003616161"),
        ("a text that is longer than its block", "400361"),
        ("a size that is too large", "3fe21f"),
        ("a size behind a field", "8220"),
        ("filling of more than seven bits", "0085f2b24a84ff87f2b24a84ffff"),
        ("filling with zeros", "018118"),
        ("the symbol that no text has", "0184ffffffff"),
    ] {
        assert_eq!(unpack(&mut Decoder::default(), &bytes(block)).err(), Some(Broken::Packing), "{name}");
    }
    for (name, block) in [
        ("upper case", "00015801 61"),
        ("a colon", "0003613a62 0161"),
        ("no name", "0000 0161"),
        ("a line feed", "000161 03610a62"),
        ("a carriage return", "000161 03610d62"),
        ("a NUL", "000161 03610062"),
    ] {
        assert_eq!(unpack(&mut Decoder::default(), &bytes(block)).err(), Some(Broken::Field), "{name}");
    }
}

#[test]
fn what_is_too_much_is_counted_and_not_kept() {
    let mut decoder = Decoder::default();
    let begin = [bytes("400178"), bytes("7f dd0e"), vec![b'a'; 127 + 0x5d + 128 * 14]].concat();
    let size = decoder.decode(&begin, LIMIT, &mut Vec::new()).unwrap();
    let mut fields = Vec::new();
    assert_eq!(decoder.decode(&[0xbe; 1000], LIMIT, &mut fields), Ok(1000 * size));
    assert_eq!(fields.len(), LIMIT / size);
}

#[test]
fn a_size_is_taken_and_told() {
    let field = Rc::new(Field::own("x-a", HeaderValue::from_static("1")).unwrap());
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let mut pack = |encoder: &mut Encoder| {
        let mut block = Vec::new();
        encoder.begin(&mut block);
        encoder.field(&field, &mut block);
        assert_eq!(lines(&unpack(&mut decoder, &block).unwrap()), ["x-a: 1"]);
        block
    };
    assert_eq!(pack(&mut encoder)[0], 0x40);
    assert_eq!(pack(&mut encoder), [0xbe]);
    encoder.limit(1 << 20);
    assert_eq!(pack(&mut encoder), [0xbe], "no more than we have");
    encoder.limit(0);
    assert_eq!(pack(&mut encoder)[..2], [0x20, 0], "and nothing is kept");
    encoder.limit(TABLE);
    assert_eq!(pack(&mut encoder)[0], 0);
}

#[test]
fn the_table_that_everybody_has() {
    assert_eq!((fixed::name(b":authority"), fixed::name(b"www-authenticate"), fixed::name(b"x")), (1, 61, 0));
    assert_eq!(lines(&[fixed::get(16).unwrap()]), ["accept-encoding: gzip, deflate"]);
    assert!(fixed::get(0).is_none() && fixed::get(62).is_none());
}

fn field() -> impl Strategy<Value = (String, Vec<u8>, Indexing)> {
    let name = prop_oneof![
        Just("cookie".to_owned()),
        Just(":path".to_owned()),
        Just(":status".to_owned()),
        Just("x-a".to_owned()),
        "[a-z0-9-]{1,12}",
    ];
    let value = prop_oneof![
        proptest::sample::select(&["", "a", "200", "/read"][..]).prop_map(|text| text.as_bytes().to_vec()),
        proptest::collection::vec(prop_oneof![Just(b'\t'), 0x20..0x7f_u8, 0x80..=0xff_u8], 0..300),
    ];
    let indexing = proptest::sample::select(&[Indexing::Kept, Indexing::Passing, Indexing::Never][..]);
    (name, value, indexing)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn what_is_packed_is_unpacked_to_the_same(
        blocks in proptest::collection::vec(proptest::collection::vec(field(), 0..12), 1..8),
        limits in proptest::collection::vec(proptest::option::weighted(0.2, 0..5000_usize), 8),
    ) {
        // Through two hops, as it goes.
        let (mut first, mut between) = (Encoder::default(), Decoder::default());
        let (mut second, mut last) = (Encoder::default(), Decoder::default());
        for (block, limit) in blocks.iter().zip(limits) {
            if let Some(limit) = limit {
                second.limit(limit);
            }
            let make = |(name, value, indexing): &(String, Vec<u8>, Indexing)| {
                let mut value = HeaderValue::from_bytes(value).unwrap();
                value.set_sensitive(*indexing == Indexing::Never);
                let place = fixed::name(name.as_bytes());
                Rc::new(Field::new(Name::new(name.as_bytes(), &value).unwrap(), value, *indexing, place))
            };
            let sent: Vec<Shared> = block.iter().map(make).collect();
            let pass = |encoder: &mut Encoder, decoder: &mut Decoder, fields: &[Shared]| {
                let mut packed = Vec::new();
                encoder.begin(&mut packed);
                for field in fields {
                    encoder.field(field, &mut packed);
                }
                unpack(decoder, &packed).unwrap()
            };
            let passed = pass(&mut first, &mut between, &sent);
            let arrived = pass(&mut second, &mut last, &passed);
            let shown = |fields: &[Shared]| -> Vec<_> {
                let secret = |field: &Shared| field.value.is_sensitive();
                fields.iter().map(|field| (field.name.clone(), field.value.clone(), secret(field))).collect()
            };
            prop_assert_eq!(shown(&sent), shown(&passed));
            prop_assert_eq!(shown(&sent), shown(&arrived));
        }
    }

    #[test]
    fn any_text_can_be_packed(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut unpacked = Vec::new();
        prop_assert_eq!(huffman::decode(&huffman::encode(&text), &mut unpacked), Some(()));
        prop_assert_eq!(unpacked, text);
    }

    #[test]
    fn nothing_is_unpacked_in_two_ways(packed in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut unpacked = Vec::new();
        if huffman::decode(&packed, &mut unpacked).is_some() {
            prop_assert_eq!(huffman::encode(&unpacked), packed);
        }
    }
}
