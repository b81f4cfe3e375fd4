//! The command line asks a node itself.

use std::process::{Command, Stdio};

use anyhow::Result;
use conformance::{
    client::hubble::{Cli, Said, Target},
    eventually, missing,
};
use serde_json::{Value, json as value};

use crate::{
    json,
    served::{Secrets, Served, server_name, settle},
    stage::{ALL, PAYMENTS},
    table::{self, DECIDED, OLDER_ROWS, OWN_ROWS, ROWS, expected},
};

struct Direct {
    cli: Cli,
    older: Cli,
    served: Served,
}

/// A node with everything done, and both command lines; nothing where a program is missing.
fn begin(secrets: Option<&Secrets>) -> Result<Option<Direct>> {
    let (Some(cli), Some(older)) = (Cli::find(), Cli::find_older()) else {
        missing("the Hubble CLI")?;
        return Ok(None);
    };
    let Some(served) = Served::new(secrets)? else {
        missing("gRPC's interoperability client and server")?;
        return Ok(None);
    };
    settle(&cli, &served.unix(), ALL.len())?;
    Ok(Some(Direct { cli, older, served }))
}

#[test]
fn every_question_by_a_socket_and_by_tcp() -> Result<()> {
    let Some(Direct { cli, older, served }) = begin(None)? else { return Ok(()) };
    for target in [served.unix(), served.tcp()] {
        for rows in [ROWS, OWN_ROWS] {
            table::ask(&cli, &target, &[&served.stage], rows)?;
        }
        table::ask(&older, &target, &[&served.stage], OLDER_ROWS)?;
    }
    Ok(())
}

#[test]
fn every_question_by_mutual_tls() -> Result<()> {
    let secrets = Secrets::new()?;
    let Some(Direct { cli, older, served }) = begin(Some(&secrets))? else { return Ok(()) };
    let target = served.tls(&secrets, Some(&secrets.relay));
    for rows in [ROWS, OWN_ROWS] {
        table::ask(&cli, &target, &[&served.stage], rows)?;
    }
    table::ask(&older, &target, &[&served.stage], OLDER_ROWS)?;
    // The socket has none: who reaches it is the file system's matter.
    table::ask(&cli, &served.unix(), &[&served.stage], OLDER_ROWS)
}

#[test]
fn who_shows_no_good_certificate_is_told_nothing() -> Result<()> {
    let (secrets, others) = (Secrets::new()?, Secrets::new()?);
    let Some(Direct { cli, served, .. }) = begin(Some(&secrets))? else { return Ok(()) };
    let refused = |target: &Target| -> Result<String> {
        let said = cli.run(target, &["observe", "--all", "--timeout", "3s"])?;
        assert_eq!((said.exit, said.out.as_str()), (Some(1), ""), "{said:#?}");
        Ok(said.err)
    };
    for target in [served.tls(&secrets, None), served.tls(&secrets, Some(&others.relay)), served.tcp()] {
        let told = refused(&target)?;
        assert!(told.contains("code = Unavailable"), "{target:?}: {told}");
    }
    // Nothing older than TLS 1.3.
    let old = ["s_client", "-tls1_2", "-connect", &served.address.to_string()].map(str::to_owned);
    let old = Command::new("openssl").args(old).stdin(Stdio::null()).output()?;
    let told = String::from_utf8_lossy(&old.stderr).into_owned();
    assert!(!old.status.success() && told.contains("alert protocol version"), "{told}");
    // And nobody takes us for another node.
    let name = server_name(PAYMENTS).replace("cluster1", "cluster2");
    let other = Target::tls(served.address, &name, &secrets.authority, Some(&secrets.relay));
    let told = refused(&other)?;
    assert!(told.contains("x509"), "{told}");
    let well = cli.run(&served.tls(&secrets, Some(&secrets.relay)), &["observe", "--last", "1"])?;
    assert_eq!(well.lines(), expected(&[&served.stage], &["boom-502"])?);
    Ok(())
}

