//! One HTTP/2 stream: a request, its answer, and who ended it with which code.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, client::ResponseFuture, server::SendResponse};
use http::{HeaderMap, Method, Request, Response, header, uri::Scheme};
use rules::Permit;

use super::{
    Line,
    pump::{Broken, Pump},
};
use crate::{
    http::Refused,
    metrics::count,
    reject::{ClientFailure, Limit, Rejection, UpstreamFailure},
    request::{Carrier, Revoked, Ticket},
    upstream::{Failed, has_one_framing},
};

/// Serves one request. (Boxed: a stream may live long, and its request is soon somewhere else.)
pub(super) async fn serve(line: Rc<Line>, request: Box<Request<RecvStream>>, respond: SendResponse<Bytes>) {
    let mut stream = Stream {
        line: &line,
        respond,
        upload: None,
        held: false,
        code: Reason::INTERNAL_ERROR,
        revoked: Rc::default(),
        ticket: None,
    };
    let deciding = line.deciding();
    let answered = line.exchange.handle(*request, &mut stream).await;
    drop(deciding);
    if let Ok(response) = answered {
        stream.send(response).await;
    }
}

struct Stream<'l> {
    line: &'l Line,
    respond: SendResponse<Bytes>,
    /// The request on its way to the upstream.
    upload: Option<Pump>,
    /// Nothing of its body may go there yet: it is a CONNECT that the upstream has not agreed to.
    held: bool,
    /// With which the client's stream is reset, if it is.
    code: Reason,
    revoked: Rc<Revoked>,
    /// While the stream is under way.
    ticket: Option<Ticket>,
}

/// The head of an answer, or why there is none.
type Answered = Result<Response<RecvStream>, Rejection>;

/// Where an answer's body comes from.
enum Answer {
    Upstream(RecvStream),
    Text(&'static str),
}

impl Carrier for Stream<'_> {
    type Body = RecvStream;
    type Answer = Answer;

    fn refused(&mut self, request: &Request<RecvStream>) -> Option<Refused> {
        let limits = &self.line.worker.limits;
        // Each piece of a cookie counts.
        let rejection = if request.headers().len() > limits.headers {
            Rejection::TooLarge(Limit::Headers)
        } else if request.uri().path_and_query().is_some_and(|path| path.as_str().len() > limits.request_line_bytes) {
            Rejection::TooLarge(Limit::RequestLine)
        } else if has_strange_length(request.headers()) {
            Rejection::Malformed("content-length")
        } else if request.uri().scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
            Rejection::Malformed("scheme")
        } else {
            return None;
        };
        Some(Refused::whole(rejection))
    }

    async fn forward(&mut self, request: Request<RecvStream>, permit: Permit) -> Result<Response<Answer>, Rejection> {
        let (head, body) = request.into_parts();
        self.held = head.method == Method::CONNECT;
        let ended = body.is_end_stream();
        let revoked = Rc::clone(&self.revoked);
        let opened = tokio::select! {
            biased;
            () = poll_fn(|cx| revoked.poll(cx)) => return Err(self.ended()),
            code = left(&mut self.respond) => return Err(self.client_left(code)),
            // Boxed: what it needs is needed for a moment only, but the stream may live long.
            opened = Box::pin(self.line.upstream.open(Request::from_parts(head, ()), ended, permit)) => opened,
        };
        let (mut response, to) = opened.map_err(|failed| self.upstream_failed(failed))?;
        self.upload = Some(Pump::new(body, to, ended));
        let response = poll_fn(|cx| self.poll_answer(&mut response, cx)).await?;
        if std::mem::take(&mut self.held) {
            self.tunnel(response.status().is_success());
        }
        if has_one_framing(response.headers()) {
            return Ok(response.map(Answer::Upstream));
        }
        self.reset_upstream(Reason::PROTOCOL_ERROR);
        Err(self.upstream_failed(Failed { failure: UpstreamFailure::Answer, code: Reason::PROTOCOL_ERROR }))
    }

    /// After the answer the library tells the client to stop sending.
    fn discard(&mut self, body: RecvStream) {
        drop(body);
    }

    fn answer(&mut self, response: Response<&'static str>, _close: bool) -> Response<Answer> {
        response.map(Answer::Text)
    }

    fn reset(&mut self, _rejection: &Rejection) {
        self.respond.send_reset(self.code);
    }

    fn revoked(&self) -> Rc<Revoked> {
        Rc::clone(&self.revoked)
    }

    fn begun(&mut self, ticket: Ticket) {
        self.ticket = Some(ticket);
    }
}

