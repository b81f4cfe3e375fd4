//! Questions to the kernel about the interfaces of a namespace (rtnetlink).
//!
//! Owns the form of questions and answers. Never changes anything: it only asks. Start at [`Rtnetlink`].

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    nsid::{NsidAttribute, NsidMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// An interface, or why it cannot be read.
pub(super) type Described = Result<Interface, String>;
/// A message of an answer, or why it cannot be read.
type Message = Result<RouteNetlinkMessage, String>;

/// A socket for questions about the namespace that it was made in.
#[derive(Debug)]
pub(super) struct Rtnetlink(Socket);

/// An interface as the kernel describes it.
#[derive(Debug)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    /// Kind of a virtual device; a device of hardware has none.
    pub(super) kind: Option<InfoKind>,
    pub(super) is_loopback: bool,
    /// Index of what it stands on, or of its other end.
    pub(super) link: Option<u32>,
    /// Number, in its own namespace, of the namespace that `link` is in, when that is another one.
    pub(super) link_netns: Option<i32>,
}

impl Rtnetlink {
    /// A socket of the thread's namespace; it stays there wherever it is used.
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Every interface. One that cannot be read is an error of its own, and hides no other.
    pub(super) fn interfaces(&self) -> io::Result<Vec<Described>> {
        let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answer = self.ask(question, NLM_F_REQUEST | NLM_F_DUMP)?;
        Ok(answer.into_iter().filter_map(interface).collect())
    }

    /// The interface with this index.
    pub(super) fn interface(&self, index: u32) -> io::Result<Option<Interface>> {
        let mut question = LinkMessage::default();
        question.header.index = index;
        match self.ask(RouteNetlinkMessage::GetLink(question), NLM_F_REQUEST | NLM_F_ACK) {
            Ok(answer) => answer.into_iter().find_map(interface).transpose().map_err(io::Error::other),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The number that this namespace knows another one by; none when it has none.
    pub(super) fn number_of(&self, netns: BorrowedFd<'_>) -> io::Result<Option<i32>> {
        let mut question = NsidMessage::default();
        let fd = u32::try_from(netns.as_raw_fd()).map_err(io::Error::other)?;
        question.attributes.push(NsidAttribute::Fd(fd));
        let answer = self.ask(RouteNetlinkMessage::GetNsId(question), NLM_F_REQUEST | NLM_F_ACK)?;
        let attributes = answer.into_iter().flatten().flat_map(|message| {
            if let RouteNetlinkMessage::NewNsId(nsid) = message { nsid.attributes } else { Vec::new() }
        });
        let number = attributes.into_iter().find_map(|attribute| {
            if let NsidAttribute::Id(number) = attribute { Some(number).filter(|number| *number >= 0) } else { None }
        });
        Ok(number)
    }

    /// Sends a question and reads until the kernel says that the answer is complete.
    fn ask(&self, question: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<Message>> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let mut answer = Vec::new();
        loop {
            let (datagram, _from) = self.0.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let length = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?.length();
                match NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map(|message| message.payload) {
                    Ok(NetlinkPayload::InnerMessage(message)) => answer.push(Ok(message)),
                    Ok(NetlinkPayload::Done(_)) => return Ok(answer),
                    Ok(NetlinkPayload::Error(error)) if error.code.is_none() => return Ok(answer),
                    Ok(NetlinkPayload::Error(error)) => return Err(error.to_io()),
                    Ok(_) => {}
                    Err(error) => answer.push(Err(error.to_string())),
                }
                // Messages begin at multiples of four bytes.
                let next = usize::try_from(length).map_err(io::Error::other)?.next_multiple_of(4);
                rest = rest.get(next..).unwrap_or_default();
            }
        }
    }
}

fn interface(message: Message) -> Option<Described> {
    let message = match message {
        Ok(RouteNetlinkMessage::NewLink(message)) => message,
        Ok(_) => return None,
        Err(error) => return Some(Err(error)),
    };
    let mut interface = Interface {
        index: message.header.index,
        name: String::new(),
        kind: None,
        is_loopback: message.header.flags.contains(LinkFlags::Loopback),
        link: None,
        link_netns: None,
    };
    for attribute in message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            interface.name = name;
        } else if let LinkAttribute::Link(index) = attribute {
            interface.link = Some(index).filter(|index| *index != 0);
        } else if let LinkAttribute::LinkNetNsId(number) = attribute {
            interface.link_netns = Some(number);
        } else if let LinkAttribute::LinkInfo(infos) = attribute {
            let kind = |info| if let LinkInfo::Kind(kind) = info { Some(kind) } else { None };
            interface.kind = infos.into_iter().find_map(kind);
        }
    }
    Some(Ok(interface))
}
