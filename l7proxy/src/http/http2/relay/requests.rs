//! What the client says of its streams.
//!
//! Must never let pass a head that was not judged, or a body behind one that is not allowed. Start at
//! [`Relay::client_sent`].

use std::rc::Rc;

use http::{HeaderValue, Method, Request, Response, StatusCode};
use rules::Permit;

use super::{HELD, Relay};
use crate::{
    http::{
        Refused,
        http2::{
            frames::{Code, Piece},
            head::{self, Asked},
            hpack::{Field, Name},
            leg::{Block, Fault},
            streams::{Past, Stream},
        },
    },
    reject::{Limit, Rejection},
    request::Allowed,
};

/// How many times the limit of a head one may be, if it is to be answered and not shed.
const BOMB: usize = 4;

impl Relay {
    pub(super) fn client_sent(&mut self, piece: Piece<'_>) -> Result<(), Fault> {
        match piece {
            Piece::Other { kind, flags, stream, payload } => self.client_control(kind, flags, stream, payload),
            // Before all else it says what it wants.
            Piece::Data { .. } | Piece::Block { .. } if !self.client.is_greeted => Err(Code::PROTOCOL_ERROR.into()),
            Piece::Data { stream, bytes, padding, ends, last } => {
                if bytes.is_empty() && !ends {
                    if last {
                        self.from_client.control()?;
                    }
                } else {
                    self.from_client.message();
                    self.from_upstream.message();
                }
                self.client_data(stream, bytes, padding, ends)
            }
            Piece::Block { begins, .. } => {
                if begins {
                    self.from_client.message();
                    self.from_upstream.message();
                }
                let limit = self.worker.limits.head_bytes;
                match self.client.fields(piece, limit, &mut self.fields)? {
                    Some(block) => self.client_fields(block),
                    None => Ok(()),
                }
            }
        }
    }

    fn client_data(&mut self, id: u32, bytes: &[u8], padding: u32, ends: bool) -> Result<(), Fault> {
        let all = bytes.len() + usize::try_from(padding).unwrap_or(0);
        let Some(stream) = self.streams.get(id) else {
            match self.streams.past(id) {
                Past::Idle => return Err(Code::PROTOCOL_ERROR.into()),
                Past::Ended => return Err(Code::STREAM_CLOSED.into()),
                Past::Left => self.give_back(all),
            }
            return Ok(());
        };
        if !stream.is_asking {
            return Err(Code::STREAM_CLOSED.into());
        }
        if let Some(left) = &mut stream.request_left {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let rest = left.checked_sub(length).filter(|rest| *rest == 0 || !ends);
            let Some(rest) = rest else {
                self.give_back(all);
                return self.break_stream(id, Code::PROTOCOL_ERROR);
            };
            *left = rest;
        }
        stream.is_asking = !ends;
        if stream.is_mute {
            self.give_back(all);
        } else {
            if padding > 0 && !ends {
                self.client.give_window(id, padding);
            }
            self.client.give_window(0, padding);
            if let Some(held) = &mut stream.held {
                held.body.extend_from_slice(bytes);
                self.held += bytes.len();
                if self.held > HELD {
                    self.end_stream(id, Code::ENHANCE_YOUR_CALM, &Rejection::TooLarge(Limit::Flood));
                    return Ok(self.from_client.broken()?);
                }
            } else if stream.is_forwarded && (ends || !bytes.is_empty()) {
                self.forward_data(id, ends, bytes);
            }
        }
        self.close_if_over(id);
        Ok(())
    }

    fn client_fields(&mut self, block: Block) -> Result<(), Fault> {
        let Block { stream: id, ends, is_circular, size } = block;
        if let Some(stream) = self.streams.get(id) {
            if !stream.is_asking {
                return Err(Code::STREAM_CLOSED.into());
            }
            return self.client_trailers(id, ends && !is_circular && size <= self.worker.limits.head_bytes);
        }
        if id <= self.streams.newest || id.is_multiple_of(2) {
            return match self.streams.past(id) {
                Past::Idle => Err(Code::PROTOCOL_ERROR.into()),
                Past::Ended => Err(Code::STREAM_CLOSED.into()),
                Past::Left => Ok(()),
            };
        }
        self.streams.newest = id;
        if self.goodbye.last.is_some() {
            // It knows that it is not served.
            self.streams.forget(id, true);
            self.line.exchange.unread(&Rejection::GoingAway, None);
            return Ok(());
        }
        let limits = &self.worker.limits;
        if size > limits.head_bytes.saturating_mul(BOMB) {
            return Err(Limit::Flood.into());
        }
        if self.streams.len() >= usize::try_from(limits.streams).unwrap_or(usize::MAX) {
            return self.refuse_unread(id, Code::REFUSED_STREAM, &Rejection::TooLarge(Limit::Streams));
        }
        if size > limits.head_bytes {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            self.line.exchange.unread(&Rejection::TooLarge(Limit::Head), Some(status));
            let mut response = Response::new("");
            *response.status_mut() = status;
            return self.answer(Stream::new(id, !ends, self.wanted.window), &response);
        }
        match Asked::of(&self.fields, ends, limits).filter(|_| !is_circular) {
            Some(asked) => self.ask(id, ends, asked),
            None => self.refuse_unread(id, Code::PROTOCOL_ERROR, &Rejection::Malformed("http2-protocol")),
        }
    }

