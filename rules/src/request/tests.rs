use http::HeaderValue;

use super::*;

fn headers(host: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static(host));
    headers
}

fn path(target: &str) -> Result<String, Malformed> {
    path_with(target, PathOptions::default())
}

fn path_with(target: &str, options: PathOptions) -> Result<String, Malformed> {
    let headers = headers("h");
    RequestView::new("GET", target.as_bytes(), false, &headers, &options).map(|view| view.path().to_owned())
}

#[test]
fn paths_have_one_form() {
    for (sent, normal) in [
        ("/", "/"),
        ("/api/v1/read", "/api/v1/read"),
        ("/pub/../admin", "/admin"),
        ("/pub/%2e%2e/admin", "/admin"),
        ("/pub/.%2e/admin", "/admin"),
        ("/pub//x", "/pub/x"),
        ("//admin", "/admin"),
        ("/%61dmin", "/admin"),
        ("/a/.", "/a/"),
        ("/a/b/..", "/a/"),
        ("/a//", "/a/"),
        ("/a/...", "/a/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/admin%20x", "/admin%20x"),
        ("/%C3%A9", "/%C3%A9"),
        ("/a%2Cb", "/a%2Cb"),
        ("/100%25", "/100%25"),
        ("/100%25%35", "/100%255"),
        ("/a%2520b", "/a%2520b"),
        ("/a%3Bb%3f%23", "/a%3Bb%3f%23"),
        ("/admin?x=/../y//z%2f", "/admin?x=/../y//z%2f"),
        ("/a/../b?q", "/b?q"),
        ("/ADMIN", "/ADMIN"),
    ] {
        assert_eq!(path(sent).as_deref(), Ok(normal), "{sent}");
    }
}

#[test]
fn what_has_no_single_meaning_is_refused() {
    for (sent, why) in [
        ("/pub%2fadmin", Malformed::EncodedSlash),
        ("/admin%2F", Malformed::EncodedSlash),
        ("/pub%5cadmin", Malformed::Backslash),
        (r"/pub\..\admin", Malformed::Backslash),
        ("/pub/..;/admin", Malformed::PathParameter),
        ("/admin;x", Malformed::PathParameter),
        ("/%252e%252e/admin", Malformed::DoubleEncoding),
        ("/%25252e", Malformed::DoubleEncoding),
        ("/%25%32%65", Malformed::DoubleEncoding),
        ("/%25%32f", Malformed::DoubleEncoding),
        ("/a%2500", Malformed::DoubleEncoding),
        ("/a%252F", Malformed::DoubleEncoding),
        ("/pub/%c0%ae%c0%ae/admin", Malformed::Utf8),
        ("/%ff", Malformed::Utf8),
        ("/%c3", Malformed::Utf8),
        ("/%c3x", Malformed::Utf8),
        ("/pub/%0a", Malformed::EncodedControl),
        ("/pub/%7F", Malformed::EncodedControl),
        ("/pub/%00/x", Malformed::EncodedNul),
        ("/..", Malformed::AboveRoot),
        ("/a/../..", Malformed::AboveRoot),
        ("/%2e%2e/%2e%2e/etc", Malformed::AboveRoot),
        ("/a%", Malformed::Escape),
        ("/a%4", Malformed::Escape),
        ("/a%+4", Malformed::Escape),
        ("/admin#frag", Malformed::Byte),
        ("/é", Malformed::Byte),
        ("/ admin", Malformed::Byte),
        ("/a?b#c", Malformed::Byte),
        ("/a?b c", Malformed::Byte),
        ("admin", Malformed::Target),
        ("*", Malformed::Target),
        ("", Malformed::Target),
        ("ftp://h/x", Malformed::Target),
        ("http:///x", Malformed::Target),
        ("http://h?x", Malformed::Target),
        ("http://other/x", Malformed::HostDiffers),
    ] {
        assert_eq!(path(sent), Err(why), "{sent}");
    }
}

