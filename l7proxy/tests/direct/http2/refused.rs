//! What is refused, and what the client is told.

use http::Request;

use super::peers::{Client, Server, answer, get, run};
use crate::stage::{POLICY, Stage, told};

#[test]
fn grpc_is_told_in_trailers_only() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let call = Request::post("http://api/pkg.Service/Method").header("content-type", "application/grpc+proto");
        let (response, mut body) = client.send(call.body(()).unwrap(), false).await;
        let answer = response.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["grpc-status"], "7");
        assert!(answer.body().is_end_stream());
        // What it would still send nobody wants, and that is no error.
        let code = std::future::poll_fn(|cx| body.poll_reset(cx)).await.unwrap();
        assert_eq!(code, h2::Reason::NO_ERROR);
        // The connection stays usable.
        assert_eq!(client.ask(get("/write")).await.unwrap().status(), 403);
    });
    assert!(!stage.was_dialled());
    let records = stage.records(4);
    assert_eq!(
        told(&records)[..2],
        ["DROPPED POST /pkg.Service/Method no-rule", "FORWARDED POST /pkg.Service/Method 200"]
    );
    let fields = records[1]["l7"]["http"]["headers"].as_array().unwrap();
    assert!(fields.contains(&serde_json::json!({"key": "Grpc-Status", "value": "7"})), "{fields:?}");
}

/// Target, headers, reason.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

#[test]
fn what_has_no_single_meaning() {
    let cases: [Case; 7] = [
        ("http://api/read", &[("host", "other")], "host-differs"),
        ("http://api/read", &[("host", "API")], "host-differs"),
        ("http://user@api/read", &[], "host"),
        ("http://api/read%2f..", &[], "encoded-slash"),
        ("http://api/read;x", &[], "path-parameter"),
        ("http://api/read", &[("content-length", "0"), ("content-length", "0")], "content-length"),
        ("ftp://api/read", &[], "scheme"),
    ];
    for (target, headers, reason) in cases {
        let stage = Stage::new();
        run(async {
            let mut client = Client::connect(&stage).await;
            let mut request = Request::get(target);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = client.ask(request.body(()).unwrap()).await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.body().as_str()), (400, "Bad request\r\n"), "{target}");
            assert!(!answer.headers().contains_key("connection"));
        });
        assert!(!stage.was_dialled(), "{target}");
        assert!(told(&stage.records(2))[0].ends_with(reason), "{target} {headers:?}");
    }
}

#[test]
fn too_many_headers_pieces_of_cookies_included() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let mut request = get("/read");
        for _ in 0..101 {
            request.headers_mut().append("cookie", "a=1".parse().unwrap());
        }
        assert_eq!(client.ask(request).await.unwrap().status(), 431);
    });
    assert_eq!(stage.counter("requests_too_large"), 1);
    assert_eq!(told(&stage.records(2))[0], "DROPPED GET /read too-many-headers");
}

#[test]
fn the_newest_rules_judge_each_stream() {
    let stage = Stage::new();
    run(async {
        let mut client = Client::connect(&stage).await;
        let (response, _) = client.send(get("/read"), true).await;
        let mut server = Server::accept(&stage).await;
        let (_, respond) = server.call().await;
        stage.publish(&POLICY.replace("/read.*", "/read"));
        assert_eq!(client.ask(get("/read/x")).await.unwrap().status(), 403);
        answer(respond, "");
        assert_eq!(response.await.unwrap().status(), 200);
    });
    let records = stage.records(4);
    let revisions: Vec<_> =
        records.iter().map(|flow| flow["extensions"]["value"]["policyRevision"].as_u64().unwrap()).collect();
    assert_eq!(revisions.iter().min(), Some(&1));
    assert_eq!(revisions.iter().max(), Some(&2));
}
