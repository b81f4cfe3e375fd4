//! What applies to one peer, protocol and port, and what it says to a connection and to a request.
//!
//! Must never let a connection pass whose requests would all be denied, nor the other way round. Start at [`Cell`].

use std::sync::Arc;

use crate::{
    calico::http::{Http, Request},
    header_effects::HeaderEffects,
    matcher::HttpMatcher,
    policy::PolicyKey,
    request::RequestView,
    verdict::{Nearest, RuleRef},
};

/// What applies to one peer, protocol and port.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    /// Nothing passes: a rule denies it, or none allows it.
    Denied(Option<Arc<RuleRef>>),
    /// Everything passes, and the proxy need not see it.
    Allowed(Option<Arc<RuleRef>>),
    /// The proxy asks for each request.
    Requests(Arc<HttpMatcher>),
    /// The proxy sees each request, and each passes: another rule allows the port as a whole. With a
    /// matcher, its rules may still edit it.
    Seen(Option<Arc<RuleRef>>, Option<Arc<HttpMatcher>>),
    /// The proxy asks ordered rules for each request.
    Ordered(Arc<Ordered>),
    /// The proxy asks both, and both must allow.
    Both(Arc<Cell>, Arc<Cell>),
    /// What it denies passes and is told.
    Lenient(Arc<Cell>),
    /// What it allows is told as denied by this rule, and passes.
    Audited(Arc<Cell>, Arc<RuleRef>),
}

/// Rules of which the first that holds allows a request, and what becomes of the others. Without rules, what becomes of
/// the connection.
#[derive(Debug)]
pub(crate) struct Ordered {
    pub(crate) allow: Vec<OrderedRule>,
    /// A denial that is only told, and behind how many of the rules it stands: what those after it allow is audited.
    pub(crate) told: Option<(usize, Judged)>,
    pub(crate) last: Judged,
}

/// A rule of Calico that asks for requests.
#[derive(Debug)]
pub(crate) struct OrderedRule {
    pub(crate) http: Http,
    /// Its policy's denials are only told.
    pub(crate) audit: bool,
    pub(crate) reference: Arc<RuleRef>,
}

/// What there is to say of a denial that no rule makes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unallowed {
    /// The rule that came nearest to allowing.
    pub(crate) nearest: Option<Nearest>,
    /// Who denies; `None`: whoever put the endpoint under default deny.
    pub(crate) by: Option<Arc<Closed>>,
}

/// Calico's policies that let nothing pass but what a rule allows.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) policies: Arc<[Arc<PolicyKey>]>,
    /// The tier whose end it is.
    pub(crate) tier: Option<Arc<str>>,
}

/// What becomes of one request.
#[derive(Clone, Debug)]
pub(crate) enum Judged {
    Allowed(Option<Arc<RuleRef>>),
    /// The rule that denies it, or what there is to say without one.
    Denied(Option<Arc<RuleRef>>, Unallowed),
    /// It passes; the same says why it would not if that were enforced.
    Audited(Option<Arc<RuleRef>>, Unallowed),
}

impl Cell {
    /// What becomes of a connection; `None`: that is asked for each request.
    pub(crate) fn connection(&self) -> Option<Judged> {
        match self {
            Self::Denied(rule) => Some(Judged::Denied(rule.clone(), Unallowed::default())),
            Self::Allowed(rule) => Some(Judged::Allowed(rule.clone())),
            Self::Ordered(ordered) if ordered.allow.is_empty() => Some(ordered.last.clone()),
            Self::Requests(_) | Self::Seen(..) | Self::Ordered(_) => None,
            Self::Lenient(inner) => inner.connection().map(Judged::lenient),
            Self::Audited(inner, rule) => inner.connection().map(|judged| judged.audited(rule)),
            Self::Both(one, other) => match (one.connection(), other.connection()) {
                (Some(denied @ Judged::Denied(..)), _) | (_, Some(denied @ Judged::Denied(..))) => Some(denied),
                (Some(one), Some(other)) => Some(one.and(other)),
                (None, _) | (_, None) => None,
            },
        }
    }

    pub(super) fn judge(&self, view: &RequestView<'_>) -> Judged {
        match self {
            Self::Denied(rule) => Judged::Denied(rule.clone(), Unallowed::default()),
            Self::Allowed(rule) | Self::Seen(rule, _) => Judged::Allowed(rule.clone()),
            Self::Requests(matcher) => match matcher.judge(view) {
                Ok(compiled) => Judged::Allowed(Some(Arc::clone(&compiled.reference))),
                Err(nearest) => {
                    let nearest = nearest.map(|(compiled, missed)| {
                        let rule = Arc::clone(&compiled.reference);
                        Nearest { rule, field: missed.field, expected: missed.expected }
                    });
                    Judged::Denied(None, Unallowed { nearest, by: None })
                }
            },
            Self::Ordered(ordered) => ordered.judge(view),
            Self::Both(one, other) => one.judge(view).and(other.judge(view)),
            Self::Lenient(inner) => inner.judge(view).lenient(),
            Self::Audited(inner, rule) => inner.judge(view).audited(rule),
        }
    }

    /// What the rules do to a request's headers, and what there is to record of them.
    pub(super) fn effects(&self, view: &RequestView<'_>) -> HeaderEffects {
        match self {
            Self::Denied(_) | Self::Allowed(_) | Self::Seen(_, None) | Self::Ordered(_) => HeaderEffects::default(),
            Self::Requests(matcher) | Self::Seen(_, Some(matcher)) => matcher.effects(view),
            Self::Lenient(inner) | Self::Audited(inner, _) => inner.effects(view),
            Self::Both(one, other) => one.effects(view).and(other.effects(view)),
        }
    }
}

