//! What users ask, and which records must be printed for it: the same rows for a file, a socket, TCP, TLS and Relay.

use anyhow::{Result, ensure};
use conformance::client::hubble::{Cli, Target};

use crate::stage::{ALL, Stage, TRACE, Told, moment, named};

/// Asks for all fields.
const WHOLE: &str = "--use-default-field-masks=false";

/// Arguments of `hubble observe`, and names of what is printed. `{x}` stands for a fact of the first node (`fill`).
pub(crate) type Row = (&'static [&'static str], &'static [&'static str]);

/// Requests and answers.
const HTTP: &[&str] = &[
    "items",
    "items-200",
    "cart",
    "cart-200",
    "six",
    "six-200",
    "delete",
    "delete-403",
    "empty",
    "empty-200",
    "unimplemented",
    "unimplemented-200",
    "boom",
    "boom-502",
];
pub(crate) const DROPPED: &[&str] = &[
    "delete",
    "unimplemented",
    "closed-verdict",
    "closed",
    "denylist-verdict",
    "denylist",
    "entering-verdict",
    "entering",
    "world-verdict",
    "world",
    "datagram-verdict",
    "datagram",
];
const REFUSED: &[&str] = &["closed", "denylist", "entering", "world", "datagram"];
/// Decisions of policy below HTTP.
pub(crate) const DECIDED: &[&str] =
    &["closed-verdict", "denylist-verdict", "entering-verdict", "world-verdict", "datagram-verdict", "audited"];
/// Both of them.
const JUDGED: &[&str] = &[
    "closed-verdict",
    "closed",
    "denylist-verdict",
    "denylist",
    "entering-verdict",
    "entering",
    "world-verdict",
    "world",
    "datagram-verdict",
    "datagram",
    "audited",
];
const TO_CHECKOUT: &[&str] = &[
    "items",
    "six",
    "delete",
    "empty",
    "unimplemented",
    "closed-verdict",
    "closed",
    "denylist-verdict",
    "denylist",
    "datagram-verdict",
    "datagram",
    "boom",
];
const ANSWERS: &[&str] =
    &["items-200", "cart-200", "six-200", "delete-403", "empty-200", "unimplemented-200", "boom-502"];

