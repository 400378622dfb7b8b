//! The seeds of the corpus: one packet of each kind that a node receives.

use crate::{
    input::{COMPLETE, join},
    reference,
};
use netpath_common::flow::{REWRITE_DST, REWRITE_SRC};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Name and input of every seed.
pub fn all() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for v4 in [true, false] {
        let family = if v4 { "v4" } else { "v6" };
        for (name, frame) in frames(v4) {
            let to = if v4 {
                let mapped = |last| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 172, 20, 0, last];
                (mapped(2), mapped(3), 33_000, 8080)
            } else {
                let local = |last| [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
                (local(2), local(3), 33_000, 8080)
            };
            let all = COMPLETE | REWRITE_SRC | REWRITE_DST;
            seeds.push((format!("{family}-{name}"), join(all, to, &frame)));
        }
    }
    seeds
}

fn frames(v4: bool) -> Vec<(String, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut add = |name: &str, frame: Vec<u8>| frames.push((name.to_owned(), frame));
    for (name, protocol, body) in transports(v4) {
        add(name, packet(v4, &[], protocol, &body));
    }
    let datagram = udp(b"data");
    for (name, headers) in chains(v4) {
        add(name, packet(v4, &headers, UDP, &datagram));
    }
    for (name, quote) in quotes(v4) {
        let kinds: &[(u8, u8)] = if v4 {
            &[(3, 4), (11, 0)]
        } else {
            &[(2, 0), (1, 4)]
        };
        for (kind, code) in kinds {
            let mut body = vec![*kind, *code, 0, 0, 0, 0, 5, 0];
            body.extend(&quote);
            let icmp = if v4 { 1 } else { 58 };
            add(
                &format!("error-{kind}-about-{name}"),
                packet(v4, &[], icmp, &body),
            );
        }
    }
    for (name, frame) in extended(v4) {
        add(name, frame);
    }
    let mut padded = packet(v4, &[], UDP, &datagram);
    padded.extend([0; 12]);
    add("padded", padded);
    let mut short = packet(v4, &[], TCP, &tcp(SYN, 0, b""));
    short.truncate(40);
    add("cut", short);
    let mut version = packet(v4, &[], UDP, &datagram);
    version[14] ^= 0x10;
    add("version", version);
    let mut arp = packet(v4, &[], UDP, &datagram);
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    add("arp", arp);
    frames
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn transports(v4: bool) -> Vec<(&'static str, u8, Vec<u8>)> {
    let icmp = if v4 { 1 } else { 58 };
    let (request, reply) = if v4 { (8, 0) } else { (128, 129) };
    let mut absent = udp(b"no checksum");
    absent[6..8].fill(0);
    let mut transports = vec![
        ("tcp-syn", TCP, tcp(SYN, 5, b"")),
        ("tcp-syn-ack", TCP, tcp(SYN | ACK, 1, b"")),
        ("tcp-data", TCP, tcp(ACK | 0x08, 3, b"odd")),
        ("tcp-fin", TCP, tcp(ACK | 0x01, 0, b"")),
        ("tcp-rst", TCP, tcp(0x04, 0, b"")),
        ("tcp-offset", TCP, tcp(ACK, 10, b"")),
        ("udp", UDP, udp(b"even")),
        ("udp-empty", UDP, udp(b"")),
        ("udp-odd", UDP, udp(b"odd")),
        ("udp-without", UDP, absent),
        ("echo-request", icmp, echo(request, b"ping")),
        ("echo-reply", icmp, echo(reply, b"")),
        ("sctp", 132, vec![0, 7, 0, 9, 1, 1, 1, 1, 0, 0, 0, 0]),
        ("gre", 47, vec![0, 0, 8, 0]),
        ("none", 59, Vec::new()),
    ];
    if v4 {
        transports.push(("timestamp", icmp, echo(13, &[0; 12])));
    } else {
        for (name, kind) in [
            ("listener", 143),
            ("router", 134),
            ("neighbour", 135),
            ("redirect", 137),
        ] {
            transports.push((name, icmp, echo(kind, &[0; 16])));
        }
    }
    transports
}

/// IPv6: number and bytes of an extension header. IPv4: all options in one entry.
type Header = (u8, Vec<u8>);

fn chains(v4: bool) -> Vec<(&'static str, Vec<Header>)> {
    if v4 {
        return vec![
            ("router-alert", vec![(0, vec![0x94, 4, 0, 0])]),
            ("options", vec![(0, vec![1; 40])]),
        ];
    }
    let empty = |number: u8| (number, vec![0; 6]);
    let fragment = |field: u16| {
        let [high, low] = field.to_be_bytes();
        (44, vec![high, low, 0, 0, 0, 9])
    };
    vec![
        ("hop-by-hop", vec![empty(0)]),
        ("routing", vec![(43, vec![0; 22])]),
        ("long", vec![(60, vec![0; 400])]),
        (
            "five",
            vec![empty(0), empty(60), empty(43), fragment(0), empty(60)],
        ),
        (
            "six",
            vec![
                empty(60),
                empty(60),
                empty(60),
                empty(60),
                empty(60),
                empty(60),
            ],
        ),
        ("too-long", vec![(60, vec![0; 510])]),
        ("atomic", vec![fragment(0)]),
        ("first", vec![fragment(1)]),
        ("later", vec![fragment(0x0100)]),
        ("later-behind", vec![empty(60), fragment(0x0101)]),
    ]
}

/// Packets that an ICMP error quotes, without link header.
fn quotes(v4: bool) -> Vec<(&'static str, Vec<u8>)> {
    let headers = if v4 { 20 } else { 40 };
    let icmp = if v4 { 1 } else { 58 };
    let request = if v4 { 8 } else { 128 };
    let quote = |headers: &[Header], protocol, body: Vec<u8>| {
        let mut frame = packet(v4, headers, protocol, &body);
        if let Ok(reading) = reference::read(&frame) {
            reference::complete(&mut frame, &reading);
        }
        // The quoted packet had the other direction.
        let (from, size) = if v4 { (26, 4) } else { (22, 16) };
        frame[from..from + 2 * size].rotate_left(size);
        frame.split_off(14)
    };
    let (_, options) = chains(v4).swap_remove(0);
    let plain = [];
    let mut later = quote(&plain, UDP, udp(b"later"));
    if v4 {
        later[7] = 1;
    }
    let mut inner = vec![3, 1, 0, 0, 0, 0, 0, 0];
    inner.extend(quote(&plain, UDP, udp(b"")));
    let mut quotes = vec![
        ("tcp", quote(&plain, TCP, tcp(ACK, 0, b"data"))),
        ("udp", quote(&plain, UDP, udp(b"data"))),
        ("echo", quote(&plain, icmp, echo(request, b"data"))),
        ("options", quote(&options, TCP, tcp(SYN, 1, b""))),
        ("error", quote(&plain, icmp, inner)),
        ("later", later),
        ("gre", quote(&plain, 47, vec![0; 8])),
    ];
    let short = ["tcp-8", "udp-8", "echo-8"];
    for (name, at) in short.into_iter().zip(0..) {
        let mut bytes = quotes[at].1.clone();
        bytes.truncate(headers + 8);
        quotes.push((name, bytes));
    }
    quotes.push(("nothing", Vec::new()));
    quotes
}

/// Errors with the length of the quote (RFC 4884): a padded quote with an extension after it, and lengths that are shorter
/// than the quoted bytes, with and without the quoted checksum.
fn extended(v4: bool) -> Vec<(&'static str, Vec<u8>)> {
    let (icmp, kind, place, unit) = if v4 { (1, 11, 5, 4) } else { (58, 3, 4, 8) };
    let headers = if v4 { 20 } else { 40 };
    let shapes = [
        ("extended", 128, true),
        ("extended-8", headers + 8, false),
        ("extended-all", headers + 24, false),
    ];
    let mut errors = Vec::new();
    for (name, length, pad) in shapes {
        let (_, mut quote) = quotes(v4).swap_remove(0);
        if pad {
            quote.resize(length, 0);
        }
        let mut body = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        body[place] = (length / unit) as u8;
        body.extend(quote);
        body.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 0, 0, 0x11, 0xff]);
        errors.push((name, packet(v4, &[], icmp, &body)));
    }
    errors
}

