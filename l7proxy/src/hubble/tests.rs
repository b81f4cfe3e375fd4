use std::time::SystemTime;

use hubble_api::{
    flow as api,
    observer::{GetFlowsRequest, GetFlowsResponse, get_flows_response::ResponseTypes, observer_client::ObserverClient},
};
use tonic::{Code, Streaming, transport::Channel};

use super::*;

mod bounds;
mod calls;
mod flows;
mod others;
mod stage;
mod taken;
mod tls;

use stage::{Stage, numbers};