impl Stream<'_> {
    /// Ready with the head of the final answer; the request's body goes on meanwhile.
    fn poll_answer(&mut self, response: &mut ResponseFuture, cx: &mut Context<'_>) -> Poll<Answered> {
        if self.revoked.poll(cx).is_ready() {
            return Poll::Ready(Err(self.ended()));
        }
        if let Poll::Ready(reset) = self.respond.poll_reset(cx) {
            return Poll::Ready(Err(self.client_left(reset.unwrap_or(Reason::CANCEL))));
        }
        if !self.held
            && let Err(code) = self.poll_upload(cx)
        {
            return Poll::Ready(Err(self.client_left(code)));
        }
        while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            if let Err(error) = self.respond.send_informational(interim) {
                tracing::debug!(%error, "interim answer");
            }
        }
        let answer = ready!(Pin::new(response).poll(cx));
        Poll::Ready(answer.map_err(|error| self.upstream_failed(Failed::of(&error))))
    }

    /// It is known whether a CONNECT became a tunnel. What was sent for one that it did not become goes nowhere.
    fn tunnel(&mut self, granted: bool) {
        if granted {
            count(&self.line.worker.counters.upgrades);
        } else if let Some(upload) = &mut self.upload {
            upload.stop();
        }
    }

    /// Fails with the client's code. That the upstream takes no more is its right: its answer says the rest.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        match upload.poll(cx) {
            Poll::Ready(Err(Broken::Source(error))) => Err(error.reason().unwrap_or(Reason::CANCEL)),
            Poll::Ready(Err(Broken::Sink(_))) => {
                upload.stop();
                Ok(())
            }
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Sends the answer: its head, its body as it comes, its trailers.
    async fn send(mut self, response: Response<Answer>) {
        let (head, answer) = response.into_parts();
        let ended = match &answer {
            Answer::Upstream(body) => body.is_end_stream(),
            Answer::Text(text) => text.is_empty(),
        };
        let mut to = match self.respond.send_response(Response::from_parts(head, ()), ended) {
            Ok(to) => to,
            Err(error) => return self.reset_upstream(error.reason().unwrap_or(Reason::CANCEL)),
        };
        match answer {
            Answer::Upstream(body) => {
                let mut download = Pump::new(body, to, ended);
                poll_fn(|cx| self.poll_bodies(&mut download, cx)).await;
            }
            Answer::Text("") => {}
            Answer::Text(text) => {
                if let Err(error) = to.send_data(Bytes::from_static(text.as_bytes()), true) {
                    tracing::debug!(%error, "answer");
                }
            }
        }
    }

    /// Ready when both bodies are over. What ends one before its end ends the other, with the same code.
    fn poll_bodies(&mut self, download: &mut Pump, cx: &mut Context<'_>) -> Poll<()> {
        if self.revoked.poll(cx).is_ready() {
            count(&self.line.worker.counters.requests_ended);
            self.reset_upstream(Reason::CANCEL);
            download.reset(Reason::CANCEL);
            return Poll::Ready(());
        }
        match download.poll(cx) {
            Poll::Ready(Err(Broken::Source(error))) => {
                self.upstream_failed(Failed::of(&error));
                download.reset(self.code);
                return Poll::Ready(());
            }
            Poll::Ready(Err(Broken::Sink(code))) => {
                self.reset_upstream(code.unwrap_or(Reason::CANCEL));
                return Poll::Ready(());
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if let Err(code) = self.poll_upload(cx) {
            self.reset_upstream(code);
            download.reset(code);
            return Poll::Ready(());
        }
        let is_uploaded = self.upload.as_ref().is_none_or(Pump::is_done);
        if download.is_done() && is_uploaded { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Policy does not allow it any more.
    fn ended(&mut self) -> Rejection {
        self.reset_upstream(Reason::CANCEL);
        self.code = Reason::CANCEL;
        Rejection::Ended
    }

    fn client_left(&mut self, code: Reason) -> Rejection {
        self.reset_upstream(code);
        self.code = code;
        Rejection::Client(ClientFailure::Left)
    }

    fn reset_upstream(&mut self, code: Reason) {
        if let Some(upload) = &mut self.upload {
            upload.reset(code);
        }
    }

    fn upstream_failed(&mut self, Failed { failure, code }: Failed) -> Rejection {
        self.code = code;
        if matches!(failure, UpstreamFailure::Closed | UpstreamFailure::Protocol) {
            self.line.upstream.broke();
        }
        Rejection::Upstream(failure)
    }
}

/// Ready when the client reset the stream, with its code.
async fn left(respond: &mut SendResponse<Bytes>) -> Reason {
    poll_fn(|cx| respond.poll_reset(cx)).await.unwrap_or(Reason::CANCEL)
}

/// The library takes equal ones for one, and nothing for zero.
fn has_strange_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    lengths.next().is_some_and(|value| value.is_empty() || lengths.next().is_some())
}
