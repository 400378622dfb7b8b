//! An rtnetlink socket, and the requests on it.

use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_core::{
        NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_ECHO, NLM_F_REQUEST, NetlinkMessage,
        NetlinkPayload,
    },
    packet_route::RouteNetlinkMessage as Message,
};

use super::Error;

/// Attempts of a dump, which is repeated if the table changes meanwhile.
pub(super) const DUMP_ATTEMPTS: usize = 8;

/// A socket for requests, bound to the namespace it was opened in; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    handle: Handle,
}

impl Socket {
    /// In the namespace of the calling thread, driven by the current tokio runtime until the last clone is dropped.
    pub(super) fn open() -> Result<Self, Error> {
        // With strict checking the kernel filters dumps by interface, so their cost is independent of the number of interfaces.
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()
            .map_err(|source| Error::syscall("socket(AF_NETLINK)", "NETLINK_ROUTE", source))?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Requests a change and waits for the acknowledgement. `flags` are the `NLM_F_*` of the request.
    pub(super) async fn change(
        &self,
        object: &str,
        message: Message,
        flags: u16,
    ) -> Result<(), Error> {
        self.exchange(object, message, NLM_F_ACK | flags)
            .await
            .map(|_| ())
    }

    /// Requests one object of a kind whose replies are notifications. The kernel sends them to the requester only with
    /// `NLM_F_ECHO`.
    pub(super) async fn get_echo(
        &self,
        object: &str,
        message: Message,
    ) -> Result<Option<Message>, Error> {
        let flags = NLM_F_ACK | NLM_F_ECHO;
        let replies = self.exchange(object, message, flags).await?;
        Ok(replies.messages.into_iter().next())
    }

    /// Requests one object.
    pub(super) async fn get(&self, object: &str, message: Message) -> Result<Message, Error> {
        let request = name_of(&message);
        let replies = self.exchange(object, message, 0).await?;
        replies
            .messages
            .into_iter()
            .next()
            .ok_or_else(|| Error::NoReply {
                request,
                object: object.to_owned(),
            })
    }

    /// Requests all matching objects, as a consistent snapshot.
    pub(super) async fn dump(&self, object: &str, message: Message) -> Result<Vec<Message>, Error> {
        for _ in 0..DUMP_ATTEMPTS {
            let replies = self.exchange(object, message.clone(), NLM_F_DUMP).await?;
            if !replies.interrupted {
                return Ok(replies.messages);
            }
        }
        Err(Error::Unstable {
            request: name_of(&message),
            object: object.to_owned(),
        })
    }

    async fn exchange(&self, object: &str, message: Message, flags: u16) -> Result<Replies, Error> {
        let request = name_of(&message);
        let no_reply = || Error::NoReply {
            request,
            object: object.to_owned(),
        };
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        let mut stream = self
            .handle
            .clone()
            .request(message)
            .map_err(|_| no_reply())?;
        let mut replies = Replies::default();
        while let Some(reply) = stream.next().await {
            replies.interrupted |= reply.header.flags & NLM_F_DUMP_INTR != 0;
            match reply.payload {
                NetlinkPayload::InnerMessage(inner) => replies.messages.push(inner),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(Error::Netlink {
                        request,
                        object: object.to_owned(),
                        source: error.to_io(),
                    });
                }
                NetlinkPayload::Overrun(_) => return Err(no_reply()),
                _ => {}
            }
        }
        Ok(replies)
    }
}

#[derive(Default)]
struct Replies {
    messages: Vec<Message>,
    interrupted: bool,
}

fn name_of(message: &Message) -> &'static str {
    match message {
        Message::NewLink(_) => "RTM_NEWLINK",
        Message::SetLink(_) => "RTM_SETLINK",
        Message::DelLink(_) => "RTM_DELLINK",
        Message::GetLink(_) => "RTM_GETLINK",
        Message::NewAddress(_) => "RTM_NEWADDR",
        Message::DelAddress(_) => "RTM_DELADDR",
        Message::GetAddress(_) => "RTM_GETADDR",
        Message::NewRoute(_) => "RTM_NEWROUTE",
        Message::DelRoute(_) => "RTM_DELROUTE",
        Message::GetRoute(_) => "RTM_GETROUTE",
        Message::NewQueueDiscipline(_) => "RTM_NEWQDISC",
        Message::DelQueueDiscipline(_) => "RTM_DELQDISC",
        Message::GetQueueDiscipline(_) => "RTM_GETQDISC",
        Message::GetNsId(_) => "RTM_GETNSID",
        _ => "RTM_*",
    }
}
