//! What one HTTP/2 connection holds while nothing happens on it, and while its client does not read.

use crate::{
    HELD,
    frames::{DATA, END_HEADERS, HEADERS, SETTINGS, WHOLE, connect, frame, get, serve, until},
    stage::Stage,
    wire::Wire,
};

const CONNECTIONS: usize = 64;
/// Of these, so many clients do not read.
const SLOW_ONES: usize = 16;
const KIB: usize = 1 << 10;
/// Of a connection that is idle.
const IDLE: usize = 10 * KIB;
/// Of one whose client does not read, all of it.
const SLOW: usize = 25 * KIB;

pub(crate) fn little_is_held() {
    let stage = Stage::new();
    // What is made once is there.
    let first = asked(&stage);
    let before = HELD.allocated();
    let mut all: Vec<(Wire, Wire)> = (0..CONNECTIONS).map(|_| asked(&stage)).collect();
    let idle = held_since(before, CONNECTIONS, "idle", IDLE);
    let before = HELD.allocated();
    for (client, server) in all.iter_mut().take(SLOW_ONES) {
        client.send(get(3, "/read"));
        until(server, HEADERS);
        server.send(frame(HEADERS, END_HEADERS, 3, &[0x88]));
        until(client, HEADERS);
        server.set_patience_ms(100);
        let body = frame(DATA, 0, 3, &[7; 16 << 10]).repeat(16);
        let sent = (0..1000).take_while(|_| server.try_send(&body).is_ok()).count();
        assert!((1..999).contains(&sent), "{sent}");
    }
    let more = held_since(before, SLOW_ONES, "slow", SLOW - idle);
    assert!(idle > 0 && more > 0, "nothing is counted");
    drop((first, all));
}

/// A connection after its first answer, both ends. Windows never end.
fn asked(stage: &Stage) -> (Wire, Wire) {
    let mut client = connect(stage);
    client.send([frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]), frame(8, 0, 0, &[0x7f, 0, 0, 0])].concat());
    client.send(get(1, "/read"));
    let mut server = serve(stage, &frame(SETTINGS, 0, 0, &[]));
    until(&mut server, HEADERS);
    server.send(frame(HEADERS, WHOLE, 1, &[0x88]));
    until(&mut client, HEADERS);
    (client, server)
}

/// What waits to be written is waited for: records are.
fn held_since(before: usize, connections: usize, name: &str, most: usize) -> usize {
    let mut each = usize::MAX;
    for _ in 0..50 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        each = each.min(HELD.allocated().saturating_sub(before) / connections);
        if each <= most {
            break;
        }
    }
    assert!(each <= most, "{name}: {each} bytes are held for a connection");
    each
}
