//! What `explain` tells: text for people, JSON for programs.
//!
//! Owns its words. Must never show what a secret holds. Start at [`Report::add`].

use std::{net::IpAddr, sync::Arc};

use rules::{Direction, HeaderAct, HeaderAction, Malformed, Missing, Protocol, RequestView, RuleRef, Tried};
use serde_json::{Value, json};

use crate::{
    command::{
        counted,
        judge::{Answer, Scene, Side, pod_name, rule_json},
        place::Places,
        printable, with,
    },
    endpoint::Peer,
    source::Fault,
};

/// Rules of one side that are told without `--all`.
const MAX_TRIED: usize = 5;

/// The question.
pub(super) struct Asked {
    pub(super) from: End,
    pub(super) to: End,
    /// The destination port; of ICMP, the type.
    pub(super) number: u16,
    pub(super) protocol: Protocol,
    /// Every rule that was tried is told.
    pub(super) all: bool,
}

/// One end of it.
pub(super) struct End {
    name: String,
    pub(super) peer: Arc<Peer>,
}

/// A policy that is not valid, and why.
type Refused<'p> = (String, &'p [Fault]);

/// What one side says, and why.
struct Told {
    direction: Direction,
    answer: Answer,
    tried: Vec<Tried>,
    /// By which rules requests are judged.
    judging: Vec<Arc<RuleRef>>,
    acts: Vec<HeaderAct>,
}

/// Everything that is told.
pub(super) struct Report<'p> {
    asked: Asked,
    places: &'p Places,
    /// Method and path.
    request: Option<(String, String)>,
    malformed: Option<Malformed>,
    sides: Vec<Told>,
}

impl End {
    /// A pod by its name, or whoever has an address.
    pub(super) fn of(scene: &Scene, name: &str) -> Result<Self, String> {
        let peer = scene.peer(name)?;
        Ok(Self { name: pod_name(&peer).unwrap_or_else(|| name.to_owned()), peer })
    }

    /// Who that is to selectors: what the cluster itself says of every pod is left out.
    fn described(&self) -> String {
        let labels = self.peer.labels.iter().map(|label| label.strip_prefix("k8s:").unwrap_or(label));
        let own: Vec<&str> = labels.filter(|label| !label.starts_with("io.cilium.k8s.")).collect();
        format!("{} ({})", self.name, own.join(", "))
    }
}

impl<'p> Report<'p> {
    pub(super) fn new(asked: Asked, places: &'p Places) -> Self {
        Self { asked, places, request: None, malformed: None, sides: Vec::new() }
    }

    /// Names the request.
    pub(super) fn of_request(&mut self, method: &str, path: &str) {
        self.request = Some((method.to_owned(), path.to_owned()));
    }

    /// No side judges it: it is answered with 400.
    pub(super) fn malformed(&mut self, malformed: Malformed) {
        self.malformed = Some(malformed);
    }

    /// What one side says; `view`: of a request that it judged.
    pub(super) fn add(&mut self, side: &Side, answer: Answer, view: Option<&RequestView<'_>>) {
        let Asked { number, protocol, .. } = self.asked;
        let mut told =
            Told { direction: side.direction(), answer, tried: Vec::new(), judging: Vec::new(), acts: Vec::new() };
        if let Some(policy) = side.policy() {
            match told.answer.beneath() {
                Answer::Denied { rule: None, .. } => told.tried = policy.tried(side.peer(), protocol, number, view),
                Answer::Judged => told.judging = policy.judging(side.peer(), protocol, number),
                Answer::Allowed(_) => {
                    told.acts = view.map(|view| policy.header_acts(side.peer(), number, view)).unwrap_or_default();
                }
                Answer::NoPod
                | Answer::NotEnforced
                | Answer::LetIn
                | Answer::Audited(_)
                | Answer::Denied { rule: Some(_), .. } => {}
            }
        }
        self.sides.push(told);
    }

    pub(super) fn is_denied(&self) -> bool {
        self.malformed.is_some() || self.sides.iter().any(|side| side.answer.is_denied())
    }

