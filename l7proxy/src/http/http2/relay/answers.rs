//! What the upstream says of its streams.
//!
//! Start at [`Relay::upstream_sent`].

use http::{StatusCode, header};

use super::Relay;
use crate::{
    flow::{Capture, RawHeaders},
    http::http2::{
        frames::{ACK, Code, Piece, SETTINGS},
        head::{self, Answered},
        hpack::{Name, Shared},
        leg::{Block, Fault},
        settings::ANSWER_HEAD,
        streams::Past,
    },
    metrics::count,
    reject::{Rejection, UpstreamFailure},
};

impl Relay {
    /// Whether it is what an upstream begins with.
    pub(super) fn is_greeting(kind: u8, flags: u8) -> bool {
        kind == SETTINGS && flags & ACK == 0
    }

    pub(super) fn upstream_sent(&mut self, piece: Piece<'_>) -> Result<(), Fault> {
        match piece {
            Piece::Other { kind, flags, stream, payload } => self.upstream_control(kind, flags, stream, payload),
            Piece::Data { stream, bytes, padding, ends, last } => {
                if bytes.is_empty() && !ends {
                    if last {
                        self.from_upstream.control()?;
                    }
                } else {
                    self.from_upstream.message();
                    self.from_client.message();
                }
                self.upstream_data(stream, bytes, padding, ends)
            }
            Piece::Block { begins, .. } => {
                if begins {
                    self.from_upstream.message();
                    self.from_client.message();
                }
                let Some(upstream) = &mut self.upstream else { return Ok(()) };
                let limit = usize::try_from(ANSWER_HEAD).unwrap_or(usize::MAX);
                match upstream.fields(piece, limit, &mut self.fields)? {
                    Some(block) => self.upstream_fields(block, limit),
                    None => Ok(()),
                }
            }
        }
    }

    fn upstream_data(&mut self, id: u32, bytes: &[u8], padding: u32, ends: bool) -> Result<(), Fault> {
        let Some(upstream) = &mut self.upstream else { return Ok(()) };
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let Some(stream) = self.streams.get(id).filter(|stream| stream.is_forwarded) else {
            upstream.give_window(0, length + padding);
            return self.must_have_been(id);
        };
        if !stream.is_answering {
            return Err(Code::STREAM_CLOSED.into());
        }
        let rest = stream.answer_left.map(|left| left.checked_sub(length.into()).filter(|rest| *rest == 0 || !ends));
        if stream.flow.is_some() || rest == Some(None) {
            upstream.give_window(0, length + padding);
            self.break_answer(id);
            return Ok(());
        }
        stream.answer_left = rest.flatten();
        if padding > 0 && !ends {
            upstream.give_window(id, padding);
        }
        upstream.give_window(0, padding);
        stream.window -= i64::from(length);
        self.window -= i64::from(length);
        if ends || length > 0 {
            self.client.write_data(id, ends, bytes);
        }
        if ends {
            self.answered(id);
        }
        Ok(())
    }

    /// What comes on a stream that is not open was on its way; on one that never was, it is wrong.
    fn must_have_been(&self, id: u32) -> Result<(), Fault> {
        if self.streams.past(id) == Past::Idle { Err(Code::PROTOCOL_ERROR.into()) } else { Ok(()) }
    }

    fn upstream_fields(&mut self, block: Block, limit: usize) -> Result<(), Fault> {
        let Block { stream: id, ends, size, .. } = block;
        let Some(stream) = self.streams.get(id).filter(|stream| stream.is_forwarded) else {
            return self.must_have_been(id);
        };
        if !stream.is_answering {
            return Err(Code::STREAM_CLOSED.into());
        }
        if size > limit {
            self.break_answer(id);
        } else if stream.flow.is_some() {
            self.upstream_head(id, ends);
        } else if ends && stream.answer_left.is_none_or(|left| left == 0) && head::are_trailers(&self.fields) {
            if let Some(flow) = &mut stream.begun {
                flow.trailers(&recorded(&self.fields, &self.worker.capture));
            }
            self.client.write_fields(id, true, &self.fields);
            self.answered(id);
        } else {
            self.break_answer(id);
        }
        Ok(())
    }

    fn upstream_head(&mut self, id: u32, ends: bool) {
        let Some(stream) = self.streams.get(id) else { return };
        let Some(answer) = Answered::of(&self.fields) else { return self.break_answer(id) };
        let Answered { status, length } = answer;
        if status.is_informational() {
            if ends {
                return self.break_answer(id);
            }
            return self.client.write_fields(id, false, &self.fields);
        }
        let has_body = !stream.is_head && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED;
        if has_body {
            if ends && length.is_some_and(|length| length > 0) {
                return self.break_answer(id);
            }
            stream.answer_left = length;
        }
        if let Some(mut flow) = stream.flow.take() {
            let fields = recorded(&self.fields, &self.worker.capture);
            if !ends && is_grpc(&self.fields) {
                flow.begun(status, fields);
                stream.begun = Some(flow);
            } else {
                flow.answered(status, fields);
            }
        }
        self.client.write_fields(id, ends, &self.fields);
        if stream.is_connect {
            self.tunnel(id, status.is_success());
        }
        if ends {
            self.answered(id);
        }
    }

    /// It is known whether a CONNECT became a tunnel. What was sent for one that it did not become goes nowhere.
    fn tunnel(&mut self, id: u32, is_granted: bool) {
        let Some(stream) = self.streams.get(id) else { return };
        stream.is_connect = false;
        if is_granted {
            count(&self.worker.counters.upgrades);
            return self.release_body(id, false);
        }
        stream.is_mute = true;
        if let Some(held) = stream.held.take() {
            self.drop_held(&held.body);
        }
    }

    /// The answer is over; so is the request, when its client is done or nobody wants the rest.
    fn answered(&mut self, id: u32) {
        let Some(stream) = self.streams.get(id) else { return };
        stream.is_answering = false;
        // Its record was waiting for this.
        stream.begun = None;
        if stream.is_mute {
            let is_asking = stream.is_asking;
            if is_asking {
                self.client.reset(id, Code::NO_ERROR);
            }
            if let Some(upstream) = &mut self.upstream {
                upstream.reset(id, Code::CANCEL);
            }
            self.close(id, is_asking);
        } else {
            self.close_if_over(id);
        }
        if self.waiting > 0 {
            self.release();
        }
    }

    /// The upstream's answer is none: both sides are told, and nothing else is concerned.
    fn break_answer(&mut self, id: u32) {
        self.end_stream(id, Code::PROTOCOL_ERROR, &Rejection::Upstream(UpstreamFailure::Answer));
        self.release();
    }
}

/// Those that records show.
fn recorded(fields: &[Shared], capture: &Capture) -> RawHeaders {
    let shown = fields.iter().filter(|field| !matches!(field.name, Name::Pseudo(_)));
    capture.fields(shown.map(|field| (field.name.as_bytes(), field.value.as_bytes())))
}

/// Whether it says behind its body how it went.
fn is_grpc(fields: &[Shared]) -> bool {
    let is_kind = |field: &Shared| field.name.as_bytes() == header::CONTENT_TYPE.as_str().as_bytes();
    fields.iter().any(|field| is_kind(field) && field.value.as_bytes().starts_with(b"application/grpc"))
}
