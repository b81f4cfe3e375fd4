//! Which call goes where.
//!
//! Owns the table of methods, the bound of streams at once, and what every answer says of us. Never reads a record. Start at
//! [`Service::call`].

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Status, body::Body};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_reflection::server as reflection;

use super::{
    Limits, Places, agent,
    call::{self, Bounded, Held},
    calls::Calls,
    get_flows,
    observer::Observer,
    peers,
};
use crate::metrics::{Counters, count};

/// What the command `hubble` compares its own version with: the level of the API, not a version of ours.
const API_LEVEL: HeaderValue = HeaderValue::from_static("1.17.0");
/// What it asks `Health/Check` for.
const HEALTH_NAME: &str = "hubble.server.Observer";
/// Methods whose answers go on, besides those below `/observer.Observer/` and `/peer.Peer/`.
const STREAMS: [&str; 3] = [
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Of every service that there is.
const DESCRIPTORS: [&[u8]; 4] = [
    hubble_api::DESCRIPTORS,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
/// A service of somebody else's.
type Handler = Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>;

/// What `Health` says of us.
pub(super) struct Health(HealthReporter);

impl Health {
    pub(super) async fn is_well(&self) {
        self.0.set_service_status(HEALTH_NAME, ServingStatus::Serving).await;
    }
}

/// All methods.
#[derive(Clone)]
pub(super) struct Service {
    observer: Arc<Observer>,
    health: Handler,
    reflection: Handler,
    reflection_alpha: Handler,
    pub(super) streams: Places,
    pub(super) calls: Calls,
    limits: Limits,
    counters: Arc<Counters>,
}

impl Service {
    /// Reflection cannot be made of descriptors that are broken.
    pub(super) fn new(
        observer: Arc<Observer>,
        limits: Limits,
        counters: Arc<Counters>,
    ) -> Result<(Self, Health), String> {
        let (health, service) = tonic_health::server::health_reporter();
        let described = || {
            let reflection = reflection::Builder::configure().include_reflection_service(false);
            DESCRIPTORS.into_iter().fold(reflection, reflection::Builder::register_encoded_file_descriptor_set)
        };
        let service = Self {
            observer,
            health: handler(service),
            reflection: handler(described().build_v1().map_err(|error| error.to_string())?),
            reflection_alpha: handler(described().build_v1alpha().map_err(|error| error.to_string())?),
            streams: Places::new(limits.streams),
            calls: Calls::new(&DESCRIPTORS).map_err(|error| error.to_string())?,
            limits,
            counters,
        };
        Ok((service, Health(health)))
    }

    /// Answers one call.
    pub(super) async fn call(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let is_grpc = request.method() == Method::POST
            && request
                .headers()
                .get(header::CONTENT_TYPE)
                .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if !is_grpc {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Ok(response);
        }
        let (limit, counters) = (self.limits.request_bytes, Arc::clone(&self.counters));
        let method = self.calls.of(request.uri().path());
        let request = request.map(|body| {
            let body = Bounded::new(body, limit, counters);
            match &method {
                Some(method) => Body::new(method.begin(body)),
                None => Body::new(body),
            }
        });
        let mut response = self.answer(request).await.unwrap_or_else(Status::into_http);
        if let Some(method) = &method {
            response = method.answer(response);
        }
        response.headers_mut().insert("hubble-server-version", API_LEVEL);
        Ok(response)
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let path = request.uri().path().to_owned();
        if let Some(method) = path.strip_prefix("/observer.Observer/") {
            return self.observe(method, request).await;
        }
        let handler = match path.rsplit_once('/').map(|(service, _)| service) {
            Some("/peer.Peer") if path == "/peer.Peer/Notify" => {
                let place = self.place()?;
                return Ok(held(peers::notify(&self.observer, request).await?, place));
            }
            Some("/grpc.health.v1.Health") => &self.health,
            Some("/grpc.reflection.v1.ServerReflection") => &self.reflection,
            Some("/grpc.reflection.v1alpha.ServerReflection") => &self.reflection_alpha,
            _ => return Err(unknown(&path)),
        };
        let place = if STREAMS.contains(&path.as_str()) { Some(self.place()?) } else { None };
        Ok(held(handler(request).await, place))
    }

    async fn observe(&self, method: &str, request: Request<Body>) -> Result<Response<Body>, Status> {
        let observer = &self.observer;
        match method {
            "ServerStatus" => Ok(call::one(&observer.server_status(call::ask(request).await?))),
            "GetNodes" => Ok(call::one(&observer.nodes(call::ask(request).await?))),
            "GetNamespaces" => Ok(call::one(&observer.namespaces(call::ask(request).await?))),
            "GetFlows" => {
                let place = self.place()?;
                Ok(held(get_flows::answer(observer, call::ask(request).await?)?, place))
            }
            "GetAgentEvents" => {
                let place = self.place()?;
                Ok(held(agent::answer(observer, &call::ask(request).await?)?, place))
            }
            "GetDebugEvents" => {
                let place = self.place()?;
                Ok(held(agent::debug_events(observer, &call::ask(request).await?)?, place))
            }
            _ => Err(unknown(&format!("/observer.Observer/{method}"))),
        }
    }

    /// For a stream that may take long.
    fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.streams.take().ok_or_else(|| {
            count(&self.counters.hubble_streams_refused);
            Status::resource_exhausted(format!(
                "{} streams are open, which is all that there may be",
                self.limits.streams
            ))
        })
    }
}

fn held(response: Response<Body>, held: impl Send + Unpin + 'static) -> Response<Body> {
    response.map(|body| Body::new(Held::new(body, held)))
}

fn unknown(path: &str) -> Status {
    Status::unimplemented(format!("unknown method {path}"))
}

fn handler<S>(service: S) -> Handler
where
    S: tonic::codegen::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    Arc::new(move |request| {
        let answering = service.clone().call(request);
        Box::pin(async move {
            match answering.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    })
}
