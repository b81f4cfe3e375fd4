//! One call of gRPC: its message in, its messages out.
//!
//! Owns the framing and the bound of what a caller may send. Messages go out as bytes that are encoded already, many at once.
//! Must never hold more than one piece that nobody reads. Start at [`ask`] and [`answer`].

use std::{
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prost::Message;
use tokio::sync::mpsc;
use tonic::{
    Status,
    body::Body,
    codec::{DecodeBuf, Decoder, Streaming},
};

use crate::metrics::{Counters, count};

/// In front of each message: whether it is compressed, and its length.
pub(super) const PREFIX: usize = 5;

/// What goes out.
#[derive(Debug)]
pub(super) enum Piece {
    /// Messages, each with its prefix.
    Messages(Bytes),
    /// The end. Without one, all went well.
    End(Status),
}

/// The message of a call.
pub(super) async fn ask<M: Message + Default + 'static>(request: Request<Body>) -> Result<M, Status> {
    let mut messages = Streaming::new_request(One(PhantomData), request.into_body(), None, None);
    messages.message().await?.ok_or_else(|| Status::internal("a call without a message"))
}

/// Reads messages of one kind.
struct One<M>(PhantomData<M>);

impl<M: Message + Default> Decoder for One<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        M::decode(from).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// Appends a message; `write` appends what is in it.
pub(super) fn frame(to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = to.len();
    to.extend_from_slice(&[0; PREFIX]);
    write(to);
    let length = u32::try_from(to.len() - at - PREFIX).unwrap_or(u32::MAX);
    if let Some(prefix) = to.get_mut(at + 1..at + PREFIX) {
        prefix.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends a message of a generated type.
pub(super) fn frame_message(to: &mut Vec<u8>, message: &impl Message) {
    frame(to, |to| {
        // Such a buffer has room for any length.
        message.encode(to).ok();
    });
}

/// The answer of one message.
pub(super) fn one(message: &impl Message) -> Response<Body> {
    let mut messages = Vec::with_capacity(PREFIX + message.encoded_len());
    frame_message(&mut messages, message);
    with_body(Answer { ready: Some(messages.into()), more: None, is_over: false })
}

/// The answer whose messages come by `more`.
pub(super) fn answer(more: mpsc::Receiver<Piece>) -> Response<Body> {
    with_body(Answer { ready: None, more: Some(more), is_over: false })
}

fn with_body(answer: Answer) -> Response<Body> {
    let mut response = Response::new(Body::new(answer));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The body of an answer.
struct Answer {
    ready: Option<Bytes>,
    more: Option<mpsc::Receiver<Piece>>,
    is_over: bool,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Some(messages) = self.ready.take() {
            return Poll::Ready(Some(Ok(Frame::data(messages))));
        }
        let piece = match &mut self.more {
            Some(more) => std::task::ready!(more.poll_recv(context)),
            None => None,
        };
        let status = match piece {
            Some(Piece::Messages(messages)) => return Poll::Ready(Some(Ok(Frame::data(messages)))),
            Some(Piece::End(status)) => status,
            None => Status::ok(""),
        };
        self.is_over = true;
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

/// A body that may have so many bytes.
pub(super) struct Bounded<B> {
    body: B,
    left: usize,
    limit: usize,
    counters: Arc<Counters>,
}

impl<B> Bounded<B> {
    pub(super) fn new(body: B, limit: usize, counters: Arc<Counters>) -> Self {
        Self { body, left: limit, limit, counters }
    }
}

impl<B> HttpBody for Bounded<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let length = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Buf::remaining),
            _ => 0,
        };
        if length > self.left {
            self.left = 0;
            count(&self.counters.hubble_requests_too_large);
            let text = format!("a call may send {} bytes", self.limit);
            return Poll::Ready(Some(Err(Status::resource_exhausted(text).into())));
        }
        self.left -= length;
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that holds something until it ends.
pub(super) struct Held<H> {
    body: Body,
    _held: H,
}

impl<H> Held<H> {
    pub(super) fn new(body: Body, held: H) -> Self {
        Self { body, _held: held }
    }
}

impl<H: Unpin> HttpBody for Held<H> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
