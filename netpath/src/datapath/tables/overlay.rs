//! Overlay networks: other nodes, what is on them, and the tunnel of this node.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::AsFd as _,
};

use aya::maps::lpm_trie::Key;
use netpath_common::{
    addr::{Addr, MacAddr},
    maps::{Config, Peer, Remote, RemoteKey as MapKey},
};

use super::{
    MapTable, PrefixData, Tables, absent_is_none, absent_is_success, failed, octets_of, prefix_of,
    read_each, syscall,
};
use crate::{
    datapath::{DatapathError, batch},
    plan::overlay::{PeerEntry, RemoteEntry, RemoteKey, TunnelEntry, VniEntry},
};

impl MapTable for TunnelEntry {
    fn write(tables: &mut Tables, list: &[((), Self)]) -> Result<(), DatapathError> {
        let mut list = list.iter();
        list.try_for_each(|((), entry)| tables.set_tunnel(Some(*entry)))
    }

    fn delete(tables: &mut Tables, keys: &[()]) -> Result<(), DatapathError> {
        let mut keys = keys.iter();
        keys.try_for_each(|()| tables.set_tunnel(None))
    }

    fn read_all(tables: &Tables) -> Result<BTreeMap<(), Self>, DatapathError> {
        let config = tables.config()?;
        let port = u16::try_from(config.tunnel_port).unwrap_or_default();
        let v4 = match config.underlay_v4.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        };
        let v6 = match config.underlay_v6.ip() {
            IpAddr::V6(ip) if !ip.is_unspecified() => Some(ip),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        };
        let entry = (port != 0).then_some(((), Self { port, v4, v6 }));
        Ok(entry.into_iter().collect())
    }
}

impl Tables {
    fn set_tunnel(&mut self, entry: Option<TunnelEntry>) -> Result<(), DatapathError> {
        let address = |ip: Option<IpAddr>| ip.map_or(Addr::UNSPECIFIED, Addr::from);
        let (port, v4, v6) =
            entry.map_or((0, None, None), |entry| (entry.port, entry.v4, entry.v6));
        self.set_node(|config| {
            Ok(Config {
                tunnel_port: port.into(),
                underlay_v4: address(v4.map(IpAddr::from)),
                underlay_v6: address(v6.map(IpAddr::from)),
                ..config
            })
        })
    }
}

impl MapTable for PeerEntry {
    fn write(tables: &mut Tables, list: &[(IpAddr, Self)]) -> Result<(), DatapathError> {
        for (ip, entry) in list {
            let peer = Peer {
                address: entry.address.into(),
            };
            let written = tables.peers.insert(Addr::from(*ip), peer, 0);
            written.map_err(failed("peers"))?;
        }
        Ok(())
    }

    fn delete(tables: &mut Tables, keys: &[IpAddr]) -> Result<(), DatapathError> {
        let mut keys = keys.iter();
        keys.try_for_each(|ip| absent_is_success("peers", tables.peers.remove(&Addr::from(*ip))))
    }

    fn read_all(tables: &Tables) -> Result<BTreeMap<IpAddr, Self>, DatapathError> {
        let mut peers = BTreeMap::new();
        for item in tables.peers.iter() {
            let (ip, peer) = item.map_err(failed("peers"))?;
            peers.insert(ip.ip(), peer_entry(peer));
        }
        Ok(peers)
    }

    fn read(
        tables: &Tables,
        keys: &BTreeSet<&IpAddr>,
    ) -> Result<BTreeMap<IpAddr, Self>, DatapathError> {
        read_each(keys, |ip| {
            let found = tables.peers.get(&Addr::from(*ip), 0);
            Ok(absent_is_none("peers", found)?.map(peer_entry))
        })
    }
}

fn peer_entry(peer: Peer) -> PeerEntry {
    PeerEntry {
        address: peer.address.ip(),
    }
}

impl MapTable for RemoteEntry {
    fn write(tables: &mut Tables, list: &[(RemoteKey, Self)]) -> Result<(), DatapathError> {
        let keys: Vec<_> = list.iter().map(|(key, _)| map_key(key)).collect();
        let values: Vec<_> = list
            .iter()
            .zip(&keys)
            .map(|((_, entry), key)| Remote {
                peer: entry.peer.into(),
                vni: entry.vni,
                length: key.length,
                mac: entry.mac.unwrap_or_default(),
                ..Remote::default()
            })
            .collect();
        batch::update(tables.remotes_map.fd().as_fd(), &keys, &values)
            .map_err(syscall("update", "remotes"))
    }

    fn delete(tables: &mut Tables, keys: &[RemoteKey]) -> Result<(), DatapathError> {
        let keys: Vec<_> = keys.iter().map(map_key).collect();
        batch::delete(tables.remotes_map.fd().as_fd(), &keys).map_err(syscall("delete", "remotes"))
    }

    fn read_all(tables: &Tables) -> Result<BTreeMap<RemoteKey, Self>, DatapathError> {
        let mut remotes = BTreeMap::new();
        batch::for_each(
            tables.remotes_map.fd().as_fd(),
            |key: &MapKey, remote: &Remote| {
                let length = key.length.checked_sub(32);
                let prefix = length.and_then(|length| prefix_of(length, key.address.octets()));
                if let Some(prefix) = prefix {
                    let network = key.network;
                    remotes.insert(RemoteKey { network, prefix }, remote_entry(remote));
                }
            },
        )
        .map_err(syscall("read", "remotes"))?;
        Ok(remotes)
    }

    fn read(
        tables: &Tables,
        keys: &BTreeSet<&RemoteKey>,
    ) -> Result<BTreeMap<RemoteKey, Self>, DatapathError> {
        read_each(keys, |key| {
            let key = map_key(key);
            let mut data: PrefixData = [0; 20];
            let (network, address) = data.split_at_mut(4);
            network.copy_from_slice(&key.network.to_ne_bytes());
            address.copy_from_slice(&key.address.octets());
            let found = tables.remotes.get(&Key::new(key.length, data), 0);
            // A lookup also finds a shorter prefix.
            let found =
                absent_is_none("remotes", found)?.filter(|remote| remote.length == key.length);
            Ok(found.as_ref().map(remote_entry))
        })
    }
}

fn map_key(key: &RemoteKey) -> MapKey {
    let (length, octets) = octets_of(key.prefix);
    MapKey::new(key.network, Addr::from_octets(octets), length)
}

fn remote_entry(remote: &Remote) -> RemoteEntry {
    RemoteEntry {
        peer: remote.peer.ip(),
        vni: remote.vni,
        mac: Some(remote.mac).filter(|mac| *mac != MacAddr::default()),
    }
}

impl MapTable for VniEntry {
    fn write(tables: &mut Tables, list: &[(u32, Self)]) -> Result<(), DatapathError> {
        for (vni, entry) in list {
            let written = tables.vnis.insert(vni, entry.network, 0);
            written.map_err(failed("vnis"))?;
        }
        Ok(())
    }

    fn delete(tables: &mut Tables, keys: &[u32]) -> Result<(), DatapathError> {
        let mut keys = keys.iter();
        keys.try_for_each(|vni| absent_is_success("vnis", tables.vnis.remove(vni)))
    }

    fn read_all(tables: &Tables) -> Result<BTreeMap<u32, Self>, DatapathError> {
        let mut vnis = BTreeMap::new();
        for item in tables.vnis.iter() {
            let (vni, network) = item.map_err(failed("vnis"))?;
            vnis.insert(vni, Self { network });
        }
        Ok(vnis)
    }
}
