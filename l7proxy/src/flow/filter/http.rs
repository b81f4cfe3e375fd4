//! Fields that ask what a message of HTTP says.

use hubble_api::flow::FlowFilter;

use super::{
    Condition, Conditions, go,
    regexp::{Budget, Regexp},
    url, when,
};

/// Event type of messages.
const L7: i32 = 129;

/// `http_status_code` to `http_header`.
pub(super) fn http(filter: &FlowFilter, budget: &mut Budget, all: &mut Conditions) -> Result<(), String> {
    let is_only_below = !filter.event_type.is_empty() && filter.event_type.iter().all(|wanted| wanted.r#type != L7);
    let check = |what: &str, is_asked: bool| {
        if is_asked && is_only_below {
            return Err(format!("filtering by {what} requires the event type filter to only match 'l7' events"));
        }
        Ok(())
    };
    check("http status code", !filter.http_status_code.is_empty())?;
    let codes = filter.http_status_code.iter().map(|text| codes(text)).collect::<Result<Vec<_>, String>>();
    let codes = codes.map_err(|error| format!("invalid http status code filter: {error}"))?;
    when(&codes, all, status);
    check("http method", !filter.http_method.is_empty())?;
    when(&filter.http_method, all, method);
    check("http path", !filter.http_path.is_empty())?;
    let paths = expressions(&filter.http_path, budget).map_err(|error| format!("invalid http path filter: {error}"))?;
    when(&filter.http_path, all, |_| {
        Box::new(move |view| {
            let path = view.http.as_ref().and_then(|http| url::path(&http.info.url));
            path.is_some_and(|path| paths.iter().any(|wanted| wanted.is_in(&path)))
        })
    });
    check("http url", !filter.http_url.is_empty())?;
    let urls = expressions(&filter.http_url, budget).map_err(|error| format!("invalid http url filter: {error}"))?;
    when(&filter.http_url, all, |_| {
        Box::new(move |view| {
            let url = view.http.as_ref().map(|http| http.info.url.as_str()).filter(|url| !url.is_empty());
            url.is_some_and(|url| urls.iter().any(|wanted| wanted.is_in(url)))
        })
    });
    check("http headers", !filter.http_header.is_empty())?;
    when(&filter.http_header, all, |headers| {
        let headers = headers.to_vec();
        Box::new(move |view| {
            let mut own = view.http.iter().flat_map(|http| http.headers.iter());
            own.any(|(name, value)| headers.iter().any(|wanted| wanted.key == name && wanted.value == value))
        })
    });
    Ok(())
}

fn expressions(patterns: &[String], budget: &mut Budget) -> Result<Vec<Regexp>, String> {
    let read = |pattern: &String| budget.compile(pattern).map_err(|error| format!("{pattern}: {error}"));
    patterns.iter().map(read).collect()
}

/// Codes from the first to the last: `404` is one, `4+` a hundred, `40+` ten.
pub(super) fn codes(text: &str) -> Result<(u16, u16), String> {
    let digits = text.strip_suffix('+').unwrap_or(text);
    let is_prefix = digits.len() < text.len();
    let is_code = digits.starts_with(|first: char| ('1'..='5').contains(&first))
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && if is_prefix { digits.len() <= 2 } else { digits.len() == 3 };
    let number: Option<u16> = digits.parse().ok().filter(|_| is_code);
    match (number, digits.len()) {
        (Some(number), 1) => Ok((number * 100, number * 100 + 99)),
        (Some(number), 2) => Ok((number * 10, number * 10 + 9)),
        (Some(number), _) => Ok((number, number)),
        (None, _) => Err(format!("invalid status code prefix: {}", go::quote(text))),
    }
}

fn status(codes: &[(u16, u16)]) -> Condition {
    let codes = codes.to_vec();
    // No code of a filter is 0, as that of a request is.
    Box::new(move |view| {
        let own = view.http.as_ref().map(|http| http.code);
        own.is_some_and(|own| codes.iter().any(|(first, last)| (*first..=*last).contains(&own)))
    })
}

fn method(methods: &[String]) -> Condition {
    let methods = methods.to_vec();
    Box::new(move |view| {
        let own = view.http.as_ref().map(|http| &*http.info.method).filter(|method| !method.is_empty());
        own.is_some_and(|own| methods.iter().any(|wanted| equals_folded(wanted, own)))
    })
}

/// `strings.EqualFold`.
fn equals_folded(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        return one.eq_ignore_ascii_case(other);
    }
    one.chars().map(folded).eq(other.chars().map(folded))
}

fn folded(letter: char) -> char {
    let mut upper = letter.to_uppercase();
    let upper = upper.next().filter(|_| upper.next().is_none()).unwrap_or(letter);
    let mut lower = upper.to_lowercase();
    lower.next().filter(|_| lower.next().is_none()).unwrap_or(upper)
}
