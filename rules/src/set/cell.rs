//! What applies to one peer, protocol and port, and what it says to a connection and to a request.
//!
//! Must never let a connection pass whose requests would all be denied, nor the other way round. Start at [`Cell`].

use std::sync::Arc;

use crate::{
    calico::http::{Http, Request},
    header_effects::HeaderEffects,
    matcher::HttpMatcher,
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

/// Rules of which the first that holds allows a request, and what becomes of the others.
#[derive(Debug)]
pub(crate) struct Ordered {
    pub(crate) allow: Vec<OrderedRule>,
    pub(crate) last: Judged,
}

/// A rule of Calico that asks for requests.
#[derive(Debug)]
pub(crate) struct OrderedRule {
    pub(crate) http: Http,
    pub(crate) reference: Arc<RuleRef>,
}

/// What becomes of one request.
#[derive(Clone, Debug)]
pub(crate) enum Judged {
    Allowed(Option<Arc<RuleRef>>),
    /// The rule that denies it, or the one that came nearest to allowing it.
    Denied(Option<Arc<RuleRef>>, Option<Nearest>),
    /// It passes; the same says why it would not if that were enforced.
    Audited(Option<Arc<RuleRef>>, Option<Nearest>),
}

impl Cell {
    /// What becomes of a connection; `None`: that is asked for each request.
    pub(super) fn connection(&self) -> Option<Judged> {
        match self {
            Self::Denied(rule) => Some(Judged::Denied(rule.clone(), None)),
            Self::Allowed(rule) => Some(Judged::Allowed(rule.clone())),
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
            Self::Denied(rule) => Judged::Denied(rule.clone(), None),
            Self::Allowed(rule) | Self::Seen(rule, _) => Judged::Allowed(rule.clone()),
            Self::Requests(matcher) => {
                if let Some(compiled) = matcher.find(view) {
                    return Judged::Allowed(Some(Arc::clone(&compiled.reference)));
                }
                let nearest = matcher.nearest(view).map(|(compiled, missed)| {
                    let rule = Arc::clone(&compiled.reference);
                    Nearest { rule, field: missed.field, expected: missed.expected }
                });
                Judged::Denied(None, nearest)
            }
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
            // Calico's rules have no effects: at most one of both has.
            Self::Both(one, other) => {
                let effects = one.effects(view);
                if effects == HeaderEffects::default() { other.effects(view) } else { effects }
            }
        }
    }
}

impl Cell {
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

    fn audited(self, rule: &Arc<RuleRef>) -> Self {
        match self {
            Self::Allowed(_) => Self::Audited(Some(Arc::clone(rule)), None),
            Self::Denied(..) | Self::Audited(..) => self,
        }
    }
}

impl Ordered {
    /// A request whose path Calico's form does not know is not allowed by any of the rules.
    fn judge(&self, view: &RequestView<'_>) -> Judged {
        let request = Request::new(view.method(), view.path());
        let Ok(request) = request else { return Judged::Denied(None, None) };
        if let Some(rule) = self.allow.iter().find(|rule| rule.http.holds(&request)) {
            return Judged::Allowed(Some(Arc::clone(&rule.reference)));
        }
        match &self.last {
            Judged::Denied(None, None) => Judged::Denied(None, self.nearest(&request)),
            last @ (Judged::Allowed(_) | Judged::Denied(..) | Judged::Audited(..)) => last.clone(),
        }
    }

    /// The first rule whose method or path holds, or the first of all.
    fn nearest(&self, request: &Request<'_>) -> Option<Nearest> {
        let half = self.allow.iter().find(|rule| rule.http.holds_method(request) || rule.http.holds_path(request));
        let rule = half.or(self.allow.first())?;
        let field = if rule.http.holds_method(request) { "path" } else { "method" };
        let expected = rule.reference.summary.clone();
        Some(Nearest { rule: Arc::clone(&rule.reference), field: field.to_owned(), expected })
    }
}