/// Each row says something of every node that is asked, or names what one node alone has.
pub(crate) const ROWS: &[Row] = &[
    // What everybody tries first.
    (&["--since", "5m", "--verdict", "DROPPED"], DROPPED),
    (&["--namespace", "payments", "--service", "checkout", "--protocol", "http"], &["cart", "cart-200"]),
    (&["--to-service", "payments/checkout", "--protocol", "http"], &["cart"]),
    (&["--namespace", "payments", "--type", "drop"], REFUSED),
    (&["--all"], ALL),
    (&["--verdict", "DROPPED"], DROPPED),
    (&["--verdict", "ERROR"], &["boom-502"]),
    (&["--verdict", "DROPPED", "--verdict", "ERROR", "-t", "l7"], &["delete", "unimplemented", "boom-502"]),
    (&["--verdict", "AUDIT"], &["audited"]),
    (&["-t", "policy-verdict"], DECIDED),
    (&["-t", "drop", "-t", "policy-verdict"], JUDGED),
    (&["-t", "l7"], HTTP),
    (&["-t", "l7", "--http-status", "2+"], &["items-200", "cart-200", "six-200", "empty-200", "unimplemented-200"]),
    (&["--http-status", "403"], &["delete-403"]),
    (&["--http-status", "4+"], &["delete-403"]),
    (&["--http-status", "40+", "--http-status", "502"], &["delete-403", "boom-502"]),
    (&["--http-method", "get", "--http-path", "^/v1/"], &["items", "items-200", "cart", "cart-200", "six", "six-200"]),
    (&["--http-url", "x=2$"], &["items", "items-200"]),
    (&["--http-header", "Grpc-Status:7"], &["unimplemented-200"]),
    (&["--http-header", "Grpc-Status:0"], &["empty-200"]),
    (&["--http-header", "grpc-status:7"], &[]),
    (&["-n", "payments", "--protocol", "http"], HTTP),
    (&["--protocol", "UDP"], &["datagram-verdict", "datagram"]),
    (&["--protocol", "icmp"], &[]),
    (&["--from-pod", "payments/web", "--to-pod", "payments/checkout"], TO_CHECKOUT),
    (&["--pod", "payments/ledger"], &["entering-verdict", "entering"]),
    (&["-n", "payments", "--pod", "ledger-0"], &["entering-verdict", "entering"]),
    (
        &["--to-namespace", "payments", "--http-status", "200"],
        &["items-200", "cart-200", "six-200", "empty-200", "unimplemented-200"],
    ),
    (
        &["--from-pod", "payments/web", "--to-port", "9999"],
        &["closed-verdict", "closed", "entering-verdict", "entering", "world-verdict", "world"],
    ),
    (&["--to-label", "app=checkout", "--not", "--from-label", "app=batch"], TO_CHECKOUT),
    (&["--label", "app in (web,nope)", "--last", "1"], &["boom-502"]),
    (&["--from-label", "k8s:app=web,!canary", "--last", "1"], &["boom"]),
    (&["--to-label", "reserved:world"], &["world-verdict", "world"]),
    (&["--to-identity", "world"], &["world-verdict", "world"]),
    (&["--to-ip", "203.0.113.0/24"], &["world-verdict", "world"]),
    (&["--ip", "203.0.113.9"], &["world-verdict", "world"]),
    (&["-6"], &["six", "six-200"]),
    (&["--ip-version", "v6"], &["six", "six-200"]),
    (&["--port", "6666"], &["denylist-verdict", "denylist"]),
    (&["--from-port", "8081"], &["empty-200", "unimplemented-200"]),
    (
        &["--tcp-flags", "SYN"],
        &[
            "closed-verdict",
            "closed",
            "denylist-verdict",
            "denylist",
            "entering-verdict",
            "entering",
            "world-verdict",
            "world",
            "audited",
        ],
    ),
    (&["--traffic-direction", "ingress"], &["entering-verdict", "entering"]),
    (&["--drop-reason-desc", "POLICY_DENY"], &["denylist-verdict", "denylist"]),
    (
        &["--drop-reason-desc", "POLICY_DENIED"],
        &[
            "delete",
            "unimplemented",
            "closed-verdict",
            "closed",
            "entering-verdict",
            "entering",
            "world-verdict",
            "world",
            "datagram-verdict",
            "datagram",
        ],
    ),
    (&["--trace-id", TRACE], &["items", "items-200"]),
    (&["--to-workload", "Deployment/checkout", "--last", "1"], &["boom"]),
    (&["--workload", "StatefulSet/ledger"], &["entering-verdict", "entering"]),
    (&["--workload", "Deployment/ledger"], &[]),
    (&["--node-name", "cluster1/*", "--last", "1"], &["boom-502"]),
    (&["--node-name", "node-c"], &[]),
    (&["--cluster", "cluster1", "--last", "1"], &["boom-502"]),
    (
        &["--not", "--http-method", "get", "-t", "l7"],
        &["delete", "delete-403", "empty", "empty-200", "unimplemented", "unimplemented-200"],
    ),
    (&["--not", "--verdict", "FORWARDED", "--not", "--verdict", "DROPPED"], &["audited", "boom-502"]),
    (&["--to-fqdn", "*.example.com", WHOLE], &["world-verdict", "world"]),
    (&["--fqdn", "API.example.com.", "--type", "drop"], &["world"]),
    (&["--from-fqdn", "*", "--to-fqdn", "*"], &[]),
    (&["--reply", "-t", "l7"], ANSWERS),
    (&["--not-reply", "--verdict", "DROPPED"], DROPPED),
    (&["--allowlist", r#"{"http_method":["DELETE"]}"#, "--denylist", r#"{"reply":[true]}"#], &["delete"]),
    (&["--first", "2"], &["items", "items-200"]),
    (&["--last", "2"], &["boom", "boom-502"]),
    (&["--last", "3", "--verdict", "DROPPED"], &["world", "datagram-verdict", "datagram"]),
    (&["--first", "1", "--verdict", "DROPPED"], &["delete"]),
];

/// What an older command line asks too.
pub(crate) const OLDER_ROWS: &[Row] = &[
    (&["--all"], ALL),
    (&["--verdict", "DROPPED"], DROPPED),
    (&["-n", "payments", "--protocol", "http"], HTTP),
    (&["--namespace", "payments", "--service", "checkout", "--protocol", "http"], &["cart", "cart-200"]),
    (&["--to-service", "payments/checkout", "--protocol", "http"], &["cart"]),
    (&["--namespace", "payments", "--type", "drop"], REFUSED),
];

/// Rows with facts of the node itself.
pub(crate) const OWN_ROWS: &[Row] = &[
    (&["--uuid", "{uuid}"], &["delete"]),
    (&["--from-identity", "{web}", "--last", "1"], &["boom"]),
    (&["--identity", "{ledger}"], &["entering-verdict", "entering"]),
    (&["--to-ip", "{checkout}", "--protocol", "udp"], &["datagram-verdict", "datagram"]),
    (&["--since", "{delete}", "--until", "{empty}"], &["delete", "delete-403", "empty"]),
    (&["--until", "{items-200}"], &["items", "items-200"]),
];

/// What a row is asked with.
pub(crate) fn fill(stage: &Stage, arguments: &[&str]) -> Result<Vec<String>> {
    let text = |name: &str, pointer: &str| -> Result<String> {
        let value = stage.told(name)?.flow.0.pointer(pointer).cloned().unwrap_or_default();
        Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    // The CLI takes no `Z`.
    let time = |name: &str| Ok::<_, anyhow::Error>(text(name, "/time")?.replace('Z', "+00:00"));
    let facts = [
        ("{uuid}", text("delete", "/flow/uuid")?),
        ("{web}", text("items", "/flow/source/identity")?),
        ("{ledger}", text("entering", "/flow/destination/identity")?),
        ("{checkout}", stage.checkout.v4.to_string()),
        ("{delete}", time("delete")?),
        ("{empty}", time("empty")?),
        ("{items-200}", time("items-200")?),
    ];
    let filled = |argument: &&str| {
        let fact = facts.iter().find(|(name, _)| name == argument);
        fact.map_or_else(|| (*argument).to_owned(), |(_, fact)| fact.clone())
    };
    Ok(arguments.iter().map(filled).collect())
}

/// Asks every row of these nodes' records, and compares every line.
pub(crate) fn ask(cli: &Cli, target: &Target, stages: &[&Stage], rows: &[Row]) -> Result<()> {
    let mut wrong = Vec::new();
    for &(arguments, names) in rows {
        let of_one = arguments.iter().any(|argument| argument.starts_with("payments"));
        let asked: Vec<&Stage> = stages.iter().copied().take(if of_one { 1 } else { stages.len() }).collect();
        let mut expected = expected(&asked, names)?;
        if !cli.masks(target) || arguments.contains(&WHOLE) {
            expected = expected.iter().map(|line| named(line)).collect();
        }
        let said = cli.run(target, &[&["observe".to_owned()][..], &fill(asked[0], arguments)?].concat())?;
        if !said.is_well() || said.lines() != expected {
            let missing: Vec<_> = expected.iter().filter(|line| !said.lines().contains(&line.as_str())).collect();
            let others: Vec<_> =
                said.lines().into_iter().filter(|line| !expected.iter().any(|own| own == line)).collect();
            let (exit, err, count) = (said.exit, &said.err, said.lines().len());
            wrong.push(format!(
                "hubble observe {arguments:?}: exit code {exit:?}, {count} lines and {err:?}; missing are {missing:#?}, wrong {others:#?}"
            ));
        }
    }
    ensure!(wrong.is_empty(), "{} of {} rows: {}", wrong.len(), rows.len(), wrong.join("\n"));
    Ok(())
}

/// Lines of what has one of these names, of all nodes in the order of time.
pub(crate) fn expected(stages: &[&Stage], names: &[&str]) -> Result<Vec<String>> {
    let mut found: Vec<&Told> = Vec::new();
    for stage in stages {
        for name in names {
            found.push(stage.told(name)?);
        }
    }
    found.sort_by_key(|told| moment(&told.flow));
    Ok(found.into_iter().map(|told| told.line.clone()).collect())
}
