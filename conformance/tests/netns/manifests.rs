//! Manifests that several tests use.

/// Clients may GET below /read of the API.
pub(crate) const READ_ONLY: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: read-only, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
    - toEndpoints: [{matchLabels: {app: api}}]
      toPorts:
        - ports: [{port: "8080", protocol: TCP}]
          rules:
            http: [{method: GET, path: "/read.*"}]
"#;

/// Clients may do anything below /read of the API.
pub(crate) const READ: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: read, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
    - toEndpoints: [{matchLabels: {app: api}}]
      toPorts:
        - ports: [{port: "8080", protocol: TCP}]
          rules:
            http: [{path: "/read.*"}]
"#;

pub(crate) const READ_ONLY_NAME: &str = "CiliumNetworkPolicy default/read-only";

/// The API is guarded on its own side.
pub(crate) const GUARDED: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: guarded, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: api}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: client}}]
      toPorts:
        - ports: [{port: "8080", protocol: TCP}]
          rules:
            http: [{method: GET, path: "/read.*"}]
"#;

pub(crate) const GUARDED_NAME: &str = "CiliumNetworkPolicy default/guarded";

/// Ports without HTTP rules, TCP and UDP.
pub(crate) const PORTS: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: ports, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
    - toEndpoints: [{matchLabels: {app: api}}]
      toPorts:
        - ports: [{port: "7000", protocol: TCP}, {port: "5353", protocol: UDP}]
"#;
