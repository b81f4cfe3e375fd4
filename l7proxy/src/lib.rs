//! The node process. Modules in the order of a request's path; the ten steps are in `ARCHITECTURE.md`.

// control: what should be true
pub mod admin;
pub mod app;
pub mod command;
pub mod config;
pub mod endpoint;
pub mod policy;
pub mod redirect;
pub mod source;
// data: what happens to a connection
pub mod accept;
pub mod http;
pub mod pod_net;
pub mod reject;
pub mod request;
pub mod upstream;
// evidence: what we say about it
pub mod flow;
pub mod hubble;
pub mod metrics;
// tools
pub mod drain;
pub mod socket_file;
pub mod sys;
pub mod telemetry;
