use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

use super::*;
use crate::admin::{Callers, Served, serve};

struct Stage {
    socket: PathBuf,
    successors: mpsc::Receiver<Successor>,
    _served: Served,
    _directory: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let (questions, _) = mpsc::channel(1);
        let (came, successors) = mpsc::channel(1);
        let served = serve(&socket, Callers { questions, successors: came }, false).unwrap();
        Self { socket, successors, _served: served, _directory: directory }
    }

    async fn request(&self, layout: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        let headers = format!("Connection: upgrade, close\r\nUpgrade: {PROTOCOL}\r\n{LAYOUT}: {layout}\r\n");
        let request = format!("GET /take-over HTTP/1.1\r\nHost: l7proxy\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn both_know_how_far_it_came() {
    let mut stage = Stage::new();
    let mut predecessor = Predecessor::ask(&stage.socket).await.unwrap();
    let (pods, successor) = tokio::join!(predecessor.stop_changing(7), async {
        let mut successor = stage.successors.recv().await.unwrap();
        assert_eq!(successor.pid, 7);
        successor.stopped(vec!["default/a".to_owned()]).await.unwrap();
        successor
    });
    assert_eq!(pods.unwrap(), ["default/a"]);
    let mut successor = successor;
    tokio::join!(predecessor.taken(), async {
        assert!(successor.has_taken().await);
        successor.over().await;
    });
}

#[tokio::test]
async fn a_successor_that_ends_has_not_taken() {
    let mut stage = Stage::new();
    let mut predecessor = Predecessor::ask(&stage.socket).await.unwrap();
    let (_, mut successor) = tokio::join!(predecessor.stop_changing(7), async {
        let mut successor = stage.successors.recv().await.unwrap();
        successor.stopped(Vec::new()).await.unwrap();
        successor
    });
    drop(predecessor);
    assert!(!successor.has_taken().await);
}

#[tokio::test]
async fn who_only_asked_is_no_successor() {
    let mut stage = Stage::new();
    drop(Predecessor::ask(&stage.socket).await.unwrap());
    let mut second = Predecessor::ask(&stage.socket).await.unwrap();
    let (stopped, pid) = tokio::join!(second.stop_changing(8), async {
        // Dropped at the end: this process gives up.
        stage.successors.recv().await.unwrap().pid
    });
    assert_eq!(pid, 8);
    assert!(stopped.unwrap_err().to_string().ends_with("try again"));
}

#[tokio::test]
async fn another_layout_is_refused() {
    let stage = Stage::new();
    let answer = stage.request(&(SHARED_LAYOUT + 1).to_string()).await;
    assert!(answer.starts_with("HTTP/1.1 409 ") && answer.contains("another form"), "{answer}");
}

#[tokio::test]
async fn a_version_that_cannot_hand_over_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let old = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = [0; 1024];
        assert!(stream.read(&mut seen).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    };
    let (asked, ()) = tokio::join!(Predecessor::ask(&socket), old);
    let text = asked.unwrap_err().to_string();
    assert!(text.contains("cannot hand over") && text.contains("stop the running process first"), "{text}");
}
