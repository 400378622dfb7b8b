//! The queueing discipline of an endpoint with a rate: a token bucket (`tbf`) at the host interface.

use nix::net::if_::if_indextoname;
use rtnetlink::{
    packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, Nla, NlasIterator},
    packet_route::{
        RouteNetlinkMessage as Message,
        tc::{TcAttribute, TcHandle, TcMessage, TcOption},
    },
};

use super::{Error, Kernel, Link, filter, is_own_device};
use crate::model::Rate;

/// Kind of the discipline.
const KIND: &str = "tbf";
/// Handle of netpath's discipline, `4e50:`; "NP".
const HANDLE: TcHandle = TcHandle {
    major: 0x4e50,
    minor: 0,
};

/// Attributes of `tbf` (linux/pkt_sched.h).
const PARAMETERS: u16 = 1;
const RATE64: u16 = 4;
const BURST: u16 = 6;
/// Bytes of `tc_tbf_qopt`: two of `tc_ratespec` with 12 bytes, the limit, the buffer and the MTU.
const PARAMETER_BYTES: usize = 36;
/// Offsets of fields in it.
const LINK_LAYER: usize = 1;
const RATE: usize = 8;
const LIMIT: usize = 24;
/// `TC_LINKLAYER_ETHERNET`: the kernel needs no table of transmission times.
const ETHERNET: u8 = 1;

/// Divisors of the rate in bytes per second: the queue holds the bytes of 100 ms, and the bytes of 10 ms are sent at once.
const QUEUE: u64 = 10;
const AT_ONCE: u64 = 100;
/// Least bytes in the queue: two GSO packets.
const LEAST_QUEUE: u64 = 2 * 65_536;
/// Least bytes that are sent at once. Larger GSO packets are segmented.
const LEAST_AT_ONCE: u64 = 16_384;

impl Kernel {
    /// Sets netpath's discipline with this rate at a device, in place of any other; without a rate, removes netpath's discipline.
    pub(super) async fn set_rate(&self, link: &Link, rate: Option<Rate>) -> Result<(), Error> {
        let current = self.rate(link).await?;
        if current == rate {
            return Ok(());
        }
        let mut message = root(link);
        message.header.handle = HANDLE;
        message.attributes.push(TcAttribute::Kind(KIND.to_owned()));
        let Some(rate) = rate else {
            let request = Message::DelQueueDiscipline(message);
            return self.socket.change(&link.name, request, 0).await;
        };
        message.attributes.push(TcAttribute::Options(options(rate)));
        let request = Message::NewQueueDiscipline(message);
        self.socket
            .change(&link.name, request, NLM_F_CREATE | NLM_F_REPLACE)
            .await
    }

    /// The rate of a device's discipline, if that is netpath's and has the parameters for this rate.
    pub(super) async fn rate(&self, link: &Link) -> Result<Option<Rate>, Error> {
        if link.qdisc.as_deref() != Some(KIND) {
            return Ok(None);
        }
        let request = Message::GetQueueDiscipline(root(link));
        let reply = match self.socket.get_echo(&link.name, request).await {
            // The device or its discipline was removed meanwhile.
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENODEV)) => None,
            reply => reply?,
        };
        match reply {
            Some(Message::NewQueueDiscipline(message)) => Ok(parse(&message)),
            _ => Ok(None),
        }
    }
}

/// Devices of netpath with a queueing discipline of another program, and its kind.
///
/// # Errors
/// If the kernel refuses the request.
pub fn foreign_qdiscs() -> Result<Vec<(String, String)>, Error> {
    let request = Message::GetQueueDiscipline(TcMessage::default());
    let replies = filter::exchange("RTM_GETQDISC", request, NLM_F_DUMP, 0)?;
    let found = replies.into_iter().filter_map(|reply| {
        let Message::NewQueueDiscipline(message) = reply else {
            return None;
        };
        let header = &message.header;
        // The kernel's own disciplines have no handle.
        let none = TcHandle { major: 0, minor: 0 };
        if header.parent != TcHandle::ROOT || [none, HANDLE].contains(&header.handle) {
            return None;
        }
        let device = if_indextoname(header.index.cast_unsigned()).ok()?;
        let device = device.to_string_lossy().into_owned();
        let kind = filter::kind(&message)?;
        is_own_device(&device).then_some((device, kind))
    });
    Ok(found.collect())
}

fn root(link: &Link) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = link.index.cast_signed();
    message.header.parent = TcHandle::ROOT;
    message
}

const fn limit(rate: Rate) -> u64 {
    at_least(rate.bytes() / QUEUE, LEAST_QUEUE)
}

const fn at_least(value: u64, least: u64) -> u64 {
    if value < least { least } else { value }
}

/// The bytes of a 32-bit field of the kernel's structures; the greatest number if `value` is too large.
fn word(value: u64) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_ne_bytes()
}

fn options(rate: Rate) -> Vec<TcOption> {
    let mut parameters = [0; PARAMETER_BYTES];
    let mut put = |offset: usize, bytes: &[u8]| {
        for (to, from) in parameters.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
    };
    put(LINK_LAYER, &[ETHERNET]);
    put(RATE, &word(rate.bytes()));
    put(LIMIT, &word(limit(rate)));
    let burst = at_least(rate.bytes() / AT_ONCE, LEAST_AT_ONCE);
    let option = |kind, bytes: &[u8]| TcOption::Other(DefaultNla::new(kind, bytes.to_vec()));
    vec![
        option(PARAMETERS, &parameters),
        option(RATE64, &rate.bytes().to_ne_bytes()),
        option(BURST, &word(burst)),
    ]
}

fn parse(message: &TcMessage) -> Option<Rate> {
    if message.header.handle != HANDLE {
        return None;
    }
    let options = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            TcAttribute::Options(options) => Some(options),
            _ => None,
        })?;
    // The options of this kind are one attribute with the bytes of all.
    let Some(TcOption::Other(options)) = options.first() else {
        return None;
    };
    let mut bytes = vec![0; options.value_len()];
    options.emit_value(&mut bytes);
    let (mut rate, mut rate64, mut queue) = (0, None, 0);
    for attribute in NlasIterator::new(bytes.as_slice()) {
        let attribute = attribute.ok()?;
        let value = attribute.value();
        let number = |offset: usize| -> Option<u64> {
            let word = value.get(offset..offset + 4)?.try_into().ok()?;
            Some(u32::from_ne_bytes(word).into())
        };
        match attribute.kind() {
            PARAMETERS => (rate, queue) = (number(RATE)?, number(LIMIT)?),
            RATE64 => rate64 = Some(u64::from_ne_bytes(value.try_into().ok()?)),
            _ => {}
        }
    }
    let rate = Rate::try_from(rate64.unwrap_or(rate) * 8).ok()?;
    (word(limit(rate)) == word(queue)).then_some(rate)
}
