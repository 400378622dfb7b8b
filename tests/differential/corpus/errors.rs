//! ICMP errors (I-3 to I-7, U-12, T-9, T-10, V6-3).

use netpath_tests::packet::{Checksum, Packet};

use crate::{
    pair::{End, Map},
    sequence::{Flow, Group, IcmpError, Protocol, Remote, Sequence},
};

use super::{FAMILIES, PATHS, flow, opened};

/// Every type of error with the number of its assigned codes.
const V4_TYPES: [(u8, u8); 4] = [(3, 16), (4, 1), (11, 2), (12, 3)];
const V6_TYPES: [(u8, u8); 4] = [(1, 7), (2, 1), (3, 2), (4, 3)];

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Echo];

/// No operation, record route with two slots, end of list.
const OPTIONS: &[u8] = &[1, 7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0];

/// All sequences of this group.
pub fn sequences() -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for v6 in FAMILIES {
        for (kind, codes) in if v6 { V6_TYPES } else { V4_TYPES } {
            for code in 0..codes {
                sequences.extend(every_path(v6, IcmpError::new(kind, code)));
            }
        }
        for protocol in PROTOCOLS {
            sequences.extend(quotes(v6, protocol));
            sequences.extend(lifetimes(v6, protocol));
        }
        sequences.extend(hairpins(v6));
        sequences.extend(unknown(v6));
    }
    sequences
}

/// The field with the next hop's MTU.
fn with_rest(mut error: IcmpError, v6: bool) -> IcmpError {
    error.rest = match (v6, error.kind, error.code) {
        (false, 3, 4) => [0, 0, 5, 0],
        (true, 2, _) => [0, 0, 5, 0],
        (false, 12, 0) => [8, 0, 0, 0],
        (true, 4, _) => [0, 0, 0, 6],
        _ => [0; 4],
    };
    error
}

/// Errors about an established flow, from a router and from the receiver.
fn every_path(v6: bool, error: IcmpError) -> Vec<Sequence> {
    let error = with_rest(error, v6);
    let mut router = error.clone();
    router.from = Some(Remote::Router);
    let mut sequences = Vec::new();
    for protocol in PROTOCOLS {
        let name = |path: &str| {
            let IcmpError { kind, code, .. } = error;
            let name = format!("{kind}/{code} {path} {}", protocol.name());
            Sequence::new(Group::IcmpErrors, v6, name)
        };
        let out = Flow::out(protocol, End::A1);
        sequences.push(
            opened(name("in, about outbound"), out)
                .icmp_error(out, true, error.clone())
                .icmp_error(out, true, router.clone())
                .back(out, |p| p),
        );
        if protocol == Protocol::Echo {
            continue;
        }
        let published = Flow::published(protocol, End::A2);
        sequences.push(
            opened(name("in, about published"), published)
                .icmp_error(published, false, error.clone())
                .icmp_error(published, false, router.clone())
                .forward(published, |p| p),
        );
        sequences.push(
            opened(name("out, about published"), published)
                .icmp_error(published, true, error.clone())
                .back(published, |p| p),
        );
    }
    sequences
}

/// The length of the quote, and what precedes and follows it.
fn quotes(v6: bool, protocol: Protocol) -> Vec<Sequence> {
    let mut errors: Vec<(String, IcmpError)> = Vec::new();
    let plain = IcmpError::closed(v6);
    for bytes in [0, 4, 7, 8, 9, 12, 17, 18, 20, 24, 28] {
        let mut error = plain.clone();
        error.quote = Some(bytes);
        errors.push((format!("quote of {bytes} bytes"), error));
    }
    if !v6 {
        for length in [4, 12] {
            let mut error = plain.clone();
            error.quoted_options = &OPTIONS[..length];
            errors.push((
                format!("quote with {length} bytes of options"),
                error.clone(),
            ));
            error.quote = Some(8);
            errors.push((format!("short quote with {length} bytes of options"), error));
        }
        let mut error = plain.clone();
        error.shape = |packet| packet.options(OPTIONS);
        errors.push(("options before the error".to_owned(), error));
        let mut error = plain.clone();
        error.mutation = Some(|quoted| quoted[10] ^= 0x55);
        errors.push(("wrong header checksum in the quote".to_owned(), error));
    }
    let mut error = plain.clone();
    error.shape = |packet| packet.checksum(Checksum::WrongBy(0x1234));
    errors.push(("wrong checksum stays wrong".to_owned(), error));
    let mut error = plain.clone();
    error.mutation = Some(|quoted| quoted.extend([0x20, 0, 0xdf, 0xff, 0, 8, 1, 1, 0, 1, 0, 1]));
    errors.push(("extension after the quote".to_owned(), error));
    let mut error = plain.clone();
    error.mutation = Some(|quoted| {
        let last = quoted.len() - 1;
        quoted[last] ^= 0xff;
    });
    errors.push((
        "payload of the quote is not what was sent".to_owned(),
        error,
    ));
    let mut error = plain.clone();
    error.shape = |packet| packet.ttl(2).tos(0xc0);
    errors.push(("type of service and a low TTL".to_owned(), error));

    let mut sequences = Vec::new();
    for (what, error) in errors {
        let name = |path: &str| {
            Sequence::new(
                Group::IcmpErrors,
                v6,
                format!("{what}, {path} {}", protocol.name()),
            )
        };
        let out = Flow::out(protocol, End::A1);
        sequences.push(opened(name("about outbound"), out).icmp_error(out, true, error.clone()));
        if protocol != Protocol::Echo {
            let published = Flow::published(protocol, End::A1);
            sequences.push(
                opened(name("about published, from the client"), published).icmp_error(
                    published,
                    false,
                    error.clone(),
                ),
            );
            sequences.push(
                opened(name("about published, from the server"), published)
                    .icmp_error(published, true, error),
            );
        }
    }
    sequences
}

