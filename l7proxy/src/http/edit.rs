//! Changes of a request's headers that its rules ask for.
//!
//! What is not named in an edit keeps its place and its spelling. Start at [`apply`].

use http::{HeaderMap, HeaderName};
use rules::HeaderEdit;

/// Makes `edits` in their order.
pub fn apply(edits: &[HeaderEdit], headers: &mut HeaderMap) {
    for edit in edits {
        match edit {
            HeaderEdit::Remove(name) => remove(name, headers),
            HeaderEdit::Set(name, value) => {
                headers.insert(name, value.clone());
            }
            HeaderEdit::Append(name, value) => {
                headers.append(name, value.clone());
            }
        }
    }
}

/// The map's own way to remove puts the last header in the place of the removed one.
fn remove(name: &HeaderName, headers: &mut HeaderMap) {
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (known, value) in headers.iter().filter(|(known, _)| *known != name) {
        kept.append(known, value.clone());
    }
    *headers = kept;
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn others_keep_their_place() {
        let value = HeaderValue::from_static;
        let name = HeaderName::from_static;
        let mut headers = HeaderMap::new();
        for (key, text) in [("host", "h"), ("x-a", "1"), ("x-b", "1"), ("x-b", "2"), ("x-c", "1"), ("x-d", "1")] {
            headers.append(key, value(text));
        }
        let edits = [
            HeaderEdit::Remove(name("x-a")),
            HeaderEdit::Remove(name("x-none")),
            HeaderEdit::Set(name("x-b"), value("3")),
            HeaderEdit::Set(name("x-e"), value("3")),
            HeaderEdit::Append(name("x-c"), value("4")),
        ];
        apply(&edits, &mut headers);
        let found: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(found, [("host", "h"), ("x-b", "3"), ("x-c", "1"), ("x-c", "4"), ("x-d", "1"), ("x-e", "3")]);
    }
}
