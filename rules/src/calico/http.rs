//! `http` of a rule: methods and paths in one normal form.
//!
//! Owns when a path is a rule's path. Must never compare two forms: rules and requests go through [`normal_path`]. A rule
//! that does not hold is only skipped, and only Allow has one, so what is stricter here never opens anything. Start at
//! [`Http::holds`].

use std::fmt;

/// What a request must be: one of the methods and one of the paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Http {
    /// Compared letter by letter; empty: any.
    pub(crate) methods: Vec<String>,
    /// Empty: any.
    pub(crate) paths: Vec<PathMatch>,
    /// Which of the paths are written in another form than they are compared in: dot segments, parameters and the like.
    pub(crate) rewritten: Vec<usize>,
}

/// One entry of `paths`, in normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathMatch {
    /// This path.
    Exact(NormalPath),
    /// This path and what is below it: whole segments.
    Prefix(NormalPath),
}

impl PathMatch {
    pub(crate) fn path(&self) -> &NormalPath {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
        }
    }

    /// Whether every path of the other one is one of its own.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(_), Self::Prefix(_)) => false,
            (Self::Exact(_), Self::Exact(path)) | (Self::Prefix(_), Self::Exact(path) | Self::Prefix(path)) => {
                self.holds(path)
            }
        }
    }
}

/// A path that is decoded, without parameters, dot segments, doubled and trailing slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NormalPath(Vec<u8>);

/// A request in the form in which rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    method: &'a str,
    path: NormalPath,
}

/// Why a path has no normal form. A request with such a path must be refused, whatever the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// `*`, a host, or nothing.
    #[error("does not begin with /")]
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    #[error("has a broken percent-encoding")]
    Escape,
    /// `%2F`, `%5C`, and the same encoded twice: a separator to one, none to another.
    #[error("has an encoded slash or backslash")]
    EncodedSeparator,
    /// `%252E`.
    #[error("has a dot that is encoded twice")]
    EncodedDot,
    /// A NUL, also encoded.
    #[error("has a NUL")]
    Nul,
    /// `..;x`: its parent to one, a name to another.
    #[error("has parameters behind a dot segment")]
    DotParameter,
}

impl<'a> Request<'a> {
    /// `path` without its query. An error means that the request must be refused.
    pub(crate) fn new(method: &'a str, path: &str) -> Result<Self, PathError> {
        Ok(Self { method, path: normal_path(path)? })
    }
}

impl Http {
    /// Whether a request is one of those.
    pub(crate) fn holds(&self, request: &Request<'_>) -> bool {
        self.holds_method(request) && self.holds_path(request)
    }

    pub(crate) fn holds_method(&self, request: &Request<'_>) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|known| known == "*" || known == request.method)
    }

    pub(crate) fn holds_path(&self, request: &Request<'_>) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|path| path.holds(&request.path))
    }

    /// `GET|PUT /a /b/*`.
    pub(crate) fn summary(&self) -> String {
        if self.paths.is_empty() {
            self.methods_told()
        } else {
            format!("{} {}", self.methods_told(), self.paths_told())
        }
    }

    /// `GET|PUT`.
    pub(crate) fn methods_told(&self) -> String {
        if self.methods.is_empty() { "*".to_owned() } else { self.methods.join("|") }
    }

    /// `/a /b/*`.
    pub(crate) fn paths_told(&self) -> String {
        let path = |path: &PathMatch| match path {
            PathMatch::Exact(path) => path.to_string(),
            PathMatch::Prefix(path) => format!("{}/*", path.to_string().trim_end_matches('/')),
        };
        self.paths.iter().map(path).collect::<Vec<_>>().join(" ")
    }
}

impl PathMatch {
    fn holds(&self, path: &NormalPath) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Prefix(prefix) => {
                let rest = path.0.strip_prefix(prefix.0.as_slice());
                prefix.0 == b"/" || rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
            }
        }
    }
}

impl fmt::Display for NormalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// Whether a path is written as it is compared, but for encoded letters and a slash at its end.
pub(crate) fn is_normal(path: &str) -> bool {
    let Ok((normal, decoded)) = normal_path(path).and_then(|normal| Ok((normal, decode(path)?))) else { return false };
    decoded == normal.0 || decoded.strip_suffix(b"/") == Some(&normal.0)
}

/// The one form in which paths are compared: cut at `?` or `#`, decoded once, backslashes as slashes, without parameters,
/// dot segments (`..` ends at the root), doubled and trailing slashes.
pub(crate) fn normal_path(path: &str) -> Result<NormalPath, PathError> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    let decoded = decode(path)?;
    if decoded.contains(&0) {
        return Err(PathError::Nul);
    }
    still_encoded(&decoded)?;
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in decoded.split(|byte| matches!(byte, b'/' | b'\\')) {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        match name {
            b"." | b".." if name.len() < segment.len() => return Err(PathError::DotParameter),
            b"" | b"." => {}
            b".." => {
                // Above the root is the root.
                kept.truncate(kept.len().saturating_sub(1));
            }
            name => kept.push(name),
        }
    }
    let mut normal = vec![b'/'];
    normal.extend(kept.join(&b'/'));
    Ok(NormalPath(normal))
}