#[test]
fn relaxations_relax_only_what_they_name() {
    let slashes = PathOptions { merge_slashes: false, ..PathOptions::default() };
    assert_eq!(path_with("/a//b", slashes).as_deref(), Ok("/a//b"));
    assert_eq!(path_with("/a//../b", slashes).as_deref(), Ok("/a/b"));
    let parameters = PathOptions { allow_path_parameters: true, ..PathOptions::default() };
    assert_eq!(path_with("/a;x=1/b", parameters).as_deref(), Ok("/a;x=1/b"));
    assert_eq!(path_with("/a;x/../;y/...;z", parameters).as_deref(), Ok("/;y/...;z"));
    for sent in ["/a/..;/b", "/a/.;x", "/..;", "/a/%2e%2E;/b", "/a/.%2e;x=1"] {
        assert_eq!(path_with(sent, parameters), Err(Malformed::PathParameter), "{sent}");
    }
    let encoded = PathOptions { allow_encoded_slash: true, ..PathOptions::default() };
    assert_eq!(path_with("/a%2fb", encoded).as_deref(), Ok("/a%2fb"));
    assert_eq!(path_with("/a%2f..%2fb", encoded).as_deref(), Ok("/a%2f..%2fb"), "no separator");
}

/// One relaxation each: its option, what it lets pass as it stands, and how that is refused without it. The last ones are
/// refused whatever is relaxed.
#[test]
fn each_relaxation_is_about_its_own_paths() {
    let strict = PathOptions::default();
    let table = [
        (PathOptions { allow_path_parameters: true, ..strict }, "/a;x=1/b;", Malformed::PathParameter),
        (PathOptions { allow_encoded_slash: true, ..strict }, "/a%2fb/%2F", Malformed::EncodedSlash),
        (PathOptions { allow_encoded_backslash: true, ..strict }, "/a%5cb/%5C", Malformed::Backslash),
        (PathOptions { allow_encoded_control: true, ..strict }, "/a%0Ab%7f/%01", Malformed::EncodedControl),
        (PathOptions { allow_double_encoding: true, ..strict }, "/%252e%252E/%25252f/%255c", Malformed::DoubleEncoding),
        (PathOptions { allow_non_utf8: true, ..strict }, "/%c0%ae/%ff/%C3", Malformed::Utf8),
        (PathOptions { merge_slashes: false, ..strict }, "/%00", Malformed::EncodedNul),
        (strict, "/a%2500", Malformed::DoubleEncoding),
        (strict, "/a%252500", Malformed::DoubleEncoding),
        (strict, "/a/../..", Malformed::AboveRoot),
        (strict, "/%2e%2e/a", Malformed::AboveRoot),
        (strict, "/a\\b", Malformed::Backslash),
        (strict, "/a%", Malformed::Escape),
    ];
    let everything = PathOptions {
        merge_slashes: false,
        allow_path_parameters: true,
        allow_encoded_slash: true,
        allow_encoded_backslash: true,
        allow_encoded_control: true,
        allow_double_encoding: true,
        allow_non_utf8: true,
    };
    let passes = 6;
    for (at, (_, sent, why)) in table.into_iter().enumerate() {
        assert_eq!(path(sent), Err(why), "{sent}");
        for (other, (options, ..)) in table.into_iter().enumerate() {
            let wanted = if other == at && at < passes { Ok(sent) } else { Err(why) };
            assert_eq!(path_with(sent, options).as_deref(), wanted.as_ref().copied(), "{sent} {options:?}");
        }
        let wanted = if at < passes { Ok(sent.to_owned()) } else { Err(why) };
        assert_eq!(path_with(sent, everything), wanted, "{sent}");
    }
}

/// Method, target, Host header, whether HTTP/1.0 → path, host, target to forward, whether it differs.
fn absolute(method: &str, target: &str, host: Option<&'static str>, http10: bool) -> Result<[String; 4], Malformed> {
    let headers = host.map(headers).unwrap_or_default();
    let view = RequestView::new(method, target.as_bytes(), http10, &headers, &PathOptions::default())?;
    Ok([view.path().to_owned(), view.host().to_owned(), view.forward_target().into_owned(), view.changed().to_string()])
}

