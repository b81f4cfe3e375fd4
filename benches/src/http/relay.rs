//! Moves bytes between clients and one upstream: what a proxy in user space costs at least.
//!
//! Must never look at a byte. Start at [`relay`].

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    rc::Rc,
};

use anyhow::{Context, Result};
use rustix::event::epoll::{self, EventData, EventFlags};

const BUFFER: usize = 64 << 10;

/// A direction of a connection.
struct Pipe {
    from: Rc<TcpStream>,
    to: Rc<TcpStream>,
    /// What `to` did not take yet.
    waiting: Vec<u8>,
}

/// By which the kernel names a socket in its events.
fn number(socket: &impl AsRawFd) -> Result<u64> {
    Ok(u64::try_from(socket.as_raw_fd())?)
}

/// Until the process is ended.
pub(crate) fn relay(listen: SocketAddr, upstream: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| listen.to_string())?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    watch(&poll, &listener, EventFlags::IN)?;
    // By the descriptor that is read.
    let mut pipes: HashMap<u64, Pipe> = HashMap::new();
    let mut buffer = vec![0; BUFFER];
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let (flags, data) = (event.flags, event.data);
            let descriptor = data.u64();
            if descriptor == number(&listener)? {
                let (client, _) = listener.accept()?;
                open(&poll, client, upstream, &mut pipes)?;
                continue;
            }
            if flags.contains(EventFlags::OUT) {
                drain(&poll, descriptor, &mut pipes)?;
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                pass(&poll, descriptor, &mut pipes, &mut buffer)?;
            }
        }
    }
}

fn watch(poll: &OwnedFd, socket: &(impl AsRawFd + AsFd), flags: EventFlags) -> Result<()> {
    let data = EventData::new_u64(number(socket)?);
    epoll::add(poll, socket, data, flags)?;
    Ok(())
}

fn open(poll: &OwnedFd, client: TcpStream, upstream: SocketAddr, pipes: &mut HashMap<u64, Pipe>) -> Result<()> {
    let server = TcpStream::connect(upstream)?;
    let ends = [Rc::new(client), Rc::new(server)];
    for stream in &ends {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        watch(poll, stream.as_ref(), EventFlags::IN)?;
    }
    let [client, server] = ends;
    for (from, to) in [(&client, &server), (&server, &client)] {
        pipes.insert(number(from.as_ref())?, Pipe { from: Rc::clone(from), to: Rc::clone(to), waiting: Vec::new() });
    }
    Ok(())
}

/// Reads once and writes what was read. What is not taken waits, and nothing more is read meanwhile.
fn pass(poll: &OwnedFd, descriptor: u64, pipes: &mut HashMap<u64, Pipe>, buffer: &mut [u8]) -> Result<()> {
    let Some(pipe) = pipes.get_mut(&descriptor).filter(|pipe| pipe.waiting.is_empty()) else { return Ok(()) };
    let read = match (&*pipe.from).read(buffer) {
        Ok(length @ 1..) => buffer.get(..length).unwrap_or_default(),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        Ok(0) | Err(_) => {
            // Both directions end together, and with their last handle both sockets.
            let other = number(pipe.to.as_ref())?;
            pipes.remove(&descriptor);
            pipes.remove(&other);
            return Ok(());
        }
    };
    let written = (&*pipe.to).write(read).unwrap_or_default();
    let rest = read.get(written..).unwrap_or_default();
    if !rest.is_empty() {
        pipe.waiting.extend_from_slice(rest);
        let (from, to) = (Rc::clone(&pipe.from), Rc::clone(&pipe.to));
        change(poll, &from, EventFlags::empty())?;
        change(poll, &to, EventFlags::IN | EventFlags::OUT)?;
    }
    Ok(())
}

/// `descriptor` takes bytes again.
fn drain(poll: &OwnedFd, descriptor: u64, pipes: &mut HashMap<u64, Pipe>) -> Result<()> {
    let Some(source) = pipes.get(&descriptor).map(|pipe| number(pipe.to.as_ref())).transpose()? else { return Ok(()) };
    let Some(pipe) = pipes.get_mut(&source) else { return Ok(()) };
    let written = (&*pipe.to).write(&pipe.waiting).unwrap_or(0);
    pipe.waiting.drain(..written);
    if pipe.waiting.is_empty() {
        change(poll, &pipe.from, EventFlags::IN)?;
        change(poll, &pipe.to, EventFlags::IN)?;
    }
    Ok(())
}

fn change(poll: &OwnedFd, stream: &TcpStream, flags: EventFlags) -> Result<()> {
    epoll::modify(poll, stream, EventData::new_u64(number(stream)?), flags)?;
    Ok(())
}
