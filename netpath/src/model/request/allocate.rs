//! Allocation of ids, MAC addresses, indices and endpoints.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath_common::{
    addr::MacAddr,
    maps::{MAX_ENDPOINTS, MAX_NETWORKS},
};

use super::{Env, RequestError};
use crate::{
    ipam::{AddressError, Ranges},
    model::{Endpoint, Holder, Id, Name, Owner, Rate, State, derived_mac, state::NetworkState},
};

/// Slots, generations and ids of endpoints that the request has allocated already.
#[derive(Default)]
pub(super) struct Taken {
    slots: Ranges,
    generations: u32,
    ids: Vec<Id>,
}

/// Parameters of an endpoint to create.
pub(super) struct Wanted<'a> {
    /// The sandbox; `None` for an endpoint without one.
    pub sandbox: Option<&'a Name>,
    pub network: &'a Name,
    pub interface: String,
    pub ips: &'a [IpAddr],
    pub mac: Option<MacAddr>,
    pub owner: Owner,
    pub rate: Option<Rate>,
}

impl Wanted<'_> {
    fn holder(&self) -> Holder {
        self.sandbox.map_or(Holder::NewEndpoint, Holder::from)
    }
}

impl State {
    /// An id for which `is_valid` holds and whose device names are not in use. Terminates for any source of random
    /// numbers.
    pub(super) fn allocate_id(&self, env: &mut Env<'_>, is_valid: impl Fn(Id) -> bool) -> Id {
        let mut random = (env.random)();
        loop {
            let id = Id::from_random(random);
            if self.is_new(id) && is_valid(id) {
                return id;
            }
            random = random.wrapping_add(1 << 8);
        }
    }

    pub(super) fn allocate_network_index(&self) -> Result<u32, RequestError> {
        let last = MAX_NETWORKS - 1;
        let free = self.network_numbers.first_free(1, last.into());
        free.and_then(|index| u32::try_from(index).ok())
            .ok_or(RequestError::Exhausted {
                what: "network number",
                capacity: last,
            })
    }

    pub(super) fn allocate_endpoint(
        &self,
        wanted: &Wanted<'_>,
        taken: &mut Taken,
        env: &mut Env<'_>,
    ) -> Result<Endpoint, RequestError> {
        let entry = self.network_entry(wanted.network)?;
        if !entry.network.has_endpoints() {
            return Err(RequestError::Mode {
                holder: wanted.holder(),
                verb: format!("join network '{}'", wanted.network),
                reason: format!("driver {} has no endpoints", entry.network.driver),
            });
        }
        let addresses = choose_addresses(entry, wanted)?;
        let id = self.allocate_id(env, |id| {
            let fresh = !taken.ids.iter().any(|other| other.device() == id.device());
            fresh && entry.mac_holder(id.mac()).is_none() && id.mac() != entry.network.mac()
        });
        let derived = derived_mac(&addresses).filter(|_| entry.network.overlay.is_some());
        if let Some(mac) = wanted.mac.or(derived) {
            check_mac(entry, &wanted.holder(), mac, derived)?;
        }
        let slot = self
            .free_slot(&taken.slots)
            .ok_or(RequestError::Exhausted {
                what: "endpoint slot",
                capacity: MAX_ENDPOINTS - 1,
            })?;
        if taken.generations >= self.generations_left() {
            return Err(RequestError::Exhausted {
                what: "endpoint generation",
                capacity: u32::MAX,
            });
        }
        taken.slots.insert(slot.into(), slot.into());
        taken.generations += 1;
        taken.ids.push(id);
        Ok(Endpoint {
            id,
            network: wanted.network.clone(),
            interface: wanted.interface.clone(),
            mac: wanted.mac.or(derived).unwrap_or_else(|| id.mac()),
            addresses,
            owner: wanted.owner,
            rate: wanted.rate,
            adopted: None,
            slot,
            generation: self.generation() + taken.generations,
        })
    }
}