    /// A stream that is none.
    fn refuse_unread(&mut self, id: u32, code: Code, rejection: &Rejection) -> Result<(), Fault> {
        self.streams.forget(id, true);
        self.client.reset(id, code);
        self.line.exchange.unread(rejection, None);
        Ok(self.from_client.broken()?)
    }

    /// A request: its verdict, and what follows from it.
    fn ask(&mut self, id: u32, ends: bool, asked: Asked) -> Result<(), Fault> {
        let Asked { mut request, refused, length, is_extended } = asked;
        let mut stream = Stream::new(id, !ends, self.wanted.window);
        stream.is_head = request.method() == Method::HEAD;
        stream.is_connect = request.method() == Method::CONNECT;
        stream.request_left = length;
        self.pace.take(request.uri().path_and_query().map_or(0, |path| path.as_str().len()));
        match self.line.exchange.judge(&mut request, refused.map(Refused::whole)) {
            Ok(Allowed { permit, flow, ticket, .. }) => {
                self.rewrite(&request, &permit)?;
                (stream.flow, stream.ticket) = (Some(Box::new(flow)), ticket);
                self.forward(stream, permit, is_extended);
                Ok(())
            }
            Err(barred) => {
                let answer = self.line.exchange.refuse(&barred.rejection, barred.is_grpc, barred.flow);
                if let Some((response, _)) = answer {
                    return self.answer(stream, &response);
                }
                self.streams.forget(id, true);
                self.client.reset(id, Code::CANCEL);
                Ok(())
            }
        }
    }

    /// What is judged is what is forwarded: puts the judged target, and the headers that rules made, into the place of what
    /// came.
    fn rewrite(&mut self, request: &Request<()>, permit: &Permit) -> Result<(), Fault> {
        if let Some(path) = request.uri().path_and_query() {
            let sent = self.fields.iter_mut().find(|field| field.name.as_bytes() == b":path");
            if let Some(sent) = sent.filter(|sent| sent.value.as_bytes() != path.as_str().as_bytes()) {
                *sent = Rc::new(Field::path(path.as_str())?);
            }
        }
        if !permit.edits().is_empty() {
            self.fields.retain(|field| matches!(field.name, Name::Pseudo(_)));
            self.fields.extend(request.headers().iter().map(|(name, value)| Rc::new(Field::header(name, value))));
        }
        Ok(())
    }

    fn client_trailers(&mut self, id: u32, may_stand: bool) -> Result<(), Fault> {
        let Some(stream) = self.streams.get(id) else { return Ok(()) };
        let is_whole = stream.request_left.is_none_or(|left| left == 0);
        if !may_stand || !is_whole || !head::are_trailers(&self.fields) {
            return self.break_stream(id, Code::PROTOCOL_ERROR);
        }
        stream.is_asking = false;
        if let Some(held) = &mut stream.held {
            held.trailers = self.fields.drain(..).collect();
        } else if let (true, false, Some(upstream)) = (stream.is_forwarded, stream.is_mute, &mut self.upstream) {
            upstream.write_fields(id, true, &self.fields);
        }
        self.close_if_over(id);
        Ok(())
    }

    /// An answer of our own. What else comes of the request nobody wants, and its client is told so.
    fn answer(&mut self, mut stream: Stream, response: &Response<&'static str>) -> Result<(), Fault> {
        self.fields.clear();
        let status = HeaderValue::from_str(response.status().as_str()).map_err(|_| Code::PROTOCOL_ERROR)?;
        self.fields.push(Rc::new(Field::own(":status", status)?));
        self.fields.extend(response.headers().iter().map(|(name, value)| Rc::new(Field::header(name, value))));
        stream.text = response.body();
        stream.is_mute = true;
        stream.is_answering = !stream.text.is_empty();
        let id = stream.id;
        self.client.write_fields(id, !stream.is_answering, &self.fields);
        self.texts += usize::from(stream.is_answering);
        self.streams.open(stream);
        self.go_on_with(id);
        Ok(())
    }

    /// Sends as much of an answer of our own as the client takes; then the stream is over.
    pub(super) fn go_on_with(&mut self, id: u32) {
        let Some(stream) = self.streams.get(id) else { return };
        if !stream.text.is_empty() {
            let room = usize::try_from(stream.window.min(self.window)).unwrap_or(0);
            let (now, rest) = stream.text.split_at_checked(room).unwrap_or((stream.text, ""));
            let length = i64::try_from(now.len()).unwrap_or(0);
            stream.text = rest;
            stream.window -= length;
            self.window -= length;
            if self.upstream.is_some() {
                self.debt += length;
            }
            self.texts -= usize::from(rest.is_empty());
            stream.is_answering = !rest.is_empty();
            self.client.write_data(id, rest.is_empty(), now.as_bytes());
        }
        if !stream.is_answering {
            let is_asking = stream.is_asking;
            if is_asking {
                self.client.reset(id, Code::NO_ERROR);
            }
            self.close(id, is_asking);
        }
    }

    /// As [`Relay::go_on_with`], of all of them.
    pub(super) fn go_on_with_texts(&mut self) {
        if self.texts > 0 {
            for id in self.streams.ids(|stream| !stream.text.is_empty()) {
                self.go_on_with(id);
            }
        }
    }
}
