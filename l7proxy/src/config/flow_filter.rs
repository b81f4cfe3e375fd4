//! Filters of flows in a file: Hubble's `flow.FlowFilter` with the names of its .proto file, as `hubble observe --print-raw-filters`
//! shows them: `{verdict: [DROPPED], event_type: [{type: 129}]}`.
//!
//! Owns their shape. What they mean is Hubble's. Start at [`FlowFilter`].

use std::marker::PhantomData;

use hubble_api::flow::{self, DropReason, IpVersion, TrafficDirection, Verdict};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A message of lists, and how it becomes that of the API.
macro_rules! lists {
    ($(#[$about:meta])* $name:ident { $($field:ident: $kind:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $(pub $field: Vec<$kind>,)*
            pub experimental: Option<Experimental>,
        }

        impl From<$name> for flow::$name {
            fn from(filter: $name) -> Self {
                Self {
                    $($field: filter.$field.into_iter().map(Into::into).collect(),)*
                    experimental: filter.experimental.map(Into::into),
                }
            }
        }
    };
}

lists! {
    /// All fields that have values must match; of the values of a field, one.
    #[expect(missing_docs, reason = "the fields are those of flow.FlowFilter")]
    FlowFilter {
        uuid: String,
        source_ip: String,
        source_ip_xlated: String,
        source_pod: String,
        source_fqdn: String,
        source_label: String,
        source_service: String,
        source_workload: Workload,
        source_cluster_name: String,
        source_identity: u32,
        source_port: String,
        destination_ip: String,
        destination_pod: String,
        destination_fqdn: String,
        destination_label: String,
        destination_service: String,
        destination_workload: Workload,
        destination_cluster_name: String,
        destination_identity: u32,
        destination_port: String,
        traffic_direction: Named<TrafficDirection>,
        verdict: Named<Verdict>,
        drop_reason_desc: Named<DropReason>,
        interface: NetworkInterface,
        event_type: EventType,
        http_status_code: String,
        protocol: String,
        reply: bool,
        encrypted: bool,
        dns_query: String,
        http_method: String,
        http_path: String,
        http_url: String,
        http_header: HttpHeader,
        tcp_flags: TcpFlags,
        node_name: String,
        node_labels: String,
        ip_version: Named<IpVersion>,
        trace_id: String,
        ip_trace_id: u64,
    }
}

/// Kind and name of what owns a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of flow.Workload")]
pub struct Workload {
    pub name: String,
    pub kind: String,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of flow.NetworkInterface")]
pub struct NetworkInterface {
    pub index: u32,
    pub name: String,
}

/// A kind of event: 129 is a message of HTTP, 1 a drop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of flow.EventTypeFilter")]
pub struct EventType {
    pub r#type: i32,
    pub match_sub_type: bool,
    pub sub_type: i32,
}

/// A header field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of flow.HTTPHeader")]
pub struct HttpHeader {
    pub key: String,
    pub value: String,
}

/// Flags that must be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the fields are those of flow.TCPFlags")]
#[expect(clippy::struct_excessive_bools, reason = "the fields are those of flow.TCPFlags")]
pub struct TcpFlags {
    pub fin: bool,
    pub syn: bool,
    pub rst: bool,
    pub psh: bool,
    pub ack: bool,
    pub urg: bool,
    pub ece: bool,
    pub cwr: bool,
    pub ns: bool,
}

/// What is experimental in Hubble.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the field is that of flow.FlowFilter.Experimental")]
pub struct Experimental {
    pub cel_expression: Vec<String>,
}

/// A value of an enum of Hubble's API, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<E> {
    number: i32,
    of: PhantomData<E>,
}

/// An enum of Hubble's API.
pub trait Names: Sized {
    /// Its name, for people.
    const WHAT: &'static str;
    /// The value with a name.
    fn of_name(name: &str) -> Option<i32>;
    /// The name of a value.
    fn name(number: i32) -> Option<&'static str>;
}

macro_rules! names {
    ($($kind:ty: $what:literal),*) => {$(
        impl Names for $kind {
            const WHAT: &'static str = $what;

            fn of_name(name: &str) -> Option<i32> {
                Self::from_str_name(name).map(i32::from)
            }

            fn name(number: i32) -> Option<&'static str> {
                Self::try_from(number).ok().map(|value| value.as_str_name())
            }
        }
    )*};
}

names! {
    Verdict: "verdict, as DROPPED",
    DropReason: "drop reason, as POLICY_DENIED",
    IpVersion: "IP version, as IPv4",
    TrafficDirection: "direction, as EGRESS"
}

