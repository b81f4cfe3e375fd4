use super::*;

/// `struct inet_diag_msg` of a socket of 10.0.0.2:40000 with 10.0.0.3:80.
fn body(state: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![0; BODY];
    body[..2].copy_from_slice(&[number(AddressFamily::INET), state]);
    body[4..8].copy_from_slice(&[0x9c, 0x40, 0, 80]);
    body[8..12].copy_from_slice(&[10, 0, 0, 2]);
    body[24..28].copy_from_slice(&[10, 0, 0, 3]);
    body.extend(attributes.concat());
    body
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut message = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend([0; 10]);
    message.extend(body);
    message
}

/// `struct tcp_info` with what is looked at.
fn info(in_flight: u32, acknowledged: u64, sent: u64, repeated: u64) -> Vec<u8> {
    let mut info = vec![0; 248];
    info[24..28].copy_from_slice(&in_flight.to_ne_bytes());
    info[120..128].copy_from_slice(&acknowledged.to_ne_bytes());
    info[200..208].copy_from_slice(&sent.to_ne_bytes());
    info[208..216].copy_from_slice(&repeated.to_ne_bytes());
    attribute(INET_DIAG_INFO, &info)
}

fn storages(value: u32) -> Vec<u8> {
    let one = attribute(SK_DIAG_BPF_STORAGE_MAP_VALUE, &value.to_ne_bytes());
    let id = attribute(2, &7_u32.to_ne_bytes());
    attribute(INET_DIAG_SK_BPF_STORAGES, &attribute(SK_DIAG_BPF_STORAGE, &[id, one].concat()))
}

fn read(state: u8, attributes: &[Vec<u8>]) -> Flow {
    flow(&body(state, attributes), Transport::Tcp).unwrap()
}

#[test]
fn a_request_is_what_the_kernel_reads() {
    let bytes = Request::list(AddressFamily::INET6, Transport::Tcp, Kind::Connected, 9).bytes();
    assert_eq!(bytes.len(), 16 + 56 + 12);
    assert_eq!(u32_at(&bytes, 0), Some(84));
    assert_eq!((u16_at(&bytes, 4), u16_at(&bytes, 6)), (Some(20), Some(0x301)));
    assert_eq!(bytes[16..20], [10, 6, 2, 0], "family, protocol, tcp_info");
    // All but TIME_WAIT, CLOSE, LISTEN and what comes after them.
    assert_eq!(u32_at(&bytes, 20), Some(0b1011_0011_1110));
    assert_eq!((u16_at(&bytes, 72), u16_at(&bytes, 74)), (Some(12), Some(2)));
    assert_eq!((u16_at(&bytes, 76), u16_at(&bytes, 78), u32_at(&bytes, 80)), (Some(8), Some(1), Some(9)));
}

#[test]
fn a_socket_is_ended_by_the_name_that_the_kernel_gave_it() {
    let mut six = body(ESTABLISHED, &[]);
    six[0] = number(AddressFamily::INET6);
    six[8..24].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2]);
    six[24..40].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 3]);
    six[44..52].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let flow = flow(&six, Transport::Udp).unwrap();
    assert_eq!((flow.local, flow.remote), ("10.0.0.2:40000".parse().unwrap(), "10.0.0.3:80".parse().unwrap()));
    let bytes = Request::end(&flow).bytes();
    assert_eq!((u16_at(&bytes, 4), u16_at(&bytes, 6)), (Some(21), Some(5)));
    assert_eq!(bytes[16..18], [10, 17]);
    assert_eq!(bytes[24..72], six[4..52], "addresses and cookie as they came");
}

#[test]
fn who_opened_it_shows_in_what_was_acknowledged() {
    let cases = [
        (ESTABLISHED, info(0, 1, 0, 0), Some(Opener::Local)),
        (ESTABLISHED, info(0, 0, 0, 0), Some(Opener::Remote)),
        (ESTABLISHED, info(0, 501, 700, 200), Some(Opener::Local)),
        (CLOSE_WAIT, info(0, 500, 700, 200), Some(Opener::Remote)),
        (FIN_WAIT2, info(0, 502, 500, 0), Some(Opener::Local)),
        (FIN_WAIT2, info(0, 501, 500, 0), Some(Opener::Remote)),
        // In flight: one byte may be missing on either side.
        (ESTABLISHED, info(1, 500, 500, 0), None),
        // What cannot be is no evidence.
        (ESTABLISHED, info(0, 9, 2, 0), None),
        (ESTABLISHED, info(0, 1, 2, 3), None),
        (CLOSING, info(0, 1, 0, 0), None),
        (SYN_SENT, vec![], Some(Opener::Local)),
        (SYN_RECV, vec![], Some(Opener::Remote)),
        // Before Linux 4.19.
        (ESTABLISHED, attribute(INET_DIAG_INFO, &[0; 192]), None),
    ];
    for (number, (state, info, opener)) in cases.into_iter().enumerate() {
        assert_eq!(read(state, &[info]).opener, opener, "case {number}");
    }
    assert_eq!(flow(&body(ESTABLISHED, &[info(0, 1, 0, 0)]), Transport::Udp).unwrap().opener, None);
}

#[test]
fn only_a_handshake_without_a_socket_is_half_open() {
    assert!(read(SYN_RECV, &[]).half_open);
    assert!(!read(SYN_RECV, &[info(0, 0, 0, 0)]).half_open, "TCP fast open: the application has it already");
    assert!(!read(ESTABLISHED, &[]).half_open);
}

#[test]
fn a_mark_is_what_the_storage_holds() {
    assert_eq!(read(ESTABLISHED, &[info(0, 1, 0, 0), storages(3)]).mark, 3);
    assert_eq!(read(ESTABLISHED, &[info(0, 1, 0, 0)]).mark, 0);
}

#[test]
fn answers_come_many_in_one_read() {
    let done = message(NLMSG_DONE, &0_i32.to_ne_bytes());
    let bytes = [message(SOCK_DIAG_BY_FAMILY, &body(ESTABLISHED, &[])), done.clone()].concat();
    let all: Vec<_> = answers(&bytes, Transport::Tcp).map(Result::unwrap).collect();
    assert!(matches!(&all[..], [Answer::Flow(_), Answer::Done]));
    let refused = message(NLMSG_ERROR, &(-libc::EOPNOTSUPP).to_ne_bytes());
    let answer = answers(&refused, Transport::Tcp).next().unwrap().unwrap();
    assert!(matches!(answer, Answer::Error(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP)));
}

#[test]
fn what_is_cut_off_is_an_error_and_no_panic() {
    let whole = message(SOCK_DIAG_BY_FAMILY, &body(ESTABLISHED, &[storages(1), info(0, 1, 0, 0)]));
    for length in 1..whole.len() {
        assert!(answers(&whole[..length], Transport::Tcp).any(|answer| answer.is_err()), "{length} bytes");
    }
    // Lengths that lie.
    for length in [0, 3, 15, 16, u32::MAX] {
        let mut lying = whole.clone();
        lying[..4].copy_from_slice(&length.to_ne_bytes());
        assert!(answers(&lying, Transport::Tcp).next().unwrap().is_err(), "length {length}");
    }
    let mut attribute_of_nothing = body(ESTABLISHED, &[]);
    attribute_of_nothing.extend([0, 0, 20, 0, 1]);
    assert_eq!(flow(&attribute_of_nothing, Transport::Tcp).unwrap().mark, 0);
}