    fn verdict(&self) -> &'static str {
        let any = |word: &str| self.sides.iter().any(|side| side.answer.word() == word);
        match self.malformed {
            _ if any("DENIED") => "DENIED",
            Some(_) => "MALFORMED",
            None if any("AUDIT") => "AUDIT",
            None if any("REDIRECTED") => "REDIRECTED",
            None => "ALLOWED",
        }
    }

    /// The end whose policies a side asks.
    fn own(&self, direction: Direction) -> &End {
        match direction {
            Direction::Egress => &self.asked.from,
            Direction::Ingress => &self.asked.to,
        }
    }

    fn other(&self, direction: Direction) -> &End {
        match direction {
            Direction::Egress => &self.asked.to,
            Direction::Ingress => &self.asked.from,
        }
    }

    /// Who the peer is, only the configuration knows. Rules of Calico's name the end that is the peer.
    fn found(&self, missing: &Missing, direction: Direction) -> Option<String> {
        let of_peer = match direction {
            Direction::Egress => "destination.",
            Direction::Ingress => "source.",
        };
        let field = missing.field.as_str();
        let is_peer =
            field == "peer" || field.strip_prefix(of_peer).is_some_and(|part| !part.to_lowercase().ends_with("ports"));
        if is_peer { Some(self.other(direction).described()) } else { missing.found.clone() }
    }

    /// Policies that deny by default because they are not valid.
    fn refused(&self, answer: &Answer) -> Vec<Refused<'p>> {
        let Answer::Denied { policies, rule: None, .. } = answer.beneath() else { return Vec::new() };
        let places = self.places;
        policies.iter().filter_map(|policy| Some((policy.clone(), places.refused(policy)?))).collect()
    }

    fn named(&self, rule: &RuleRef) -> String {
        let place = self.places.of(rule).map(|place| format!(" {place}")).unwrap_or_default();
        format!("{} {} ({}){place}", rule.policy, rule.rule, rule.summary)
    }

    pub(super) fn text(&self) -> String {
        let Asked { from, to, number, protocol, .. } = &self.asked;
        let (what, to) = match &self.request {
            Some((method, path)) => (format!("{method} {path}"), with_port(&to.name, *number)),
            None if protocol.has_types() => (format!("{protocol} type {number}"), to.name.clone()),
            None => (protocol.to_string(), with_port(&to.name, *number)),
        };
        let mut lines = vec![format!("{what}: {} -> {to}", from.name)];
        for side in &self.sides {
            self.side_text(side, &mut lines);
        }
        lines.push(match (self.verdict(), &self.malformed) {
            ("MALFORMED", Some(malformed)) => format!("verdict: MALFORMED, answered with 400: {malformed}"),
            ("AUDIT", _) => "verdict: AUDIT, it passes and is recorded as denied but for the audit".to_owned(),
            ("REDIRECTED", _) => {
                "verdict: REDIRECTED, the connection is made; give METHOD and PATH to judge a request".to_owned()
            }
            (verdict, _) => format!("verdict: {verdict}"),
        });
        lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
    }

    fn side_text(&self, side: &Told, lines: &mut Vec<String>) {
        let direction = side.direction.to_string().to_lowercase();
        let place = side.answer.rule().and_then(|rule| self.places.of(rule));
        let place = place.map(|place| format!(" {place}")).unwrap_or_default();
        let own = &self.own(side.direction).name;
        lines.push(format!("  {direction} of {own}: {}{place}", side.answer.reason()));
        for (policy, errors) in self.refused(&side.answer) {
            lines.push(format!("    {policy} is not valid, so it allows nothing:"));
            lines.extend(errors.iter().map(|error| format!("      {error}")));
        }
        lines.extend(side.judging.iter().map(|rule| format!("    by {}", self.named(rule))));
        let shown = if self.asked.all { side.tried.len() } else { MAX_TRIED };
        for (index, tried) in side.tried.iter().take(shown).enumerate() {
            lines.push(format!("    {}. {}", index.saturating_add(1), self.named(&tried.rule)));
            for missing in &tried.missed {
                let is = match self.found(missing, side.direction) {
                    Some(found) => format!(", is {found}"),
                    None if missing.field.starts_with("header ") => ", is not there".to_owned(),
                    None => String::new(),
                };
                lines.push(format!("       {}: wants {}{is}", missing.field, missing.expected));
            }
        }
        if let Some(left @ 1..) = side.tried.len().checked_sub(shown) {
            lines.push(format!("    and {}: --all tells them too", counted(left, "rule more", "rules more")));
        }
        for (act, rules) in grouped(&side.acts) {
            let value = act.value.as_ref().map(|value| format!(": {value}")).unwrap_or_default();
            let by: Vec<String> = rules.iter().map(|rule| format!("{} {}", rule.policy, rule.rule)).collect();
            lines.push(format!("    {} {}{value}, by {}", act.action.word(), act.name, by.join(" and ")));
        }
    }

    pub(super) fn json(&self) -> Value {
        let Asked { from, to, number, protocol, .. } = &self.asked;
        let (port, kind) = if protocol.has_types() { (None, Some(number)) } else { (Some(number), None) };
        let mut json = json!({
            "verdict": self.verdict(),
            "from": {"name": from.name, "identity": from.peer.identity},
            "to": {"name": to.name, "identity": to.peer.identity, "port": port},
            "protocol": protocol.to_string(),
            "type": kind,
            "method": self.request.as_ref().map(|(method, _)| method),
            "path": self.request.as_ref().map(|(_, path)| path),
            "sides": self.sides.iter().map(|side| self.side_json(side)).collect::<Vec<_>>(),
        });
        if let Some(malformed) = &self.malformed {
            json = with(json, "reason", malformed.reason().into());
            json = with(json, "detail", malformed.to_string().into());
        }
        json
    }

    fn side_json(&self, side: &Told) -> Value {
        let rule = |rule: &Arc<RuleRef>| rule_json(rule, self.places);
        let shown = if self.asked.all { side.tried.len() } else { MAX_TRIED };
        let missing = |missing: &Missing| {
            let found = self.found(missing, side.direction);
            json!({"field": missing.field, "expected": missing.expected, "found": found})
        };
        let tried = |tried: &Tried| {
            with(rule(&tried.rule), "missed", tried.missed.iter().map(missing).collect::<Vec<_>>().into())
        };
        let act = |(act, rules): Act<'_>| {
            let by: Vec<Value> = rules.into_iter().map(rule).collect();
            json!({"action": act.action.word(), "name": act.name.as_str(), "value": act.value, "by": by})
        };
        let fields = [
            ("direction", json!(side.direction.to_string().to_lowercase())),
            ("pod", json!(self.own(side.direction).name)),
            ("judgedBy", side.judging.iter().map(rule).collect()),
            ("tried", side.tried.iter().take(shown).map(tried).collect()),
            ("triedNotShown", side.tried.len().saturating_sub(shown).into()),
            ("headers", grouped(&side.acts).into_iter().map(act).collect()),
            (
                "refused",
                self.refused(&side.answer)
                    .into_iter()
                    .map(|(policy, errors)| json!({"policy": policy, "errors": errors}))
                    .collect(),
            ),
        ];
        fields.into_iter().fold(side.answer.json(self.places), |json, (field, value)| with(json, field, value))
    }
}

