//! Calls, counted by method: begun, ended with which code, and messages both ways.
//!
//! Owns the names that every gRPC server of Go has for it, Hubble's among them. Methods are those of the descriptors, so no
//! client can make a series. Start at [`Calls::of`].

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use prost::{DecodeError, Message};
use prost_types::FileDescriptorSet;
use tonic::{Code, Status, body::Body};

use super::call::PREFIX;
use crate::metrics::{Family, Source, count};

/// By number, as Go writes them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Every method.
#[derive(Clone, Debug)]
pub struct Calls(Arc<ByPath>);

type ByPath = HashMap<String, Arc<Method>>;

/// A method, and what became of its calls.
#[derive(Debug, Default)]
pub(super) struct Method {
    kind: &'static str,
    service: String,
    name: String,
    started: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    handled: [AtomicU64; CODES.len()],
}

impl Calls {
    /// Of all services that these sets of descriptors have.
    pub(super) fn new(sets: &[&[u8]]) -> Result<Self, DecodeError> {
        let mut methods = ByPath::new();
        for set in sets {
            for file in FileDescriptorSet::decode(*set)?.file {
                for service in &file.service {
                    let full = format!("{}.{}", file.package(), service.name());
                    for method in &service.method {
                        let kind = kind(method.client_streaming(), method.server_streaming());
                        let (service, name) = (full.clone(), method.name().to_owned());
                        let path = format!("/{service}/{name}");
                        methods.insert(path, Arc::new(Method { kind, service, name, ..Method::default() }));
                    }
                }
            }
        }
        Ok(Self(Arc::new(methods)))
    }

    /// The method of a call, if there is such a one.
    pub(super) fn of(&self, path: &str) -> Option<Arc<Method>> {
        self.0.get(path).map(Arc::clone)
    }
}

fn kind(client_streams: bool, server_streams: bool) -> &'static str {
    match (client_streams, server_streams) {
        (false, false) => "unary",
        (true, false) => "client_stream",
        (false, true) => "server_stream",
        (true, true) => "bidi_stream",
    }
}

impl Method {
    /// A call begins: what its client sends is counted.
    pub(super) fn begin<B: HttpBody<Data = Bytes>>(
        self: &Arc<Self>,
        body: B,
    ) -> impl HttpBody<Data = Bytes, Error = B::Error> + use<B> {
        count(&self.started);
        let (method, mut messages) = (Arc::clone(self), Messages::default());
        body.map_frame(move |frame| {
            let ended = frame.data_ref().map_or(0, |bytes| messages.pass(bytes));
            method.received.fetch_add(ended, Ordering::Relaxed);
            frame
        })
    }

    /// It is answered: what is sent is counted, and how it ends.
    pub(super) fn answer(self: &Arc<Self>, response: Response<Body>) -> Response<Body> {
        let mut ending = Ending { method: Arc::clone(self), is_over: false };
        // An answer without messages may have its end in front.
        if let Some(status) = Status::from_header_map(response.headers()) {
            ending.end(status.code());
        }
        response.map(|body| Body::new(Answered { body, ending, messages: Messages::default() }))
    }
}

/// What is sent to a client.
struct Answered {
    body: Body,
    ending: Ending,
    messages: Messages,
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    let messages = self.messages.pass(bytes);
                    self.ending.method.sent.fetch_add(messages, Ordering::Relaxed);
                } else if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                    self.ending.end(status.code());
                }
            }
            Some(Err(status)) => self.ending.end(status.code()),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A call ends once; one that is let go before was given up by its client.
struct Ending {
    method: Arc<Method>,
    is_over: bool,
}

impl Ending {
    fn end(&mut self, code: Code) {
        let number = usize::try_from(i32::from(code)).unwrap_or_default();
        if let Some(handled) = self.method.handled.get(number).filter(|_| !self.is_over) {
            count(handled);
        }
        self.is_over = true;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// Counts messages, however the bytes of a body are cut.
#[derive(Default)]
struct Messages {
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that were there.
    known: usize,
    /// Bytes of the message that are to come.
    missing: usize,
}

impl Messages {
    /// How many of them end in these bytes.
    fn pass(&mut self, mut bytes: &[u8]) -> u64 {
        let mut ended = 0;
        while !bytes.is_empty() {
            // Nearly all of them are whole.
            if let ([_, a, b, c, d, rest @ ..], 0) = (bytes, self.known) {
                let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
                if let Some(behind) = rest.get(length..) {
                    bytes = behind;
                    ended += 1;
                    continue;
                }
            }
            let rest = self.prefix.get_mut(self.known..).unwrap_or_default();
            let taken = rest.len().min(bytes.len());
            for (to, from) in rest.iter_mut().zip(bytes) {
                *to = *from;
            }
            bytes = bytes.get(taken..).unwrap_or_default();
            self.known += taken;
            if taken > 0 && self.known == PREFIX {
                let [_, length @ ..] = self.prefix;
                self.missing = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            }
            if self.known == PREFIX {
                let taken = self.missing.min(bytes.len());
                bytes = bytes.get(taken..).unwrap_or_default();
                self.missing -= taken;
                if self.missing == 0 {
                    self.known = 0;
                    ended += 1;
                }
            }
        }
        ended
    }
}

impl Source for Calls {
    fn families(&self) -> Vec<Family> {
        let family = |name: &str, help: &str| Family::counter(format!("grpc_server_{name}_total"), help);
        let mut started = family("started", "Total number of RPCs started on the server.");
        let mut handled =
            family("handled", "Total number of RPCs completed on the server, regardless of success or failure.");
        let mut received = family("msg_received", "Total number of RPC stream messages received on the server.");
        let mut sent = family("msg_sent", "Total number of gRPC stream messages sent by the server.");
        for method in self.0.values() {
            let labels = [("grpc_type", method.kind), ("grpc_service", &method.service), ("grpc_method", &method.name)];
            let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            started.add_count(&labels, of(&method.started));
            received.add_count(&labels, of(&method.received));
            sent.add_count(&labels, of(&method.sent));
            for (code, counter) in CODES.iter().zip(&method.handled) {
                let [kind, service, name] = labels;
                handled.add_count(&[kind, service, name, ("grpc_code", code)], of(counter));
            }
        }
        vec![started, handled, received, sent]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hubble::call;

    #[test]
    fn messages_are_counted_wherever_they_are_cut() {
        let mut bytes = Vec::new();
        for length in [0, 1, 300, 0, 70_000, 5] {
            call::frame(&mut bytes, |out| out.resize(out.len() + length, 1));
        }
        for step in (1..400).chain([bytes.len()]) {
            let mut messages = Messages::default();
            let ended: u64 = bytes.chunks(step).map(|piece| messages.pass(piece)).sum();
            assert_eq!((ended, messages.known), (6, 0), "in pieces of {step}");
        }
        assert_eq!(Messages::default().pass(&bytes[..bytes.len() - 1]), 5, "the last one is not there");
    }
}
