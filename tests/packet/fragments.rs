//! Fragmentation and reassembly of packets.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netpath_common::checksum::{checksum, fold, sum};

const ETHERNET: usize = 14;
const V6: usize = 40;
const FRAGMENT: u8 = 44;

fn is_v4(packet: &[u8]) -> bool {
    packet.first().is_some_and(|byte| byte >> 4 == 4)
}

/// Length of the IP header in bytes, without extension headers.
pub fn header_length(packet: &[u8]) -> usize {
    if is_v4(packet) {
        usize::from(packet[0] & 15) * 4
    } else {
        V6
    }
}

/// Source and destination address.
pub fn addresses(packet: &[u8]) -> [IpAddr; 2] {
    if is_v4(packet) {
        [12, 16].map(|at| {
            let bytes: [u8; 4] = packet[at..at + 4].try_into().expect("four bytes");
            Ipv4Addr::from(bytes).into()
        })
    } else {
        [8, 24].map(|at| {
            let bytes: [u8; 16] = packet[at..at + 16].try_into().expect("sixteen bytes");
            Ipv6Addr::from(bytes).into()
        })
    }
}

/// Inserts options into an IPv4 packet; their length must be a multiple of four bytes.
pub fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let header = header_length(packet);
    let mut longer = packet[..header].to_vec();
    longer.extend(options);
    longer[0] = 0x40 | (longer.len() / 4) as u8;
    let header = longer.len();
    longer.extend(&packet[header_length(packet)..]);
    set_length(&mut longer, header);
    longer
}

/// Sets length and header checksum of an IPv4 packet.
fn set_length(packet: &mut [u8], header: usize) {
    let length = (packet.len() as u16).to_be_bytes();
    packet[2..4].copy_from_slice(&length);
    packet[10..12].fill(0);
    let correct = checksum(&packet[..header]);
    packet[10..12].copy_from_slice(&correct.to_ne_bytes());
}

/// Divides a frame into fragments; `sizes` are the bytes of all fragments but the last, multiples of eight.
pub fn cut(frame: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let (ethernet, packet) = frame.split_at(ETHERNET);
    let header = header_length(packet);
    let (header, body) = packet.split_at(header);
    let mut fragments = Vec::new();
    let mut at = 0;
    for number in 0..=sizes.len() {
        let more = number < sizes.len();
        let end = if more { at + sizes[number] } else { body.len() };
        let mut fragment = header.to_vec();
        let field = (at / 8) as u16;
        if is_v4(packet) {
            fragment[6..8].copy_from_slice(&(field | u16::from(more) << 13).to_be_bytes());
            fragment.extend(&body[at..end]);
            set_length(&mut fragment, header.len());
        } else {
            fragment[6] = FRAGMENT;
            fragment.extend([header[6], 0]);
            fragment.extend((field << 3 | u16::from(more)).to_be_bytes());
            fragment.extend(identification(body).to_be_bytes());
            fragment.extend(&body[at..end]);
            let length = (fragment.len() - V6) as u16;
            fragment[4..6].copy_from_slice(&length.to_be_bytes());
        }
        fragments.push([ethernet, &fragment].concat());
        at = end;
    }
    fragments
}

/// The identification of a fragment; in IPv6, the fragment header must be the first extension header.
pub fn fragment_id(packet: &[u8]) -> u32 {
    let at = |offset: usize| u32::from(packet.get(offset).copied().unwrap_or_default());
    if packet.get(12..14) == Some(&[0x86, 0xdd]) {
        (58..62).fold(0, |id, offset| id << 8 | at(offset))
    } else {
        at(18) << 8 | at(19)
    }
}

/// A hash of the content. A sum is unsuitable, because correct checksums make the sums of all packets equal.
fn identification(body: &[u8]) -> u32 {
    body.iter().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// A frame, possibly reassembled.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// Its bytes.
    pub frame: Vec<u8>,
    /// Offset and length of each fragment, sorted by offset; empty if the frame was no fragment.
    pub fragments: String,
}

