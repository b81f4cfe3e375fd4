//! One policy among many changes: what the node process does until its new state is known.

use std::time::Instant;

use anyhow::{Context, Result};
use l7proxy::{app::Assembler, config::Config};
use rules::InForce;
use serde_json::{Value, json};

use crate::rule_set;

/// HTTP rules of each policy.
const RULES_IN_POLICY: u32 = 10;

/// Milliseconds of parsing the policy that changed and of assembling everything, of the best of three changes. Each
/// endpoint is selected by one policy, or by all of them.
pub(crate) fn run(endpoints: u32, policies: u32, all: bool) -> Result<Value> {
    let config = config(endpoints, policies)?;
    let text: String = (0..policies).map(|number| policy(number, policies, all, 0)).collect();
    let mut in_force = rule_set::parse(&text)?;
    let mut assembler = Assembler::default();
    drop(assembler.assemble(&config, &in_force, 0));
    let mut best = f64::INFINITY;
    for change in 1..=3_u32 {
        let text = policy(0, policies, all, change);
        let begin = Instant::now();
        let changed: Vec<InForce> = rule_set::parse(&text)?;
        *in_force.first_mut().context("there must be a policy")? = changed.into_iter().next().context("no policy")?;
        let state = assembler.assemble(&config, &in_force, change.into());
        best = best.min(begin.elapsed().as_secs_f64() * 1e3);
        drop(state);
    }
    Ok(json!({ "change_ms": best }))
}

fn config(endpoints: u32, policies: u32) -> Result<Config> {
    let pod = |number: u32| {
        let [_, _, high, low] = number.to_be_bytes();
        json!({
            "pod": format!("default/p{number}"),
            "addresses": [format!("10.1.{high}.{low}")],
            "labels": { "app": format!("a{}", number % policies.max(1)) },
        })
    };
    let pods: Vec<Value> = (0..endpoints).map(pod).collect();
    serde_json::from_value(json!({ "endpoints": pods })).context("the configuration is not valid")
}

/// `revision` makes one text differ from another.
fn policy(number: u32, policies: u32, all: bool, revision: u32) -> String {
    let subject = if all { String::new() } else { format!("matchLabels: {{app: a{number}}}") };
    let client = (number + 1) % policies.max(1);
    let path = |rule: u32| format!("        - {{method: GET, path: /api/v{revision}/p{number}/r{rule}/.*}}\n");
    let rules: String = (0..RULES_IN_POLICY).map(path).collect();
    format!(
        "---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: p{number}, namespace: default}}
spec:
  endpointSelector: {{{subject}}}
  ingress:
  - fromEndpoints: [{{matchLabels: {{app: a{client}}}}}]
    toPorts:
    - ports: [{{port: \"80\", protocol: TCP}}]
      rules:
        http:
{rules}"
    )
}