/// Decodes once. An encoded separator is refused: Calico would split there, servers need not.
fn decode(path: &str) -> Result<Vec<u8>, PathError> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(PathError::Escape);
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        let value = high.saturating_mul(16).saturating_add(low);
        match u8::try_from(value).map_err(|_| PathError::Escape)? {
            b'/' | b'\\' => return Err(PathError::EncodedSeparator),
            value => decoded.push(value),
        }
    }
    Ok(decoded)
}

/// What decodes further to a dot, a separator or a NUL.
fn still_encoded(decoded: &[u8]) -> Result<(), PathError> {
    for (at, _) in decoded.iter().enumerate().filter(|(_, byte)| **byte == b'%') {
        let digits = decoded.get(at.saturating_add(1)..at.saturating_add(3)).unwrap_or_default().to_ascii_lowercase();
        match digits.as_slice() {
            b"2e" => return Err(PathError::EncodedDot),
            b"2f" | b"5c" => return Err(PathError::EncodedSeparator),
            b"00" => return Err(PathError::Nul),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Result<String, PathError> {
        normal_path(path).map(|path| String::from_utf8_lossy(&path.0).into_owned())
    }

    #[test]
    fn paths_have_one_form() {
        for (path, form) in [
            ("/", "/"),
            ("//", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("/a//b/./c/../d", "/a/b/d"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/%61%20b", "/a b"),
            ("/a?b=/../c", "/a"),
            ("/a#b", "/a"),
            ("/a;x=1/b;y", "/a/b"),
            ("/a/;x", "/a"),
            ("/a\\b", "/a/b"),
            ("/a\\..\\b", "/b"),
            ("/%2e%2E/a", "/a"),
            ("/%25", "/%"),
            ("/%2541", "/%41"),
            ("/a%3bb/c", "/a/c"),
        ] {
            assert_eq!(normal(path), Ok(form.to_owned()), "{path}");
        }
        for (path, error) in [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("a/b", PathError::NotAbsolute),
            ("?/a", PathError::NotAbsolute),
            ("/%", PathError::Escape),
            ("/%4", PathError::Escape),
            ("/%zz", PathError::Escape),
            ("/%+1", PathError::Escape),
            ("/%00", PathError::Nul),
            ("/\0", PathError::Nul),
            ("/%2500", PathError::Nul),
            ("/%252e", PathError::EncodedDot),
            ("/a%2fb", PathError::EncodedSeparator),
            ("/a%5Cb", PathError::EncodedSeparator),
            ("/a%252Fb", PathError::EncodedSeparator),
            ("/a%255cb", PathError::EncodedSeparator),
            ("/a/..;x/b", PathError::DotParameter),
            ("/a/.;/b", PathError::DotParameter),
            ("/a/%2e%2e%3b/b", PathError::DotParameter),
        ] {
            assert_eq!(normal(path), Err(error), "{path}");
        }
    }

    #[test]
    fn prefixes_are_whole_segments_and_methods_exact() {
        let http = |methods: &[&str], paths: Vec<PathMatch>| Http {
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            paths,
            rewritten: Vec::new(),
        };
        let prefix = |path: &str| PathMatch::Prefix(normal_path(path).unwrap());
        let exact = |path: &str| PathMatch::Exact(normal_path(path).unwrap());
        for (rule, method, path, holds) in [
            (http(&[], vec![]), "BREW", "/x", true),
            (http(&["*"], vec![]), "BREW", "/x", true),
            (http(&["GET"], vec![]), "GET", "/x", true),
            (http(&["GET"], vec![]), "get", "/x", false),
            (http(&["GET", "PUT"], vec![]), "PUT", "/x", true),
            (http(&[], vec![prefix("/foo")]), "GET", "/foo", true),
            (http(&[], vec![prefix("/foo")]), "GET", "/foo/", true),
            (http(&[], vec![prefix("/foo")]), "GET", "/foo/bar", true),
            (http(&[], vec![prefix("/foo")]), "GET", "/foobar", false),
            (http(&[], vec![prefix("/foo")]), "GET", "/foo/../bar", false),
            (http(&[], vec![prefix("/foo/")]), "GET", "/foo", true),
            (http(&[], vec![prefix("/")]), "GET", "/foobar", true),
            (http(&[], vec![exact("/foo")]), "GET", "/foo/", true),
            (http(&[], vec![exact("/foo")]), "GET", "/foo/bar", false),
            (http(&[], vec![exact("/a"), prefix("/foo")]), "GET", "/foo/bar", true),
            (http(&["GET"], vec![prefix("/foo")]), "PUT", "/foo", false),
        ] {
            assert_eq!(rule.holds(&Request::new(method, path).unwrap()), holds, "{rule:?} {method} {path}");
        }
    }
}
