//! Pieces of `icmps`.

use serde_json::{Value, json};

use super::Place;

/// Every name that Cilium's documentation has, and some that it has not.
const NAMES: [&str; 41] = [
    "EchoReply",
    "DestinationUnreachable",
    "Redirect",
    "Echo",
    "EchoRequest",
    "RouterAdvertisement",
    "RouterSelection",
    "TimeExceeded",
    "ParameterProblem",
    "Timestamp",
    "TimestampReply",
    "Photuris",
    "ExtendedEchoRequest",
    "ExtendedEchoReply",
    "PacketTooBig",
    "MulticastListenerQuery",
    "MulticastListenerReport",
    "MulticastListenerDone",
    "RouterSolicitation",
    "NeighborSolicitation",
    "NeighborAdvertisement",
    "RedirectMessage",
    "RouterRenumbering",
    "ICMPNodeInformationQuery",
    "ICMPNodeInformationResponse",
    "InverseNeighborDiscoverySolicitation",
    "InverseNeighborDiscoveryAdvertisement",
    "HomeAgentAddressDiscoveryRequest",
    "HomeAgentAddressDiscoveryReply",
    "MobilePrefixSolicitation",
    "MobilePrefixAdvertisement",
    "DuplicateAddressRequestCodeSuffix",
    "DuplicateAddressConfirmationCodeSuffix",
    "echoreply",
    "Ping",
    "",
    "08",
    "0x8",
    "+8",
    "8 ",
    "1e1",
];

pub(super) fn pieces() -> Vec<(Place, Value)> {
    let mut fields = Vec::new();
    for name in NAMES {
        fields.push(json!({"type": name}));
        fields.push(json!({"family": "IPv6", "type": name}));
    }
    let numbers = [json!(0), json!(8), json!(255), json!(256), json!(-1), json!(8.5), json!(true), json!(null)];
    fields.extend(numbers.map(|number| json!({"type": number})));
    fields.extend(["0", "8", "255", "256", "-1"].map(|number| json!({"family": "IPv4", "type": number})));
    fields.extend(["IPv4", "IPv5", "ipv4", ""].map(|family| json!({"family": family, "type": 8})));
    fields.extend([json!({"family": null, "type": 8}), json!({}), json!({"type": 8, "code": 0})]);
    let eight = json!({"type": 8});
    let many = |count: usize| json!({"icmps": [{"fields": vec![eight.clone(); count]}]});
    let ports = json!([{"ports": [{"port": "80", "protocol": "TCP"}]}]);
    let mut pieces: Vec<Value> = fields.into_iter().map(|field| json!({"icmps": [{"fields": [field]}]})).collect();
    pieces.extend([
        json!({"icmps": [{"fields": [eight]}, {"fields": [{"family": "IPv6", "type": 128}]}]}),
        json!({"icmps": []}),
        json!({"icmps": null}),
        json!({"icmps": [{}]}),
        json!({"icmps": [null]}),
        json!({"icmps": [{"fields": []}]}),
        json!({"icmps": [{"fields": null}]}),
        json!({"icmps": [{"fields": eight}]}),
        json!({"icmps": [{"field": [eight]}]}),
        json!({"icmps": [{"fields": [eight]}], "toPorts": ports}),
        json!({"icmps": [{"fields": [eight]}], "toPorts": []}),
        json!({"icmps": [], "toPorts": ports}),
        many(40),
        many(41),
    ]);
    pieces.into_iter().map(|piece| (Place::Egress, piece)).collect()
}