#[test]
fn a_node_tells_of_itself() -> Result<()> {
    let Some(Direct { cli, older, served }) = begin(None)? else { return Ok(()) };
    let ask = |target: &Target, words: &str| -> Result<Said> {
        let said = cli.run(target, &words.split(' ').collect::<Vec<_>>())?;
        assert!(said.is_well(), "{words}: {said:#?}");
        Ok(said)
    };
    for (target, name) in
        [(served.unix(), format!("unix://{}", served.socket().display())), (served.tcp(), served.address.to_string())]
    {
        for cli in [&cli, &older] {
            let said = cli.run(&target, &["status"])?;
            let lines = said.lines();
            assert!(said.is_well() && lines.len() == 3, "no line of nodes: {said:#?}");
            assert_eq!(lines[0], format!("Healthcheck (via {name}): Ok"));
            assert!(lines[1].starts_with(&format!("Current/Max Flows: {}/", ALL.len())), "{said:#?}");
            let rate = lines[2].strip_prefix("Flows/s: ").and_then(|rate| rate.parse::<f64>().ok());
            assert!(rate.is_some_and(|rate| rate > 0.0), "{said:#?}");
        }
        let status: Value = serde_json::from_str(&ask(&target, "status -o json")?.out)?;
        let number = |key: &str| status[key].as_str().and_then(|text| text.parse::<usize>().ok());
        assert_eq!((number("num_flows"), number("seen_flows")), (Some(ALL.len()), Some(ALL.len())), "{status}");
        assert!(number("max_flows").is_some_and(|most| most > 100_000), "{status}");
        let uptime = number("uptime_ns");
        assert!(uptime.is_some_and(|uptime| uptime > 0), "{status}");
        let dict = ask(&target, "status -o dict")?.out;
        for line in ["NUM CONNECTED NODES: N/A", "NUM UNAVAIL. NODES: N/A", "VERSION: l7proxy "] {
            assert!(dict.contains(line), "{dict}");
        }

        let nodes: Value = serde_json::from_str(&ask(&target, "list nodes -o json")?.out)?;
        let [node] = nodes.as_array().map(Vec::as_slice).unwrap_or_default() else { panic!("{nodes}") };
        assert_eq!(
            (&node["name"], &node["num_flows"]),
            (&value!("cluster1/node-a"), &value!(ALL.len().to_string())),
            "{nodes}"
        );
        let table = ask(&target, "list nodes -o wide")?.out;
        let row: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!((row[0], row[1]), ("cluster1/node-a", "Connected"), "{table}");
        assert!(row.contains(&served.address.to_string().as_str()) && row.ends_with(&["Disabled"]), "{table}");

        let namespaces = ask(&target, "list namespaces -o wide")?.out;
        let rows: Vec<Vec<&str>> = namespaces.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows, [["NAMESPACE", "CLUSTER"], ["payments", "cluster1"]]);
        assert!(ask(&target, "reflect")?.out.contains("observer"));
    }
    Ok(())
}

#[test]
fn json_is_what_the_file_has() -> Result<()> {
    let Some(Direct { cli, served, .. }) = begin(None)? else { return Ok(()) };
    let said = cli.run(&served.unix(), &["observe", "--last", "100", "-o", "json"])?;
    assert!(said.is_well(), "{said:#?}");
    json::is_of_file(&said, &served.stage.told.iter().collect::<Vec<_>>())?;
    // Of a drop, for programs: who dropped.
    let said = cli.run(&served.unix(), &["observe", "-n", "payments", "--type", "drop", "-o", "json"])?;
    let drops: Vec<Value> = said.lines().into_iter().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let by = |drop: &Value, key: &str| drop["flow"][key][0]["name"].as_str().unwrap_or_default().to_owned();
    let names: Vec<_> =
        drops.iter().map(|drop| (by(drop, "egress_denied_by"), by(drop, "ingress_denied_by"))).collect();
    let [out, into] = [("web", ""), ("", "ledger")].map(|(out, into)| (out.to_owned(), into.to_owned()));
    assert_eq!(names, [&out, &out, &into, &out, &out].map(Clone::clone), "{said:#?}");
    let mut arguments = vec!["observe", "-o", "json", "--field-mask", "time,verdict,l7.http.method"];
    arguments.extend(["--verdict", "DROPPED", "-t", "l7", "--first", "1"]);
    let masked: Value = serde_json::from_str(&cli.run(&served.unix(), &arguments)?.out)?;
    let time = &served.stage.told("delete")?.flow.0["time"];
    let flow = value!({ "time": time, "verdict": "DROPPED", "l7": { "http": { "method": "DELETE" } } });
    assert_eq!(masked, value!({ "flow": flow, "node_name": "cluster1/node-a", "time": time }));
    Ok(())
}

