//! Many patterns of paths in one list, most of them with words in common, and paths made of the same words.
//!
//! Words are few, so that some are in every pattern and some in one. Start at [`patterns`].

use http::{HeaderMap, HeaderValue, header};
use proptest::{collection::vec, prelude::*, sample::select};
use rules::{
    EndpointPolicy, Identities, Identity, InForce, Label, Labels, NamedPorts, PathOptions, Pattern, RequestView,
    Verdict, full_match, oracle, resolve,
};

use super::answer::in_force;

const WORDS: [&str; 12] =
    ["api", "v1", "users", "Orders", "orders", "user", "items", "item7", "r0042", "r0043", "R0142", "reports"];

fn word() -> impl Strategy<Value = String> {
    // Most are of the first few.
    prop_oneof![2 => select(WORDS[..4].to_vec()), 1 => select(WORDS.to_vec())].prop_map(str::to_owned)
}

/// A text with patterns in it, and one that it matches.
type Example = (String, String);

/// One segment of a pattern: each form in which a word may be needed, absent, one of several, or spelled otherwise.
fn segment() -> impl Strategy<Value = Example> {
    let plain = word().prop_map(|word| (word.clone(), word));
    let classes = vec![
        ("[a-z]+", "x"),
        ("[0-9]+", "42"),
        ("[a-z0-9]*", ""),
        (".", "x"),
        (".*", "x/x"),
        ("[^/]+", "X"),
        ("[a-z]{2,5}", "xyz"),
        ("r[0-9]{4}", "r0042"),
    ];
    let classes = select(classes).prop_map(|(pattern, example)| (pattern.to_owned(), example.to_owned()));
    let forms = vec![
        ("(ONE|TWO)", "TWO"),
        ("(?:ONE|TWOx?|[0-9])", "7"),
        ("(ONE|)(TWO)?[a-z]*", "x"),
        ("(ONE|TWO|[a-z]+)", "x"),
        ("ONE[sz]?", "ONE"),
        ("[uUoOiI]ONE", "oONE"),
        ("(ONE/)*TWO", "TWO"),
        ("(ONE/)?TWO", "TWO"),
        ("(ONE/?)+", "ONEONE"),
        ("ONE(TWO){0,2}", "ONE"),
        ("(ONE){1,2}", "ONE"),
        (".*ONE", "TWOONE"),
        ("(ONE/TWO|TWO|[a-z]+/ONE)", "x/ONE"),
    ];
    let forms = (word(), word(), select(forms)).prop_map(|(one, two, (pattern, example))| {
        let with_words = |text: &str| text.replace("ONE", &one).replace("TWO", &two);
        (with_words(pattern), with_words(example))
    });
    prop_oneof![2 => plain, 1 => classes, 2 => forms]
}

fn pattern() -> impl Strategy<Value = Example> {
    let front = select(vec!["", "", "", "", "^", "(?i)", "(?i)", ".*"]);
    let ends = vec![
        ("", ""),
        ("", ""),
        ("/.*", "/x"),
        ("(/.*)?", ""),
        ("(\\?.*)?", "?q"),
        ("$", ""),
        ("/?", ""),
        ("($|/items)", ""),
    ];
    let of_segments = (front, vec(segment(), 1..5), select(ends)).prop_map(|(front, segments, (end, example))| {
        let (patterns, examples): (Vec<String>, Vec<String>) = segments.into_iter().unzip();
        (format!("{front}/{}{end}", patterns.join("/")), format!("/{}{example}", examples.join("/")))
    });
    // Longer than what is asked position by position.
    let long = word().prop_map(|word| {
        let pattern = format!("/{word}/[a-z]{{9}}[0-9]{{9}}{0}{0}{0}|/{word}/[a-z]+", "x?y?z?(a|b){9}");
        (pattern, format!("/{word}/xyz"))
    });
    let any = super::generate::pattern().prop_filter("no path is any path", |text| !text.is_empty());
    prop_oneof![9 => of_segments, 1 => long, 1 => any.prop_map(|text| (text, "/a/b".to_owned()))]
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        6 => word(),
        1 => (word(), word()).prop_map(|(one, other)| format!("{one}{other}")),
        1 => select(vec!["", "42", "x", "Users", "itemss", "r9999"]).prop_map(str::to_owned),
    ];
    let query = select(vec!["", "", "", "?q", "?users"]);
    (vec(segment, 1..6), query, 0..5_u8).prop_map(|(segments, query, case)| {
        let path = format!("/{}{query}", segments.join("/"));
        if case == 0 { path.to_ascii_uppercase() } else { path }
    })
}