impl<'de, E: Names> Deserialize<'de> for Named<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let number = E::of_name(&name).ok_or_else(|| de::Error::custom(format_args!("{name:?} is no {}", E::WHAT)))?;
        Ok(Self { number, of: PhantomData })
    }
}

impl<E: Names> Serialize for Named<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(E::name(self.number).unwrap_or_default())
    }
}

impl<E> From<Named<E>> for i32 {
    fn from(value: Named<E>) -> Self {
        value.number
    }
}

impl From<Workload> for flow::Workload {
    fn from(Workload { name, kind }: Workload) -> Self {
        Self { name, kind }
    }
}

impl From<NetworkInterface> for flow::NetworkInterface {
    fn from(NetworkInterface { index, name }: NetworkInterface) -> Self {
        Self { index, name }
    }
}

impl From<EventType> for flow::EventTypeFilter {
    fn from(EventType { r#type, match_sub_type, sub_type }: EventType) -> Self {
        Self { r#type, match_sub_type, sub_type }
    }
}

impl From<HttpHeader> for flow::HttpHeader {
    fn from(HttpHeader { key, value }: HttpHeader) -> Self {
        Self { key, value }
    }
}

impl From<TcpFlags> for flow::TcpFlags {
    fn from(TcpFlags { fin, syn, rst, psh, ack, urg, ece, cwr, ns }: TcpFlags) -> Self {
        Self { fin, syn, rst, psh, ack, urg, ece, cwr, ns }
    }
}

impl From<Experimental> for flow::flow_filter::Experimental {
    fn from(Experimental { cel_expression }: Experimental) -> Self {
        Self { cel_expression }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<FlowFilter>, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn filters_are_written_as_hubble_shows_them() {
        let text = r#"
- {"verdict":["DROPPED"],"event_type":[{"type":129}]}
- verdict: [ERROR]
  drop_reason_desc: [POLICY_DENIED]
  ip_version: [IPv4]
  traffic_direction: [EGRESS]
  tcp_flags: [{SYN: true}]
  source_workload: [{kind: Job}]
  http_header: [{key: A, value: b}]
  interface: [{name: eth0}]
  ip_trace_id: [18446744073709551615]
  experimental: {cel_expression: [x]}
"#;
        let filters = read(text).unwrap();
        let wire: Vec<flow::FlowFilter> = filters.iter().cloned().map(Into::into).collect();
        let event = flow::EventTypeFilter { r#type: 129, ..Default::default() };
        let first = flow::FlowFilter { verdict: vec![2], event_type: vec![event], ..Default::default() };
        assert_eq!(wire[0], first);
        let second = flow::FlowFilter {
            verdict: vec![3],
            drop_reason_desc: vec![133],
            ip_version: vec![1],
            traffic_direction: vec![2],
            tcp_flags: vec![flow::TcpFlags { syn: true, ..Default::default() }],
            source_workload: vec![flow::Workload { kind: "Job".to_owned(), ..Default::default() }],
            http_header: vec![flow::HttpHeader { key: "A".to_owned(), value: "b".to_owned() }],
            interface: vec![flow::NetworkInterface { name: "eth0".to_owned(), ..Default::default() }],
            ip_trace_id: vec![u64::MAX],
            experimental: Some(flow::flow_filter::Experimental { cel_expression: vec!["x".to_owned()] }),
            ..Default::default()
        };
        assert_eq!(wire[1], second);
        let shown = serde_json::to_string(&filters).unwrap();
        assert_eq!(read(&shown).unwrap(), filters, "as it is shown it is read again");
    }

    #[test]
    fn what_is_no_field_or_value_is_refused_with_its_place() {
        for (text, place, told) in [
            ("- verdict: [DROPPED]\n  verdicts: [DROPPED]", "line 2", "verdicts"),
            ("- uuid: []\n- event_type:\n  - {kind: 1}", "line 3", "kind"),
            ("- verdict: [DROPPED]\n- verdict: [dropped]", "line 2", "\"dropped\" is no verdict, as DROPPED"),
            ("- drop_reason_desc: [X]", "line 1", "\"X\" is no drop reason, as POLICY_DENIED"),
            ("- source_port: 80", "line 1", "sequence"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(place) && error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn no_field_is_missing() {
        let shown = serde_json::to_value(FlowFilter::default()).unwrap();
        let mut names: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let descriptors: prost_types::FileDescriptorSet = prost::Message::decode(hubble_api::DESCRIPTORS).unwrap();
        let message = descriptors.file.iter().flat_map(|file| &file.message_type).find(|it| it.name() == "FlowFilter");
        let mut wanted: Vec<&str> =
            message.unwrap().field.iter().map(prost_types::FieldDescriptorProto::name).collect();
        wanted.sort_unstable();
        assert_eq!(names, wanted);
    }
}
