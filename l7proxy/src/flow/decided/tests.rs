use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::flow::{Flow, Headers, Record, json::Formatter, summary, testing};

fn line(record: Record) -> Value {
    let (mut formatter, mut out) = (Formatter::new(&crate::flow::NodeNames::default(), &[]).unwrap(), Vec::new());
    let flow = Flow { number: 1, time: record.time(), headers: Headers::default(), record };
    formatter.flow(&flow, &mut out);
    serde_json::from_slice::<Value>(&out).unwrap()["flow"].take()
}

proptest! {
    /// What Cilium's monitor would say, before the drop.
    #[test]
    fn a_refusal_by_policy_has_its_verdict_before_it(record in testing::drop_record(), by_rule in any::<bool>()) {
        let reason = if by_rule { DropReason::PolicyDeny } else { DropReason::PolicyDenied };
        let record = DropRecord { reason, audit: false, is_verdict: false, repeats: 41, ..record };
        let decision = record.decision().unwrap();
        prop_assert!(decision.decision().is_none(), "once");
        let (drop, verdict) = (line(Record::Drop(Box::new(record))), line(Record::Drop(Box::new(decision.clone()))));
        let number = reason.hubble().0;
        prop_assert_eq!(&verdict["event_type"], &json!({"type": 5, "sub_type": number}));
        prop_assert_eq!(&drop["event_type"], &json!({"type": 1, "sub_type": number}));
        prop_assert_eq!(&verdict["Summary"], &summary::packet(&decision));
        prop_assert!(verdict["is_reply"].is_null() && verdict["extensions"]["value"]["repeats"].is_null());
        prop_assert_eq!(&drop["extensions"]["value"]["repeats"], 41);
        let matches = decision.rule.map_or(0, |rule| rule.matches.number());
        prop_assert_eq!(verdict["policy_match_type"].as_u64().unwrap_or_default(), u64::from(matches));
        prop_assert!(drop["policy_match_type"].is_null());
        let same = [
            "verdict", "drop_reason_desc", "l4", "IP", "source", "destination", "traffic_direction",
            "egress_denied_by", "ingress_denied_by",
        ];
        for field in same {
            prop_assert_eq!(&verdict[field], &drop[field], "{}", field);
        }
    }

    /// An audited one's only record is the verdict; of what no policy refused there is none.
    #[test]
    fn nothing_else_has_one(record in testing::drop_record(), reason in testing::reason()) {
        let by_policy = matches!(reason, DropReason::PolicyDenied | DropReason::PolicyDeny);
        let record = DropRecord { reason, is_verdict: false, ..record };
        prop_assert_eq!(record.decision().is_some(), by_policy && !record.audit);
        let audited = line(Record::Drop(Box::new(DropRecord { audit: true, ..record })));
        prop_assert_eq!(&audited["event_type"], &json!({"type": 5}));
        prop_assert_eq!((&audited["verdict"], &audited["is_reply"]), (&json!("AUDIT"), &json!(false)));
    }

    #[test]
    fn a_connection_has_one_when_it_begins(record in testing::connection_record(), policy in testing::policy()) {
        let begins = record.end.is_none() && record.allowed.is_none();
        let Some(decision) = record.decision() else {
            prop_assert!(!begins);
            return Ok(());
        };
        prop_assert!(begins && decision.decision().is_none());
        let matches = decision.rule.as_ref().map_or(0, |rule| rule.matches.number());
        let to_proxy = Some(Allowed::Redirected([Arc::clone(&policy)].into()));
        let redirected = ConnectionRecord { allowed: to_proxy, ..decision.clone() };
        let by = [decision.rule.as_ref().map(|rule| rule.policy.name.clone()), Some(policy.name.clone())];
        let field = match decision.ends.direction {
            rules::Direction::Ingress => "ingress_allowed_by",
            rules::Direction::Egress => "egress_allowed_by",
        };
        for ((record, verdict), by) in [(decision, "FORWARDED"), (redirected, "REDIRECTED")].into_iter().zip(by) {
            let flow = line(Record::Connection(Box::new(record)));
            prop_assert_eq!(&flow["verdict"], verdict);
            prop_assert_eq!(&flow[field][0]["name"], &json!(by));
            prop_assert_eq!(&flow["event_type"], &json!({"type": 5}));
            prop_assert_eq!((&flow["is_reply"], &flow["Summary"]), (&json!(false), &json!("TCP Flags: SYN")));
            prop_assert_eq!(&flow["l4"]["TCP"]["flags"], &json!({"SYN": true}));
            prop_assert_eq!(flow["policy_match_type"].as_u64().unwrap_or_default(), u64::from(matches));
            prop_assert!(flow["trace_observation_point"].is_null() && flow["extensions"]["value"]["connection"].is_null());
        }
    }
}