/// Patterns, up to far more than are asked one by one, and paths: some that are examples of the first of them.
pub(crate) fn patterns() -> impl Strategy<Value = (Vec<String>, Vec<String>)> {
    let patterns = prop_oneof![1 => vec(pattern(), 1..4), 1 => vec(pattern(), 5..60)];
    (patterns, vec(path(), 4)).prop_map(|(examples, mut paths)| {
        let (patterns, examples): (Vec<String>, Vec<String>) = examples.into_iter().unzip();
        paths.extend(examples.into_iter().take(4));
        (patterns, paths)
    })
}

pub(crate) fn compiled(patterns: Vec<String>) -> Vec<(String, Pattern)> {
    patterns.into_iter().map(|text| full_match(&text).map(|pattern| (text, pattern)).expect("a pattern")).collect()
}

/// A server that asks for any of `patterns`, and its client.
pub(crate) struct Server {
    policy: EndpointPolicy,
    client: Identity,
}

impl Server {
    pub(crate) fn new(patterns: &[String]) -> Self {
        let rules: Vec<String> = patterns.iter().map(|pattern| format!("{{path: {pattern:?}}}")).collect();
        let rules = rules.join(", ");
        let manifest = format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, namespace: n}}\nspec: {{\
             endpointSelector: {{}}, ingress: [{{toPorts: [{{ports: [{{port: '80', protocol: TCP}}], rules: {{http: [\
             {rules}]}}}}]}}]}}\n"
        );
        let policies = in_force(&manifest);
        assert!(matches!(policies.as_slice(), [InForce::Policy(_)]), "{manifest} {policies:?}");
        let labels = Labels::new([Label::new("k8s", "io.kubernetes.pod.namespace", "n")]);
        let mut identities = Identities::new();
        let client = identities.allocate(&labels);
        let policy = resolve(&policies, &labels, &NamedPorts::default(), &identities, &[]);
        Self { policy, client }
    }

    /// The place of the rule that allows a request for `path`; `None`: none does. And the path that it was asked for.
    pub(crate) fn allows(&self, path: &str) -> (Option<usize>, String) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("h"));
        let view = RequestView::new("GET", path.as_bytes(), false, &headers, &PathOptions::default());
        let view = view.expect("a path that has a normal form");
        let rule = match self.policy.ingress.evaluate(self.client, 80, &view) {
            Verdict::Deny(_) => None,
            Verdict::Allow(permit) => {
                let rule = &permit.rule().expect("a rule, under default deny").rule;
                let place = rule.rsplit_once('[').and_then(|(_, place)| place.strip_suffix(']')?.parse().ok());
                Some(place.expect("a rule of a list"))
            }
        };
        (rule, view.path().to_owned())
    }
}

/// The first of `patterns` that matches: by the oracle, and asked by itself.
pub(crate) fn first(patterns: &[(String, Pattern)], path: &str) -> [Option<usize>; 2] {
    let by_oracle = |text: &str| oracle::full_match(text, path.as_bytes()).expect("a pattern that it reads");
    let of_oracle = patterns.iter().position(|(text, _)| by_oracle(text));
    [of_oracle, patterns.iter().position(|(_, pattern)| pattern.matches(path.as_bytes()))]
}
