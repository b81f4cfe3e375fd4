use super::*;

fn parsed(text: &str) -> FlowMetric {
    FlowMetric::try_from(text.to_owned()).unwrap()
}

fn refused(text: &str) -> String {
    FlowMetric::try_from(text.to_owned()).unwrap_err()
}

#[test]
fn hubbles_texts_are_understood() {
    let metric = parsed("httpV2:labelsContext=traffic_direction,source_ip,source_ip;exemplars=true");
    assert_eq!((metric.name, metric.exemplars), (MetricName::HttpV2, true));
    // In Hubble's order, each once.
    assert_eq!(metric.context.labels, [ContextLabel::SourceIp, ContextLabel::TrafficDirection]);
    let metric = parsed("drop:sourceContext=pod|dns;DestinationIngressContext=Workload-Name;;");
    assert_eq!(metric.context.source.any, [Identifier::Pod, Identifier::Dns]);
    assert_eq!(metric.context.destination.ingress, Some(vec![Identifier::WorkloadName]));
    assert!(metric.context.source.is_label() && metric.context.destination.is_label());
    assert!(!parsed("flow").context.source.is_label());
    let metric = parsed("flows-to-world:any-drop;port;syn-only");
    assert_eq!(metric.world, WorldOptions { any_drop: true, port: true, syn_only: true });
    for (name, text) in MetricName::ALL {
        assert_eq!(parsed(text).name, name);
    }
    assert_eq!(String::from(parsed("flow:sourceContext=ip")), "flow:sourceContext=ip");
}

#[test]
fn what_is_wrong_is_told_with_what_there_is() {
    for (text, wanted) in [
        ("flows", "unknown metric \"flows\"; write one of flow, drop, http, httpV2, "),
        ("flow:sourceContexts=pod", "flow: unknown option \"sourceContexts\"; write one of sourceContext, "),
        ("flow:exemplars=true", "flow: unknown option \"exemplars\"; "),
        ("http:exemplars=yes", "exemplars: \"yes\"; write true or false"),
        (
            "flow:sourceContext=pods",
            "sourceContext: unknown context \"pods\"; write some of identity, namespace, pod, ",
        ),
        ("flow:sourceContext=", "sourceContext: no context; write for example sourceContext="),
        ("flow:labelsContext=source_pods", "labelsContext: unknown label \"source_pods\"; write some of source_ip, "),
        ("flow:labelsContext", "labelsContext: no label; write for example labelsContext=source_namespace"),
    ] {
        let error = refused(text);
        assert!(error.starts_with(wanted), "{text}: {error}");
    }
}

#[test]
fn the_default_ones_are_all_there() {
    let names: Vec<MetricName> = FlowMetric::defaults().iter().map(|metric| metric.name).collect();
    assert_eq!(names, [MetricName::Flow, MetricName::Drop, MetricName::Policy, MetricName::HttpV2]);
    assert_eq!(problems(&FlowMetric::defaults()), [""; 0]);
}

#[test]
fn two_metrics_of_one_name_are_refused() {
    let twice = problems(&[parsed("flow"), parsed("drop"), parsed("flow:sourceContext=pod")]);
    assert_eq!(twice, ["flows.metrics[2]: \"flow\" is there before; give each metric once"]);
    let both = problems(&[parsed("httpV2"), parsed("http")]);
    assert!(both.len() == 1 && both[0].starts_with("flows.metrics[1]: http and httpV2 "), "{both:?}");
}