/// A frame. Its checksums are corrected when the input is read ([`crate::input::COMPLETE`]).
fn packet(v4: bool, headers: &[Header], protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if v4 {
        let options: Vec<_> = headers.iter().flat_map(|(_, bytes)| bytes).collect();
        let length = 20 + options.len();
        let total = (length + body.len()) as u16;
        frame.extend([8, 0, 0x40 | (length / 4) as u8, 0x28]);
        frame.extend(total.to_be_bytes());
        frame.extend([0x12, 0x34, 0x40, 0, 64, protocol, 0, 0]);
        frame.extend([10, 0, 0, 2, 192, 0, 2, 80]);
        frame.extend(options);
    } else {
        let mut content = Vec::new();
        let mut next = protocol;
        for (number, bytes) in headers.iter().rev() {
            // The second byte of a fragment header is reserved.
            let units = (bytes.len() + 2) / 8 - 1;
            content.splice(
                ..0,
                [next, units as u8].into_iter().chain(bytes.iter().copied()),
            );
            next = *number;
        }
        content.extend(body);
        frame.extend([0x86, 0xdd, 0x62, 0x80, 0x12, 0x34]);
        frame.extend((content.len() as u16).to_be_bytes());
        frame.extend([next, 64]);
        frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        frame.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50]);
        frame.extend(content);
        return frame;
    }
    frame.extend(body);
    frame
}

fn tcp(flags: u8, options: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2];
    bytes.extend([(5 + options) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.resize(bytes.len() + usize::from(options) * 4, 1);
    bytes.extend(data);
    bytes
}

/// A UDP datagram. Its checksum field is not zero, because zero means that there is no checksum.
fn udp(data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x9c, 0x41, 0, 53];
    bytes.extend((8 + data.len() as u16).to_be_bytes());
    bytes.extend([0xff, 0xff]);
    bytes.extend(data);
    bytes
}

fn echo(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0, 0x12, 0x34, 0, 1];
    bytes.extend(data);
    bytes
}
