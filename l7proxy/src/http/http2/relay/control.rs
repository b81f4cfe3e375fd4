//! Frames that are about a connection or about windows, of both sides.
//!
//! Each side's SETTINGS are acknowledged when the other side has acknowledged what was passed on of them: until then it may
//! still send by the old ones. Start at [`Relay::client_control`].

use super::{ALL, Relay};
use crate::{
    http::http2::{
        frames::{
            self, ACK, Code, GOAWAY, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, depends_on,
            number,
        },
        leg::Fault,
        settings::{self, MOST, Settings, WINDOW},
        streams::Past,
    },
    reject::{ClientFailure, Rejection, UpstreamFailure},
};

/// What our ping at the end carries.
pub(super) const FAREWELL: [u8; 8] = *b"farewell";

impl Relay {
    pub(super) fn client_control(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<(), Fault> {
        if kind == RST_STREAM {
            self.from_client.reset()?;
        } else {
            self.from_client.control()?;
        }
        let is_first = kind == SETTINGS && flags & ACK == 0;
        if !self.client.is_greeted && !is_first {
            return Err(Code::PROTOCOL_ERROR.into());
        }
        match kind {
            SETTINGS if is_first => self.client_settings(payload),
            SETTINGS => {
                self.client_acknowledged();
                Ok(())
            }
            PING if flags & ACK == 0 => {
                frames::write(PING, ACK, 0, payload, self.client.out.buffer());
                Ok(())
            }
            PING => {
                self.client_heard(payload);
                Ok(())
            }
            RST_STREAM => self.client_reset(stream, Code(number(payload))),
            WINDOW_UPDATE => self.client_window(stream, number(payload) & MOST),
            PRIORITY if depends_on(payload) == stream => Err(Code::PROTOCOL_ERROR.into()),
            PUSH_PROMISE => Err(Code::PROTOCOL_ERROR.into()),
            GOAWAY => {
                if let Some(upstream) = &mut self.upstream {
                    frames::write(GOAWAY, 0, 0, payload, upstream.out.buffer());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn client_settings(&mut self, payload: &[u8]) -> Result<(), Fault> {
        self.client.is_greeted = true;
        let before = self.wanted;
        self.wanted.take(payload)?;
        self.client.encoder.limit(usize::try_from(self.wanted.table).unwrap_or(usize::MAX));
        let more = i64::from(self.wanted.window) - i64::from(before.window);
        for stream in self.streams.iter_mut() {
            stream.window += more;
            if stream.window > MOST.into() {
                return Err(Code::FLOW_CONTROL_ERROR.into());
            }
        }
        if let Some(upstream) = &mut self.upstream {
            let out = upstream.out.buffer();
            if settings::write_changes_to_upstream(&before, &self.wanted, out) {
                upstream.unacknowledged += 1;
            } else if upstream.unacknowledged > 0 {
                frames::write(SETTINGS, 0, 0, &[], out);
                upstream.unacknowledged += 1;
            } else {
                settings::write_ack(self.client.out.buffer());
            }
        } else {
            settings::write_ack(self.client.out.buffer());
        }
        self.go_on_with_texts();
        Ok(())
    }

    /// Of ours, the first is our own, the others are the upstream's.
    fn client_acknowledged(&mut self) {
        if !self.client.is_agreed {
            self.client.is_agreed = true;
        } else if let (Some(left), Some(upstream)) = (self.client.unacknowledged.checked_sub(1), &mut self.upstream) {
            self.client.unacknowledged = left;
            settings::write_ack(upstream.out.buffer());
        }
    }

    /// It knows that no more is taken.
    fn client_heard(&mut self, payload: &[u8]) {
        if payload == FAREWELL && self.goodbye.is_said && self.goodbye.last.is_none() {
            self.goodbye.last = Some(self.streams.newest);
            frames::write_goaway(self.streams.newest, Code::NO_ERROR, &[], self.client.out.buffer());
        }
    }

    fn client_reset(&mut self, id: u32, code: Code) -> Result<(), Fault> {
        let Some(mut stream) = self.close(id, false) else {
            return if self.streams.past(id) == Past::Idle { Err(Code::PROTOCOL_ERROR.into()) } else { Ok(()) };
        };
        if let (true, Some(upstream)) = (stream.is_forwarded, &mut self.upstream) {
            upstream.reset(id, code);
        }
        self.line.record(&mut stream, &Rejection::Client(ClientFailure::Left));
        Ok(())
    }

    fn client_window(&mut self, id: u32, more: u32) -> Result<(), Fault> {
        if id == 0 {
            self.window += i64::from(more);
            if more == 0 || self.window > MOST.into() {
                return Err(if more == 0 { Code::PROTOCOL_ERROR } else { Code::FLOW_CONTROL_ERROR }.into());
            }
            if let Some(upstream) = &mut self.upstream {
                let paid = self.debt.min(more.into());
                self.debt -= paid;
                upstream.give_window(0, more - u32::try_from(paid).unwrap_or(0));
            }
            self.go_on_with_texts();
            return Ok(());
        }
        let Some(stream) = self.streams.get(id) else {
            return if self.streams.past(id) == Past::Idle { Err(Code::PROTOCOL_ERROR.into()) } else { Ok(()) };
        };
        stream.window += i64::from(more);
        if more == 0 || stream.window > MOST.into() {
            return self.break_stream(id, if more == 0 { Code::PROTOCOL_ERROR } else { Code::FLOW_CONTROL_ERROR });
        }
        if !stream.text.is_empty() {
            self.go_on_with(id);
        } else if !stream.is_forwarded {
            stream.untold = stream.untold.saturating_add(more);
        } else if let (true, Some(upstream)) = (stream.is_answering, &mut self.upstream) {
            upstream.give_window(id, more);
        }
        Ok(())
    }

    pub(super) fn upstream_control(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) -> Result<(), Fault> {
        let Some(upstream) = &mut self.upstream else { return Ok(()) };
        self.from_upstream.control()?;
        match kind {
            SETTINGS if flags & ACK == 0 => self.upstream_settings(payload),
            SETTINGS => {
                if !upstream.is_agreed {
                    upstream.is_agreed = true;
                } else if let Some(left) = upstream.unacknowledged.checked_sub(1) {
                    upstream.unacknowledged = left;
                    settings::write_ack(self.client.out.buffer());
                }
                Ok(())
            }
            PING if flags & ACK == 0 => {
                frames::write(PING, ACK, 0, payload, upstream.out.buffer());
                Ok(())
            }
            RST_STREAM => self.upstream_reset(id, Code(number(payload))),
            WINDOW_UPDATE => {
                let is_known =
                    id == 0 || self.streams.get(id).is_some_and(|stream| stream.is_asking && !stream.is_mute);
                if is_known {
                    frames::write(WINDOW_UPDATE, 0, id, payload, self.client.out.buffer());
                }
                Ok(())
            }
            GOAWAY => {
                self.upstream_leaves(payload);
                Ok(())
            }
            PUSH_PROMISE => Err(Code::PROTOCOL_ERROR.into()),
            _ => Ok(()),
        }
    }

    fn upstream_settings(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let Some(upstream) = &mut self.upstream else { return Ok(()) };
        upstream.is_greeted = true;
        self.offered.take(payload)?;
        upstream.encoder.limit(usize::try_from(self.offered.table).unwrap_or(usize::MAX));
        let ours = Settings::ours(&self.worker.limits);
        let wanted = Settings {
            window: self.offered.window,
            streams: ours.streams.min(self.offered.streams),
            header_list: ours.header_list.min(self.offered.header_list),
            ..ours
        };
        let out = self.client.out.buffer();
        if settings::write_changes_to_client(&self.told, &wanted, out) {
            self.client.unacknowledged += 1;
        } else if self.client.unacknowledged > 0 {
            frames::write(SETTINGS, 0, 0, &[], out);
            self.client.unacknowledged += 1;
        } else {
            settings::write_ack(upstream.out.buffer());
        }
        self.told = wanted;
        self.release();
        Ok(())
    }

    fn upstream_reset(&mut self, id: u32, code: Code) -> Result<(), Fault> {
        let Some(stream) = self.streams.get(id).filter(|stream| stream.is_forwarded) else {
            return if self.streams.past(id) == Past::Idle { Err(Code::PROTOCOL_ERROR.into()) } else { Ok(()) };
        };
        let is_asking = stream.is_asking;
        self.client.reset(id, code);
        if let Some(mut stream) = self.close(id, is_asking) {
            self.line.record(&mut stream, &Rejection::Upstream(UpstreamFailure::Reset));
        }
        self.release();
        Ok(())
    }

    /// What it does not serve is told to be so; what it serves goes on.
    fn upstream_leaves(&mut self, payload: &[u8]) {
        let (last, code) = (number(payload) & ALL, Code(number(payload.get(4..).unwrap_or_default())));
        for id in self.streams.ids(|stream| stream.id > last && (stream.is_forwarded || stream.waits())) {
            self.client.reset(id, Code::REFUSED_STREAM);
            if let Some(mut stream) = self.close(id, true) {
                self.line.record(&mut stream, &Rejection::Upstream(UpstreamFailure::Refused));
            }
        }
        let served = self.goodbye.last.unwrap_or(ALL).min(last);
        frames::write_goaway(served, code, payload.get(8..).unwrap_or_default(), self.client.out.buffer());
        self.goodbye.is_said = true;
        self.goodbye.upstream = Some(last);
        self.goodbye.is_failure |= code != Code::NO_ERROR;
    }

    /// What the upstream may be told at first of the client's window.
    pub(super) fn first_window(&mut self) -> u32 {
        let more = self.window - i64::from(WINDOW);
        self.debt = (-more).max(0);
        u32::try_from(more).unwrap_or(0)
    }
}