/// An error does not remove a flow (U-12, T-10, I-6).
fn lifetimes(v6: bool, protocol: Protocol) -> Vec<Sequence> {
    let name =
        |what: &str| Sequence::new(Group::IcmpErrors, v6, format!("{} {what}", protocol.name()));
    let out = Flow::out(protocol, End::A2);
    let error = IcmpError::closed(v6);
    let mut sequences = vec![
        opened(name("continues after errors"), out)
            .icmp_error(out, true, error.clone())
            .icmp_error(out, true, error.clone())
            .back(out, |p| p)
            .forward(out, |p| p)
            .back(out, |p| p),
        opened(name("error from the sandbox about a reply"), out)
            .icmp_error(out, false, error.clone())
            .forward(out, |p| p),
        opened(name("from a port that is not kept"), out.with_sport(999))
            .icmp_error(out.with_sport(999), true, error.clone())
            .icmp_error(out.with_sport(999), false, error.clone()),
    ];
    let two = out.number(1);
    sequences.push(
        opened(opened(name("about one of two flows"), out), two)
            .icmp_error(two, true, error.clone())
            .icmp_error(out, true, error),
    );
    sequences
}

fn hairpins(v6: bool) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for path in &PATHS[3..] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let flow = flow(protocol, *path);
            let name = |what: &str| {
                let name = format!("{}: {what} {}", path.0, protocol.name());
                Sequence::new(Group::IcmpErrors, v6, name)
            };
            let error = IcmpError::closed(v6);
            sequences.push(opened(name("from the server about"), flow).icmp_error(
                flow,
                true,
                error.clone(),
            ));
            sequences
                .push(opened(name("from the client about"), flow).icmp_error(flow, false, error));
        }
    }
    sequences
}

/// Errors about flows that do not exist.
fn unknown(v6: bool) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for protocol in PROTOCOLS {
        let name = |what: &str| {
            Sequence::new(Group::IcmpErrors, v6, format!("{what} {}", protocol.name()))
        };
        let error = IcmpError::closed(v6);
        let mut router = error.clone();
        router.from = Some(Remote::Router);
        let out = Flow::out(protocol, End::A1);
        sequences.push(
            name("in, about no flow")
                .icmp_error(out, true, error.clone())
                .icmp_error(out, true, router),
        );
        if protocol != Protocol::Echo {
            let published = Flow::published(protocol, End::A1);
            sequences.push(name("in, about no client").icmp_error(published, false, error.clone()));
        }
        // A quoted sandbox address cannot be known outside.
        let mut inner = error.clone();
        inner.quote = Some(8);
        sequences.push(
            opened(name("in, twice about"), out)
                .icmp_error(out, true, inner.clone())
                .icmp_error(out, true, inner),
        );
    }
    let redirect = move |view: &crate::sequence::View<'_>| {
        let host = Map::host(v6);
        let source = view.remote(Remote::Router);
        let quoted = Packet::ip(host, view.remote(Remote::Peer))
            .udp(30_000, 53)
            .build();
        let (kind, rest) = if v6 { (1, [0; 4]) } else { (5, [192, 0, 2, 3]) };
        let packet = Packet::ip(source, host).icmp(kind, 1, rest);
        view.eth(End::Outside, packet.payload(&quoted[14..]), host)
    };
    sequences.push(
        Sequence::new(Group::IcmpErrors, v6, "another error about no flow")
            .send(End::Outside, redirect),
    );
    sequences
}
