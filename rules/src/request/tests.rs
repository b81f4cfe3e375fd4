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
    let encoded = PathOptions { allow_encoded_slash: true, ..PathOptions::default() };
    assert_eq!(path_with("/a%2fb", encoded).as_deref(), Ok("/a%2fb"));
    assert_eq!(path_with("/a%2f..%2fb", encoded).as_deref(), Ok("/a%2f..%2fb"), "no separator");
}

#[test]
fn an_absolute_target_stays_absolute() {
    let headers = headers("H:80");
    let view = RequestView::new("GET", b"http://h:80/a/../b", false, &headers, &PathOptions::default()).unwrap();
    assert_eq!(view.path(), "/b");
    assert_eq!(view.forward_target(), "http://h:80/b");
    assert_eq!(view.host(), "H:80");
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