#[test]
fn an_absolute_target_stays_absolute() {
    let is = |parts: [&str; 4]| Ok(parts.map(str::to_owned));
    let sent = "http://h:80/a/../b?c";
    assert_eq!(absolute("GET", sent, Some("h:80"), false), is(["/b?c", "h:80", "http://h:80/b?c", "true"]));
    assert_eq!(absolute("GET", "http://h/b", Some("h"), false), is(["/b", "h", "http://h/b", "false"]));
    assert_eq!(absolute("GET", "http://h", Some("h"), false), is(["/", "h", "http://h/", "true"]));
    assert_eq!(absolute("OPTIONS", "http://h", Some("h"), false), is(["*", "h", "http://h", "false"]));
    assert_eq!(absolute("GET", "http://h/b", None, true), is(["/b", "h", "http://h/b", "false"]));
    for (target, host, why) in [
        ("http://h/", Some("H"), Malformed::HostDiffers),
        ("http://h:80/", Some("h"), Malformed::HostDiffers),
        ("http://u@h/", Some("h"), Malformed::HostDiffers),
        ("http://u@h/", None, Malformed::Host),
        ("http://h/", None, Malformed::Host),
    ] {
        let http10 = target.contains('@');
        assert_eq!(absolute("GET", target, host, http10), Err(why), "{target}");
    }
}

#[test]
fn methods_are_tokens() {
    for method in ["get", "M-SEARCH", "PROPFIND", "!#$%&'*+-.^_`|~09"] {
        assert!(absolute(method, "/", Some("h"), false).is_ok(), "{method}");
    }
    for method in ["", "GE T", "GET\n", "GÉT", "A/B", "(x)"] {
        assert_eq!(absolute(method, "/", Some("h"), false), Err(Malformed::Method), "{method}");
    }
}

#[test]
fn a_tunnel_has_a_host_and_no_path() {
    let is = |parts: [&str; 4]| Ok(parts.map(str::to_owned));
    assert_eq!(absolute("CONNECT", "h:80", Some("h:80"), false), is(["", "h:80", "h:80", "false"]));
    assert_eq!(absolute("CONNECT", "[::1]:80", None, true), is(["", "[::1]:80", "[::1]:80", "false"]));
    for (target, host, why) in [
        ("h:80", Some("h"), Malformed::HostDiffers),
        ("h:80", Some("i:80"), Malformed::HostDiffers),
        ("h:80", None, Malformed::Host),
        ("h", Some("h"), Malformed::Target),
        ("h:", Some("h:"), Malformed::Target),
        ("/", Some("h"), Malformed::Target),
        ("http://h:80", Some("h:80"), Malformed::Target),
        ("u@h:80", Some("h:80"), Malformed::Target),
    ] {
        assert_eq!(absolute("CONNECT", target, host, false), Err(why), "{target} {host:?}");
    }
}