/// The lowest `ethN` that is not the name of an endpoint or of another interface of the namespace.
pub(super) fn free_interface(endpoints: &[Endpoint], others: &[String]) -> String {
    let taken = |name: &str| {
        others.iter().any(|other| other == name)
            || endpoints.iter().any(|endpoint| endpoint.interface == name)
    };
    let mut number = 0_u32;
    loop {
        let name = format!("eth{number}");
        if !taken(&name) {
            return name;
        }
        number += 1;
    }
}

/// One address per subnet: the requested one, or the next free one.
fn choose_addresses(entry: &NetworkState, wanted: &Wanted<'_>) -> Result<Vec<IpNet>, RequestError> {
    for (position, ip) in wanted.ips.iter().enumerate() {
        if entry.network.subnet(*ip).is_none() {
            return Err(RequestError::Family {
                holder: wanted.holder(),
                network: wanted.network.clone(),
                ip: *ip,
            });
        }
        let others = wanted.ips.iter().take(position);
        if others
            .into_iter()
            .any(|other| other.is_ipv4() == ip.is_ipv4())
        {
            return Err(RequestError::SandboxOption {
                name: wanted
                    .sandbox
                    .map_or_else(|| "(none)".to_owned(), Name::to_string),
                option: format!("address {ip}"),
                reason: "another address of the same family is given".to_owned(),
            });
        }
    }
    let pairs = entry.network.subnets.iter().zip(&entry.addresses);
    pairs
        .map(|(subnet, addresses)| {
            let like = |ip: &&IpAddr| ip.is_ipv4() == subnet.gateway.is_ipv4();
            let ip = match wanted.ips.iter().find(like) {
                Some(ip) => {
                    let unclaimed = AddressError::Unclaimed {
                        ip: *ip,
                        subnet: subnet.prefix,
                    };
                    let checked = addresses.check(*ip, subnet.gateway);
                    let own = addresses.is_own(*ip);
                    let checked = checked.and_then(|()| own.then_some(()).ok_or(unclaimed));
                    checked.map_err(|reason| RequestError::Address {
                        holder: wanted.holder(),
                        network: wanted.network.clone(),
                        reason,
                        owner: entry.address_holder(*ip),
                    })?;
                    *ip
                }
                None => addresses
                    .next()
                    .ok_or_else(|| RequestError::AddressesExhausted {
                        holder: wanted.holder(),
                        network: wanted.network.clone(),
                        subnet: subnet.range.unwrap_or(subnet.prefix),
                    })?,
            };
            Ok(IpNet::new_assert(ip, subnet.prefix.prefix_len()))
        })
        .collect()
}

/// Refuses a MAC address. `derived` is the one that follows from the addresses of an endpoint of an overlay network.
fn check_mac(
    entry: &NetworkState,
    holder: &Holder,
    mac: MacAddr,
    derived: Option<MacAddr>,
) -> Result<(), RequestError> {
    let refused = |reason: String| {
        Err(RequestError::Mac {
            holder: holder.clone(),
            mac,
            reason,
        })
    };
    if mac.0[0] & 1 != 0 {
        refused("it is a multicast address".to_owned())
    } else if mac == MacAddr::default() {
        refused("it is all zero".to_owned())
    } else if derived.is_some_and(|derived| derived != mac) && is_derived(mac) {
        refused("on an overlay network it belongs to another address".to_owned())
    } else if mac == entry.network.mac() {
        refused(format!(
            "it is the address of the bridge of network '{}'",
            entry.network.name
        ))
    } else if let Some(owner) = entry.mac_holder(mac) {
        refused(format!(
            "{owner} has it in network '{}'",
            entry.network.name
        ))
    } else {
        Ok(())
    }
}

/// Whether a MAC address has the form of those that follow from addresses ([`derived_mac`]).
fn is_derived(mac: MacAddr) -> bool {
    matches!(mac.0, [0x02, 0x42 | 0x43, ..])
}