/// What is done, and every rule that asks for it.
type Act<'a> = (&'a HeaderAct, Vec<&'a Arc<RuleRef>>);

/// In the order in which it is done: removals, then values that are set, then additions; then what is only recorded.
fn grouped(acts: &[HeaderAct]) -> Vec<Act<'_>> {
    let order = |act: &HeaderAct| match act.action {
        HeaderAction::Delete => 0,
        HeaderAction::Replace => 1,
        HeaderAction::Add => 2,
        HeaderAction::Log => 3,
    };
    let mut grouped: Vec<Act<'_>> = Vec::new();
    for act in acts {
        let same = |(known, _): &&mut Act<'_>| {
            (known.action, &known.name, &known.value) == (act.action, &act.name, &act.value)
        };
        match grouped.iter_mut().find(same) {
            Some((_, rules)) => rules.push(&act.rule),
            None => grouped.push((act, vec![&act.rule])),
        }
    }
    grouped.sort_by(|(a, _), (b, _)| (order(a), a.name.as_str(), &a.value).cmp(&(order(b), b.name.as_str(), &b.value)));
    grouped
}

/// `default/api:80`, `[fd00::1]:80`.
fn with_port(name: &str, port: u16) -> String {
    match name.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        Ok(IpAddr::V4(_)) | Err(_) => format!("{name}:{port}"),
    }
}