#[test]
fn every_form_of_output() -> Result<()> {
    let Some(Direct { cli, served, .. }) = begin(None)? else { return Ok(()) };
    let dict = cli.run(&served.unix(), &["observe", "--all", "-o", "dict"])?;
    assert!(dict.is_well(), "{dict:#?}");
    let records: Vec<&str> = dict.out.split("------------\n").collect();
    assert_eq!(records.len(), ALL.len());
    for word in [
        "  TIMESTAMP: ",
        "     SOURCE: payments/web-7c9f-abcde:",
        "    VERDICT: FORWARDED",
        "    SUMMARY: HTTP/1.1 GET ",
    ] {
        assert!(records[0].contains(word), "{}", records[0]);
    }
    let table = cli.run(&served.unix(), &["observe", "--last", "20", "-o", "table"])?;
    assert!(table.is_well() && table.out.starts_with("TIMESTAMP "), "{table:#?}");
    assert_eq!(table.lines().len(), 1 + 20);
    let by = cli.run(&served.unix(), &["observe", "-t", "policy-verdict", "--print-policy-names"])?;
    let named = |name: &&str| {
        let policy = if *name == "entering-verdict" { "ledger" } else { "web" };
        let line =
            served.stage.told(name)?.line.replace("DENIED", &format!("DENIED BY {policy} (CiliumNetworkPolicy)"));
        anyhow::Ok(line.replace("AUDITED", "AUDITED BY trial (CiliumNetworkPolicy)"))
    };
    assert_eq!(by.lines(), DECIDED.iter().map(named).collect::<Result<Vec<_>>>()?, "{by:#?}");
    let named = cli.run(&served.unix(), &["observe", "--last", "1", "--print-node-name"])?;
    assert!(named.out.contains(" [cluster1/node-a]: "), "{named:#?}");
    Ok(())
}

#[test]
fn records_are_followed() -> Result<()> {
    let Some(Direct { cli, mut served, .. }) = begin(None)? else { return Ok(()) };
    let target = served.unix();
    let mut last = cli.follow(&target, &["observe", "-f", "--last", "1"])?;
    let mut since = cli.follow(&target, &["observe", "-f", "--since", "10m", "-t", "l7", "--http-status", "200"])?;
    let mut denied = cli.follow(&target, &["observe", "-f", "--last", "1", "--verdict", "DROPPED"])?;
    assert_eq!(last.wait_lines(1)?, expected(&[&served.stage], &["boom-502"])?);
    let before = ["items-200", "cart-200", "six-200", "empty-200", "unimplemented-200"];
    assert_eq!(since.wait_lines(before.len())?, expected(&[&served.stage], &before)?);
    assert_eq!(denied.wait_lines(1)?, expected(&[&served.stage], &["datagram"])?);
    served.stage.get("later", "later-200", 8080, "/v1/later", "200")?;
    served.stage.get("last", "last-200", 8080, "/v1/last", "200")?;
    let later = expected(&[&served.stage], &["boom-502", "later", "later-200", "last", "last-200"])?;
    assert_eq!(last.wait_lines(later.len())?, later);
    assert_eq!(since.wait_lines(before.len() + 2)?[before.len()..], [later[2].clone(), later[4].clone()]);
    for following in [last, since, denied] {
        let said = following.interrupt()?;
        assert!(said.exit == Some(0) && said.err.is_empty(), "{said:#?}");
    }
    // 20, where nothing else is said.
    let names: Vec<_> = served.stage.told.iter().map(|told| told.name).collect();
    let said = cli.run(&target, &["observe"])?;
    assert_eq!(said.lines(), expected(&[&served.stage], &names[names.len() - 20..])?, "{said:#?}");
    // Counted from where it begins.
    let said = cli.run(&target, &["observe", "--last", "3", "--since", "1h"])?;
    assert_eq!(said.lines(), expected(&[&served.stage], &names[..3])?, "{said:#?}");
    let said = cli.run(&target, &["observe", "--since", "1h", "--until", "30m"])?;
    assert!(said.is_well() && said.out.is_empty(), "{said:#?}");
    Ok(())
}

