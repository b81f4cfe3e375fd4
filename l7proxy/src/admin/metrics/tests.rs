use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    thread,
};

use tokio::runtime;

use super::*;

struct Stage {
    runtime: runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    listening: Option<Listening>,
    address: SocketAddr,
    counters: Arc<Counters>,
    questions: Option<mpsc::Receiver<Question>>,
}

/// Any address of this machine.
fn any() -> Address {
    Address::bind((Ipv4Addr::LOCALHOST, 0).into(), false).unwrap()
}

impl Stage {
    /// Its runtime is on a thread of its own, until it is dropped.
    fn new() -> Self {
        Self::at(any())
    }

    fn at(address: Address) -> Self {
        let runs = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let runtime = runs.handle().clone();
        let counters = Arc::new(Counters::default());
        let mut exposition = Exposition::default();
        exposition.add(Arc::<Counters>::clone(&counters));
        let (sender, questions) = mpsc::channel(1);
        let scrapes = Scrapes::new(sender, exposition, Arc::clone(&counters));
        let listening = {
            let _inside = runtime.enter();
            address.listen(scrapes).unwrap()
        };
        let (stop, stopped) = oneshot::channel();
        thread::spawn(move || runs.block_on(stopped));
        let address = listening.address();
        let (listening, stop, questions) = (Some(listening), Some(stop), Some(questions));
        Self { runtime, stop, listening, address, counters, questions }
    }

    /// The control loop answers every question with this.
    fn answer(&mut self, family: fn() -> Family) {
        let mut questions = self.questions.take().unwrap();
        self.runtime.spawn(async move {
            while let Some(question) = questions.recv().await {
                let Question::Metrics(asker) = question else { panic!("{question:?}") };
                asker.send(vec![family()]).unwrap();
            }
        });
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn get(&self, request: &str) -> String {
        self.try_get(request).unwrap()
    }

    fn try_get(&self, request: &str) -> io::Result<String> {
        let mut stream = self.connect();
        write!(stream, "{request}\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.take().unwrap().send(()).ok();
    }
}

/// Reads until `text` came.
fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&read).contains(text) && stream.read(&mut byte).unwrap() > 0 {
        read.extend(byte);
    }
    String::from_utf8(read).unwrap()
}

#[test]
fn a_scrape_is_answered_in_the_text_format() {
    let mut stage = Stage::new();
    stage.answer(|| Family::gauge("l7proxy_policy_revision", "Revision.").with(&[], 7));
    stage.counters.requests_denied.store(3, Ordering::Relaxed);
    let answer = stage.get("GET /metrics HTTP/1.1");
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    for line in [
        "# HELP l7proxy_requests_denied_total Requests that policy denied.",
        "# TYPE l7proxy_requests_denied_total counter",
        "l7proxy_requests_denied_total 3",
        "l7proxy_policy_revision 7",
        "l7proxy_status_known 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
    let again = stage.get("GET /metrics HTTP/1.1");
    assert!(again.contains("\nhubble_metrics_http_handler_requests_total{code=\"200\"} 1\n"), "{again}");
    assert!(
        again.contains("\nhubble_metrics_http_handler_request_duration_seconds_count{code=\"200\"} 1\n"),
        "{again}"
    );
}

#[test]
fn there_is_nothing_else() {
    let stage = Stage::new();
    assert!(stage.get("GET / HTTP/1.1").starts_with("HTTP/1.1 404 "));
    assert!(stage.get("GET /metrics/x HTTP/1.1").starts_with("HTTP/1.1 404 "));
    let refused = stage.get("POST /metrics HTTP/1.1");
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("\r\nallow: GET\r\n"), "{refused}");
    let long = format!("GET /metrics HTTP/1.1\r\nx: {}", "a".repeat(HEAD * 2));
    let mut stream = stage.connect();
    // It may be closed before all of it was taken.
    write!(stream, "{long}\r\n\r\n").ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
}

#[test]
fn without_the_control_loop_the_rest_is_told() {
    let mut stage = Stage::new();
    stage.questions = None;
    let answer = stage.get("GET /metrics HTTP/1.1");
    assert!(
        answer.contains("\nl7proxy_status_known 0\n") && answer.contains("\nl7proxy_connections_total 0\n"),
        "{answer}"
    );
}

#[test]
fn who_holds_all_connections_keeps_nobody_out() {
    let stage = Stage::new();
    let mut held: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| {
            let mut stream = stage.connect();
            // It is accepted when it is answered; then it begins a head and never ends it.
            write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            read_until(&mut stream, "there is GET /metrics\n");
            write!(stream, "GET /metrics HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    assert!(stage.get("GET / HTTP/1.1").starts_with("HTTP/1.1 404 "));
    assert_eq!(stage.counters.metrics_connections_shed.load(Ordering::Relaxed), 1);
    let closed = held[0].read(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(closed, Ok(0) | Err(io::ErrorKind::ConnectionReset)), "the oldest one is closed: {closed:?}");
    write!(held[1], "Host: x\r\n\r\n").unwrap();
    assert!(!read_until(&mut held[1], "\r\n\r\n").is_empty(), "the others are not");
}

#[test]
fn an_address_that_somebody_listens_at_is_refused_clearly() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    for beside in [false, true] {
        let error = Address::bind(address, beside).unwrap_err().to_string();
        assert!(error.starts_with(&format!("admin.metrics: {address}: Address")), "{error}");
        assert!(error.contains("give an address of this node that nobody listens at"), "{error}");
    }
    let stage = Stage::new();
    // Of our own kind, but nobody takes over.
    Address::bind(stage.address, false).unwrap_err();
}

#[test]
fn the_address_goes_to_the_next_process_and_who_asks_is_answered() {
    let mut before = Stage::new();
    before.questions = None;
    let address = before.address;
    let next = Address::bind(address, true).unwrap();
    // It is bound, and nobody is sent there.
    for _ in 0..20 {
        assert!(before.get("GET / HTTP/1.1").starts_with("HTTP/1.1 404 "));
    }
    // Kept open by its client, as Prometheus does.
    let mut kept = before.connect();
    write!(kept, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    read_until(&mut kept, "there is GET /metrics\n");
    let mut after = Stage::at(next);
    after.answer(|| Family::gauge("l7proxy_next", "It is the next.").with(&[], 1));
    drop(before.listening.take());
    assert_eq!(kept.read(&mut [0]).unwrap(), 0, "what the old one kept is closed: its numbers are not wanted");
    // Once the old one has closed its listener, all come to the new one. Until then each is answered by one of both, but for who
    // comes between its last accept and the end of its socket.
    let is_next = || match after.try_get("GET /metrics HTTP/1.1") {
        Ok(answer) => {
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
            answer.contains("\nl7proxy_next 1\n")
        }
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            false
        }
    };
    let begin = Instant::now();
    while !(0..20).all(|_| is_next()) {
        assert!(begin.elapsed() < Duration::from_secs(20), "the old one still answers");
        thread::sleep(Duration::from_millis(5));
    }
}