impl Cell {
    /// Whether what it says to a request depends on headers.
    pub(super) fn asks_headers(&self) -> bool {
        match self {
            Self::Denied(_) | Self::Allowed(_) | Self::Seen(..) | Self::Ordered(_) => false,
            Self::Requests(matcher) => matcher.asks_headers(),
            Self::Lenient(inner) | Self::Audited(inner, _) => inner.asks_headers(),
            Self::Both(one, other) => one.asks_headers() || other.asks_headers(),
        }
    }

    /// Of a request that is denied: the rule that would allow it if the headers were what it asks for.
    pub(super) fn allows_but_for_headers(&self, view: &RequestView<'_>) -> Option<Arc<RuleRef>> {
        match self {
            Self::Requests(matcher) => {
                matcher.find_but_for_headers(view).map(|compiled| Arc::clone(&compiled.reference))
            }
            Self::Both(one, other) => {
                let denied = |cell: &Self| matches!(cell.judge(view), Judged::Denied(..));
                match (denied(one), denied(other)) {
                    (false, true) => other.allows_but_for_headers(view),
                    (true, false) => one.allows_but_for_headers(view),
                    (true, true) => one.allows_but_for_headers(view).and(other.allows_but_for_headers(view)),
                    (false, false) => None,
                }
            }
            Self::Audited(inner, _) => inner.allows_but_for_headers(view),
            // What is lenient denies nothing.
            Self::Lenient(_) | Self::Denied(_) | Self::Allowed(_) | Self::Seen(..) | Self::Ordered(_) => None,
        }
    }
}

impl Judged {
    /// With the rule that came nearer, if there is one, where no rule denies.
    fn or_nearest(mut self, nearest: impl FnOnce() -> Option<Nearest>) -> Self {
        if let Self::Denied(None, unallowed) | Self::Audited(None, unallowed) = &mut self
            && let Some(nearest) = nearest()
        {
            unallowed.nearest = Some(nearest);
        }
        self
    }

    /// When both must allow.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (denied @ Self::Denied(..), _) | (_, denied @ Self::Denied(..)) => denied,
            (audited @ Self::Audited(..), _) | (_, audited @ Self::Audited(..)) => audited,
            (Self::Allowed(one), Self::Allowed(other)) => Self::Allowed(one.or(other)),
        }
    }

    fn lenient(self) -> Self {
        match self {
            Self::Denied(rule, nearest) => Self::Audited(rule, nearest),
            Self::Allowed(_) | Self::Audited(..) => self,
        }
    }

    /// A rule that denies comes before default deny, as where both are enforced.
    fn audited(self, rule: &Arc<RuleRef>) -> Self {
        match self {
            Self::Allowed(_) | Self::Audited(None, _) => Self::Audited(Some(Arc::clone(rule)), Unallowed::default()),
            Self::Denied(..) | Self::Audited(Some(_), _) => self,
        }
    }
}

impl Ordered {
    pub(super) fn judge(&self, view: &RequestView<'_>) -> Judged {
        let Ok(request) = Request::new(view.method(), view.path()) else { return self.without_form() };
        match self.allow.iter().enumerate().find(|(_, rule)| rule.http.holds(&request)) {
            Some((index, rule)) => match &self.told {
                Some((before, told)) if *before <= index => told.clone().or_nearest(|| self.nearest(*before, &request)),
                Some(_) | None => Judged::Allowed(Some(Arc::clone(&rule.reference))),
            },
            None => self.last.clone().or_nearest(|| self.nearest(self.before_last(), &request)),
        }
    }

    /// Of a request whose path Calico's form does not know, no rule can say whether it is about it.
    fn without_form(&self) -> Judged {
        let unclear = |rule: &OrderedRule| {
            let (rule, field) = (Arc::clone(&rule.reference), "path".to_owned());
            let policies = Arc::from([Arc::clone(&rule.policy)]);
            let expected = "a path that begins with / and has one meaning".to_owned();
            let by = Some(Arc::new(Closed { policies, tier: None }));
            Unallowed { nearest: Some(Nearest { rule, field, expected }), by }
        };
        if let Some(rule) = self.allow.iter().find(|rule| !rule.audit) {
            return Judged::Denied(None, unclear(rule));
        }
        match (&self.last, self.allow.first()) {
            (Judged::Allowed(_), Some(rule)) => Judged::Audited(None, unclear(rule)),
            (last @ (Judged::Allowed(_) | Judged::Denied(..) | Judged::Audited(..)), _) => last.clone(),
        }
    }

    /// How many of the rules were asked before what [`Self::last`] tells.
    fn before_last(&self) -> usize {
        match (&self.last, &self.told) {
            (Judged::Audited(..), Some((before, _))) => *before,
            (Judged::Allowed(_) | Judged::Denied(..) | Judged::Audited(..), _) => self.allow.len(),
        }
    }

    /// Of so many rules, the first whose method or path holds, or the first of all.
    fn nearest(&self, asked: usize, request: &Request<'_>) -> Option<Nearest> {
        let rules = || self.allow.iter().take(asked);
        let half = rules().find(|rule| rule.http.holds_method(request) || rule.http.holds_path(request));
        let rule = half.or(rules().next())?;
        let (field, expected) = if rule.http.holds_method(request) {
            ("path", rule.http.paths_told())
        } else {
            ("method", rule.http.methods_told())
        };
        Some(Nearest { rule: Arc::clone(&rule.reference), field: field.to_owned(), expected })
    }
}
