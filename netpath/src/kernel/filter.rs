//! Traffic-control filters and the clsact qdisc: reading both, and removing the qdisc.
//!
//! Synchronous: the callers hold programs, which cannot be sent to another thread.

use std::io;

use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_DUMP, NLM_F_ECHO, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
    packet_route::{
        RouteNetlinkMessage as Message,
        tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};

use super::Error;

/// Direction of the packets that a filter of the clsact qdisc sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Packets that the device receives.
    Ingress,
    /// Packets that the device sends.
    Egress,
}

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Priority; filters with a smaller one run first.
    pub priority: u16,
    /// Handle, unique within a priority.
    pub handle: u32,
    /// Name that the creator of a BPF filter gave it; empty if there is none.
    pub name: String,
    /// Id of the program of a BPF filter.
    pub program: Option<u32>,
}

/// `TC_H_CLSACT` with the minor numbers of its two hooks (linux/pkt_sched.h).
const CLSACT: u16 = 0xffff;
const INGRESS: u16 = 0xfff2;
const EGRESS: u16 = 0xfff3;
/// `TC_H_INGRESS`, the parent of the clsact and the ingress qdisc.
const PARENT: u16 = 0xfff1;

/// The filters of a device in one direction, in no particular order. None if the device has no clsact qdisc.
///
/// # Errors
/// If the kernel refuses the request.
pub fn filters(ifindex: u32, direction: Direction) -> Result<Vec<Filter>, Error> {
    let minor = match direction {
        Direction::Ingress => INGRESS,
        Direction::Egress => EGRESS,
    };
    let request = Message::GetTrafficFilter(message(ifindex, minor));
    let replies = match exchange("RTM_GETTFILTER", request, NLM_F_DUMP, ifindex) {
        // Without the qdisc there is no such parent.
        Err(Error::Netlink { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => {
            Vec::new()
        }
        replies => replies?,
    };
    let filters = replies.into_iter().filter_map(|reply| match reply {
        // For each priority, the dump contains an additional message, which has no handle.
        Message::NewTrafficFilter(message) => {
            let filter = filter(&message);
            (filter.handle != 0).then_some(filter)
        }
        _ => None,
    });
    Ok(filters.collect())
}

/// The kind of the qdisc at a device's ingress, `clsact` or `ingress`.
///
/// # Errors
/// If the kernel refuses the request.
pub fn ingress_qdisc(ifindex: u32) -> Result<Option<String>, Error> {
    // The reply is a notification. The kernel sends it to the requester only with NLM_F_ECHO.
    let request = Message::GetQueueDiscipline(message(ifindex, PARENT));
    let replies = match exchange("RTM_GETQDISC", request, NLM_F_ACK | NLM_F_ECHO, ifindex) {
        Err(Error::Netlink { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {
            return Ok(None);
        }
        replies => replies?,
    };
    let kind = replies.into_iter().find_map(|reply| match reply {
        Message::NewQueueDiscipline(message) => kind(&message),
        _ => None,
    });
    Ok(kind)
}

/// Removes the clsact qdisc of a device with every filter in it; succeeds if there is none.
///
/// # Errors
/// If the kernel refuses the request.
pub fn delete_clsact(ifindex: u32) -> Result<(), Error> {
    let mut request = message(ifindex, PARENT);
    request
        .attributes
        .push(TcAttribute::Kind("clsact".to_owned()));
    let request = Message::DelQueueDiscipline(request);
    match exchange("RTM_DELQDISC", request, NLM_F_ACK, ifindex) {
        Err(Error::Netlink { source, .. })
            if matches!(
                source.raw_os_error(),
                Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)
            ) =>
        {
            Ok(())
        }
        result => result.map(|_| ()),
    }
}

fn parent(minor: u16) -> u32 {
    u32::from(CLSACT) << 16 | u32::from(minor)
}

fn message(ifindex: u32, minor: u16) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = ifindex.cast_signed();
    message.header.parent = TcHandle::from(parent(minor));
    message
}

pub(super) fn kind(message: &TcMessage) -> Option<String> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind.clone()),
            _ => None,
        })
}

fn filter(message: &TcMessage) -> Filter {
    let options = message
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            TcAttribute::Options(options) => Some(options),
            _ => None,
        });
    let (mut name, mut program) = (String::new(), None);
    for option in options.flatten() {
        match option {
            TcOption::Bpf(TcFilterBpfOption::ProgName(text)) => name.clone_from(text),
            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => program = Some(*id),
            _ => {}
        }
    }
    Filter {
        priority: (message.header.info >> 16) as u16,
        handle: message.header.handle.into(),
        name,
        program,
    }
}

/// Sends a request and collects the replies up to the acknowledgement or the end of the dump.
pub(super) fn exchange(
    request: &'static str,
    message: Message,
    flags: u16,
    ifindex: u32,
) -> Result<Vec<Message>, Error> {
    let failed = |source: io::Error| Error::Netlink {
        request,
        object: format!("interface {ifindex}"),
        source,
    };
    let unusable = || Error::NoReply {
        request,
        object: format!("interface {ifindex}"),
    };
    let socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket
        .send_to(&bytes, &SocketAddr::new(0, 0), 0)
        .map_err(failed)?;
    let mut replies = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full().map_err(failed)?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let reply = NetlinkMessage::<Message>::deserialize(rest).map_err(|_| unusable())?;
            let length = (reply.header.length as usize).next_multiple_of(4);
            match reply.payload {
                NetlinkPayload::InnerMessage(inner) => replies.push(inner),
                NetlinkPayload::Done(_) => return Ok(replies),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(failed(error.to_io()));
                }
                NetlinkPayload::Error(_) => return Ok(replies),
                _ => return Err(unusable()),
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}