#[test]
fn pseudo_headers_are_one_request() {
    let view = |method: &str, authority: Option<&str>, path: &str, host: Option<&'static str>| {
        let headers = host.map(headers).unwrap_or_default();
        let view = RequestView::http2(method, authority, path.as_bytes(), &headers, &PathOptions::default())?;
        Ok([view.path(), view.host(), &view.forward_target()].map(str::to_owned))
    };
    let is = |parts: [&str; 3]| Ok(parts.map(str::to_owned));
    assert_eq!(view("GET", Some("h"), "/a/../b", None), is(["/b", "h", "/b"]));
    assert_eq!(view("GET", Some("h"), "/", Some("h")), is(["/", "h", "/"]));
    assert_eq!(view("GET", None, "/", Some("h")), is(["/", "h", "/"]));
    assert_eq!(view("OPTIONS", Some("h"), "*", None), is(["*", "h", "*"]));
    assert_eq!(view("CONNECT", Some("h:80"), "", None), is(["", "h:80", "h:80"]));
    assert_eq!(view("CONNECT", Some("h"), "/chat", None), is(["/chat", "h", "/chat"]));
    for (method, authority, path, host, why) in [
        ("GET", Some("h"), "/", Some("i"), Malformed::HostDiffers),
        ("GET", Some(""), "/", Some("h"), Malformed::HostDiffers),
        ("GET", Some(""), "/", None, Malformed::Host),
        ("GET", None, "/", None, Malformed::Host),
        ("GET", Some("u@h"), "/", None, Malformed::Host),
        ("GET", Some("h"), "*", None, Malformed::Target),
        ("GET", Some("h"), "", None, Malformed::Target),
        ("GET", Some("h"), "a", None, Malformed::Target),
        ("GET", Some("h"), "http://h/", None, Malformed::Target),
        ("GET", Some("h"), "/..", None, Malformed::AboveRoot),
        ("G T", Some("h"), "/", None, Malformed::Method),
        ("CONNECT", None, "", Some("h:80"), Malformed::Target),
        ("CONNECT", Some("h"), "", None, Malformed::Target),
    ] {
        assert_eq!(view(method, authority, path, host), Err(why), "{method} {authority:?} {path}");
    }
}

#[test]
fn every_byte_is_taken_where_it_may_stand() {
    for byte in 0..=u8::MAX {
        let is_word = byte.is_ascii_alphanumeric();
        assert_eq!(bytes::is_token(byte), is_word || b"!#$%&'*+-.^_`|~".contains(&byte), "token {byte}");
        assert_eq!(bytes::is_name(byte), is_word || b"-._~".contains(&byte), "name {byte}");
        let raw = byte.is_ascii_graphic() && !b"#<>`".contains(&byte);
        assert_eq!(bytes::is_query(byte), raw && byte != b'"', "query {byte}");
        assert_eq!(bytes::is_plain(byte), raw && !b"?%/.\\;".contains(&byte), "path {byte}");
        let view = |target: [u8; 3]| {
            RequestView::new("GET", &target, false, &headers("h"), &PathOptions::default()).map(|view| view.changed())
        };
        assert_eq!(view([b'/', b'?', byte]).is_ok(), raw && byte != b'"', "query {byte}");
        // `%` has no digits, `\` and `;` are refused.
        assert_eq!(view([b'/', b'a', byte]).is_ok(), raw && !b"%\\;".contains(&byte), "path {byte}");
    }
}

#[test]
fn options_star_is_the_only_star() {
    let headers = headers("h");
    let view = RequestView::new("OPTIONS", b"*", false, &headers, &PathOptions::default()).unwrap();
    assert_eq!(view.path(), "*");
}

#[test]
fn hosts_are_checked() {
    let check = |hosts: &[&'static str], http10: bool| {
        let mut map = HeaderMap::new();
        for host in hosts {
            map.append(header::HOST, HeaderValue::from_static(host));
        }
        RequestView::new("GET", b"/", http10, &map, &PathOptions::default()).map(|_| ())
    };
    for good in ["h", "h:80", "a.b-c_d", "10.0.0.1:8080", "[::1]", "[::1]:80", "h:"] {
        assert_eq!(check(&[good], false), Ok(()), "{good}");
    }
    for bad in ["", "a b", "a@b", "h:80x", "h:99999", "[::1", "a/b", "a,b", "h:80:90"] {
        assert_eq!(check(&[bad], false), Err(Malformed::Host), "{bad}");
    }
    assert_eq!(check(&[], false), Err(Malformed::Host));
    assert_eq!(check(&[], true), Ok(()));
    assert_eq!(check(&["h", "h"], true), Err(Malformed::Host));
}

#[test]
fn a_normal_path_is_not_copied() {
    let headers = headers("h");
    let view = |target: &'static str| {
        RequestView::new("GET", target.as_bytes(), false, &headers, &PathOptions::default()).unwrap().changed()
    };
    assert!(!view("/api/v1/read/items?id=7"));
    assert!(!view("/%C3%A9"));
    assert!(view("/a/./b"));
}