/// Arguments, and what is said of them.
pub(crate) const WRONG: &[(&str, &str)] = &[
    ("--http-status 9xx", "invalid http status code filter: invalid status code prefix: \"9xx\""),
    ("--protocol foo", "invalid protocol filter: unknown protocol: \"foo\""),
    ("--ip 1.2.3", "invalid IP address \"1.2.3\" in filter: "),
    ("--port abc", "invalid source port filter: invalid port \"abc\": "),
    ("--http-path [", "invalid http path filter: [: error parsing regexp"),
    (
        "-t drop --http-status 404",
        "filtering by http status code requires the event type filter to only match 'l7' events",
    ),
];

#[test]
fn what_is_wrong_is_said_as_hubble_says_it() -> Result<()> {
    let Some(Direct { cli, older, served }) = begin(None)? else { return Ok(()) };
    for target in [served.unix(), served.tcp()] {
        for cli in [&cli, &older] {
            for (arguments, wrong) in WRONG {
                let words: Vec<&str> = ["observe"].into_iter().chain(arguments.split(' ')).collect();
                let said = cli.run(&target, &words)?;
                assert_eq!((said.exit, said.out.as_str()), (Some(1), ""), "{arguments}: {said:#?}");
                // Nothing before it, such as the name of an error code.
                assert!(said.err.starts_with(wrong), "{arguments}: {said:#?}");
            }
        }
        // An expression that we cannot judge by is not left out.
        let said = cli.run(&target, &["observe", "--cel-expression", "_flow.verdict == flow.Verdict.DROPPED"])?;
        assert!(said.exit == Some(1) && said.out.is_empty() && said.err.contains("CEL"), "{said:#?}");
    }
    Ok(())
}

#[test]
fn peers_are_watched() -> Result<()> {
    let Some(Direct { cli, served, .. }) = begin(None)? else { return Ok(()) };
    let mut watched = cli.follow(&served.unix(), &["watch", "peers"])?;
    let own = format!("PEER_ADDED   {} cluster1/node-a", served.address);
    assert_eq!(watched.wait_lines(1)?, [own.as_str()]);
    // It is left open.
    settle(&cli, &served.unix(), ALL.len())?;
    assert_eq!(watched.wait_lines(1)?, [own]);
    drop(watched);

    let secrets = Secrets::new()?;
    let Some(Direct { served, .. }) = begin(Some(&secrets))? else { return Ok(()) };
    let mut watched = cli.follow(&served.unix(), &["watch", "peers"])?;
    let named = format!("PEER_ADDED   {} cluster1/node-a (TLS.ServerName: {})", served.address, server_name(PAYMENTS));
    assert_eq!(watched.wait_lines(1)?, [named]);
    Ok(())
}

#[test]
fn changes_of_policy_are_told() -> Result<()> {
    let Some(Direct { cli, served, .. }) = begin(None)? else { return Ok(()) };
    let target = served.unix();
    let mut told = cli.follow(&target, &["observe", "agent-events", "-f", "--last", "100"])?;
    let begun = told.wait_lines(1)?;
    let revision = served.stage.node.apply("more.yaml", MORE)?;
    let is_told =
        |line: &String| line.contains("POLICY_UPDATED (labels: [") && line.contains(&format!("revision: {revision}"));
    eventually("the change", || Ok(told.wait_lines(begun.len() + 1)?.iter().any(is_told).then_some(())))?;
    let said = told.interrupt()?;
    assert!(
        said.lines().iter().any(|line| line.contains("ENDPOINT_CREATED") && line.contains("pod name: web-7c9f-abcde")),
        "{said:#?}"
    );
    Ok(())
}

const MORE: &str = "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: more, namespace: payments}
spec:
  endpointSelector: {matchLabels: {app: ledger}}
  egress: [{toEntities: [world]}]
";
