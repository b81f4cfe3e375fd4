//! grpcurl and ghz, which know nothing of us but what reflection tells.

use anyhow::Result;
use conformance::{
    client::{
        ghz, grpcurl,
        hubble::{Cli, Said},
    },
    missing,
};
use serde_json::Value;

use crate::{
    served::{Served, settle},
    stage::ALL,
};

const SERVICES: [&str; 5] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "observer.Observer",
    "peer.Peer",
];

#[test]
fn the_api_is_found_by_reflection() -> Result<()> {
    if grpcurl::program().is_none() {
        return missing("grpcurl");
    }
    let Some(cli) = Cli::find() else { return missing("the Hubble CLI") };
    let Some(served) = Served::new(None)? else { return missing("gRPC's interoperability client and server") };
    settle(&cli, &served.unix(), ALL.len())?;
    let socket = served.socket().display().to_string();
    let address = served.address.to_string();
    for place in [&["-plaintext", "-unix", &socket][..], &["-plaintext", &address]] {
        judge(|data, call| {
            let (options, at) = place.split_at(place.len() - 1);
            let data: &[&str] = if data.is_empty() { &[] } else { &["-d", data] };
            let call: Vec<&str> = call.split(' ').collect();
            grpcurl::run(&[options, data, at, &call].concat())
        })?;
    }
    Ok(())
}

#[test]
fn many_calls_at_once_are_answered() -> Result<()> {
    if ghz::program().is_none() {
        return missing("ghz");
    }
    let Some(served) = Served::new(None)? else { return missing("gRPC's interoperability client and server") };
    let address = served.address.to_string();
    for (call, data, number) in [("ServerStatus", "{}", 2000), ("GetFlows", "{\"number\":\"3\"}", 500)] {
        let calls = ghz::run(&address, &format!("observer.Observer/{call}"), data, number)?;
        assert_eq!((calls.count, calls.status_code_distribution.get("OK")), (number, Some(&number)), "{calls:?}");
    }
    let refused = ghz::run(&address, "observer.Observer/GetFlows", "{\"first\":true,\"follow\":true}", 100)?;
    assert_eq!(refused.status_code_distribution.get("InvalidArgument"), Some(&100), "{refused:?}");
    Ok(())
}

/// `call`: with what data, and what.
fn judge(call: impl Fn(&str, &str) -> Result<Said>) -> Result<()> {
    let well = |data: &str, name: &str| -> Result<Said> {
        let said = call(data, name)?;
        assert!(said.is_well(), "{name} {data}: {said:#?}");
        Ok(said)
    };
    assert_eq!(well("", "list")?.lines(), SERVICES);
    for service in SERVICES {
        well("", &format!("describe {service}"))?;
    }
    for service in ["", "hubble.server.Observer"] {
        let said = well(&format!("{{\"service\":\"{service}\"}}"), "grpc.health.v1.Health/Check")?;
        assert!(said.out.contains("\"SERVING\""), "{said:#?}");
    }
    let wrong = |data: &str, name: &str, code: &str, text: &str| -> Result<()> {
        let said = call(data, name)?;
        assert!(said.exit != Some(0) && said.err.contains(code) && said.err.contains(text), "{said:#?}");
        Ok(())
    };
    wrong("{\"service\":\"nobody\"}", "grpc.health.v1.Health/Check", "NotFound", "")?;
    let flows = "observer.Observer/GetFlows";
    wrong("{\"first\":true,\"follow\":true}", flows, "InvalidArgument", "first cannot be specified with follow")?;
    wrong("{\"whitelist\":[{\"protocol\":[\"foo\"]}]}", flows, "Unknown", "invalid protocol filter")?;
    wrong("{\"number\":1,\"fieldMask\":{\"paths\":[\"nonsense\"]}}", flows, "Unknown", "invalid fieldmask")?;
    let status: Value = serde_json::from_str(&well("{}", "observer.Observer/ServerStatus")?.out)?;
    assert_eq!(status["numFlows"], ALL.len().to_string(), "{status}");
    // Each has when and where beside the record.
    let said = well("{\"number\":3}", flows)?;
    let answers: Vec<Value> = serde_json::Deserializer::from_str(&said.out).into_iter().collect::<Result<_, _>>()?;
    assert_eq!(answers.len(), 3);
    for answer in answers {
        assert_eq!((&answer["nodeName"], &answer["time"]), (&"cluster1/node-a".into(), &answer["flow"]["time"]));
    }
    well("{\"number\":1}", "observer.Observer/GetDebugEvents").map(drop)
}