/// A fragment: the key of its datagram, header, offset in bytes, MF flag and payload.
struct Fragment<'a> {
    key: Vec<u8>,
    header: Vec<u8>,
    offset: usize,
    more: bool,
    body: &'a [u8],
}

fn fragment(frame: &[u8]) -> Option<Fragment<'_>> {
    let packet = frame.get(ETHERNET..)?;
    let header = header_length(packet);
    if is_v4(packet) && frame.get(12) == Some(&8) {
        let field = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]);
        let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        let mut plain = frame[..ETHERNET + header].to_vec();
        plain[ETHERNET + 6] &= 0x40;
        plain[ETHERNET + 7] = 0;
        // The reassembled packet gets a correct header checksum. Therefore each fragment must have one.
        let is_right = fold(sum(packet.get(..header)?)) == 0xffff;
        return (field & 0x3fff != 0 && is_right).then_some(Fragment {
            key: [packet.get(4..6)?, packet.get(9..10)?, packet.get(12..20)?].concat(),
            header: plain,
            offset: usize::from(field & 0x1fff) * 8,
            more: field & 0x2000 != 0,
            body: packet.get(header..total)?,
        });
    }
    if packet.get(6) != Some(&FRAGMENT) || is_v4(packet) {
        return None;
    }
    let extension = packet.get(V6..V6 + 8)?;
    let field = u16::from_be_bytes([extension[2], extension[3]]);
    let mut plain = frame[..ETHERNET + V6].to_vec();
    plain[ETHERNET + 6] = extension[0];
    Some(Fragment {
        key: [&extension[4..8], packet.get(8..V6)?].concat(),
        header: plain,
        offset: usize::from(field & 0xfff8),
        more: field & 1 != 0,
        body: packet.get(V6 + 8..)?,
    })
}

/// Reassembles the frames that a host receives in one step. Fragments of an incomplete datagram are left as they are.
pub fn assemble(frames: Vec<Vec<u8>>) -> Vec<Assembled> {
    let mut places: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    for (index, frame) in frames.iter().enumerate() {
        if let Some(fragment) = fragment(frame) {
            places.entry(fragment.key).or_default().push(index);
        }
    }
    let mut replaced: BTreeMap<usize, Option<Assembled>> = BTreeMap::new();
    for indices in places.into_values() {
        let fragments: Vec<_> = indices
            .iter()
            .filter_map(|index| fragment(&frames[*index]))
            .collect();
        if let Some(datagram) = join(fragments) {
            replaced.extend(indices.iter().map(|index| (*index, None)));
            replaced.insert(indices[0], Some(datagram));
        }
    }
    let result = |(index, frame)| match replaced.get(&index) {
        Some(datagram) => datagram.clone(),
        None => Some(Assembled {
            frame,
            fragments: String::new(),
        }),
    };
    frames.into_iter().enumerate().filter_map(result).collect()
}

fn join(mut fragments: Vec<Fragment<'_>>) -> Option<Assembled> {
    fragments.sort_by_key(|fragment| fragment.offset);
    // A receiver ignores a duplicate fragment.
    fragments.dedup_by(|a, b| (a.offset, a.more, a.body) == (b.offset, b.more, b.body));
    let mut body: Vec<u8> = Vec::new();
    let mut text = String::new();
    for fragment in &fragments {
        if fragment.offset != body.len() {
            return None;
        }
        body.extend(fragment.body);
        let _ = write!(text, "{}+{} ", fragment.offset, fragment.body.len());
    }
    if fragments.last()?.more {
        return None;
    }
    let mut frame = fragments.first()?.header.clone();
    let header = frame.len() - ETHERNET;
    frame.extend(body);
    let packet = &mut frame[ETHERNET..];
    if is_v4(packet) {
        set_length(packet, header);
    } else {
        let length = (packet.len() - V6) as u16;
        packet[4..6].copy_from_slice(&length.to_be_bytes());
    }
    Some(Assembled {
        frame,
        fragments: text,
    })
}
