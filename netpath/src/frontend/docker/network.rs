//! From the engine's networks to those of netpath.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::api;
use crate::{
    commands::NetworkSpec,
    model::{GatewayMode, Name, request::NetworkRequest},
};

/// Label of an adopted network: its id in the engine.
pub const ID_LABEL: &str = "com.docker.network.id";

/// Prefix of the options of the driver `bridge`.
const BRIDGE_OPTIONS: &str = "com.docker.network.bridge.";

impl api::Network {
    /// Whether netpath adopts it.
    pub fn is_bridge(&self) -> bool {
        self.driver == "bridge"
    }

    /// Interface name of its bridge.
    pub fn bridge(&self) -> String {
        match self.option("name").filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => format!("br-{}", self.id.chars().take(12).collect::<String>()),
        }
    }

    /// An option of the driver `bridge`.
    pub fn option(&self, key: &str) -> Option<&str> {
        let options = self.options.as_ref()?;
        let value = options.get(&format!("{BRIDGE_OPTIONS}{key}"))?;
        Some(value.as_str())
    }

    /// The name in netpath: that in the engine, unless it is not a name or another network has it. Then `docker-NAME`, or
    /// `docker-` and the start of the id.
    pub fn name_in_netpath(&self, is_taken: impl Fn(&Name) -> bool) -> Option<Name> {
        let short: String = self.id.chars().take(12).collect();
        let texts = [
            self.name.clone(),
            format!("docker-{}", self.name),
            format!("docker-{short}"),
        ];
        let mut names = texts.iter().filter_map(|text| text.parse().ok());
        names.find(|name| !is_taken(name))
    }

    /// The request that adopts it.
    ///
    /// # Errors
    /// A description, if a subnet or an option is not valid.
    pub fn spec(&self, name: Name) -> Result<NetworkSpec, String> {
        let mut request = NetworkRequest {
            internal: self.internal,
            icc: self.flag("enable_icc")?,
            masquerade: self.masquerades()?,
            gateway_mode: self.gateway_mode(),
            mtu: self.mtu()?,
            labels: BTreeMap::from([(ID_LABEL.to_owned(), self.id.clone())]),
            ..NetworkRequest::new(name)
        };
        for pool in self.ipam.config.iter().flatten() {
            if pool.subnet.is_empty() {
                continue;
            }
            let subnet: IpNet = pool
                .subnet
                .parse()
                .map_err(|_| format!("its subnet '{}' is not a prefix", pool.subnet))?;
            request.subnets.push(subnet.trunc());
            if !pool.gateway.is_empty() {
                // Docker 20.10 reports the gateway of an IPv6 subnet with a prefix length.
                let address = pool.gateway.split('/').next().unwrap_or_default();
                let gateway: IpAddr = address
                    .parse()
                    .map_err(|_| format!("its gateway '{}' is not an address", pool.gateway))?;
                request.gateways.push(gateway);
            }
        }
        Ok(NetworkSpec {
            request,
            adopt: Some(self.bridge()),
        })
    }

    /// The engine reports masquerading of the default network as off when it is not to write rules itself.
    fn masquerades(&self) -> Result<bool, String> {
        if self.option("default_bridge") == Some("true") {
            return Ok(true);
        }
        self.flag("enable_ip_masquerade")
    }

    /// `routed` if IPv4 is, as in a network without IPv4 if IPv6 is.
    fn gateway_mode(&self) -> GatewayMode {
        let modes = ["gateway_mode_ipv4", "gateway_mode_ipv6"].map(|key| self.option(key));
        match modes {
            [Some("routed"), _] | [None, Some("routed")] => GatewayMode::Routed,
            _ => GatewayMode::Nat,
        }
    }

    fn mtu(&self) -> Result<Option<u32>, String> {
        let options = self.options.as_ref();
        let text = options.and_then(|options| options.get("com.docker.network.driver.mtu"));
        match text.map(String::as_str) {
            None | Some("" | "0") => Ok(None),
            Some(text) => match text.parse() {
                Ok(mtu) => Ok(Some(mtu)),
                Err(_) => Err(format!("its MTU '{text}' is not a number")),
            },
        }
    }

    /// A boolean option that is on unless it is set to false.
    fn flag(&self, key: &str) -> Result<bool, String> {
        match self.option(key) {
            None | Some("" | "true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(format!("its option {key} is '{other}', not true or false")),
        }
    }
}

/// Name of the sandbox of a container.
pub fn sandbox_name(container: &str) -> Option<Name> {
    let short: String = container.chars().take(12).collect();
    format!("docker-{short}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(json: &str) -> api::Network {
        serde_json::from_str(json).expect("network")
    }

    #[test]
    fn default_network_is_masqueraded_and_gets_another_name() {
        let network = network(
            r#"{"Name":"bridge","Id":"0123456789abcdef","Driver":"bridge","Internal":false,
            "Options":{"com.docker.network.bridge.default_bridge":"true","com.docker.network.bridge.enable_icc":"false",
            "com.docker.network.bridge.enable_ip_masquerade":"false","com.docker.network.bridge.name":"docker0",
            "com.docker.network.driver.mtu":"1400"},
            "IPAM":{"Config":[{"Subnet":"172.17.0.0/16","Gateway":"172.17.0.1"}]}}"#,
        );
        let name = network.name_in_netpath(|name| name.as_str() == "bridge");
        let spec = network.spec(name.expect("name")).expect("spec");
        assert_eq!(spec.request.name.as_str(), "docker-bridge");
        assert_eq!(spec.adopt.as_deref(), Some("docker0"));
        assert!(spec.request.masquerade && !spec.request.icc);
        assert_eq!(spec.request.mtu, Some(1400));
        assert_eq!(
            spec.request.gateways,
            ["172.17.0.1".parse::<IpAddr>().expect("ip")]
        );
    }

    #[test]
    fn user_network_has_options_and_the_bridge_of_its_id() {
        let network = network(
            r#"{"Name":"web","Id":"0123456789abcdef","Driver":"bridge","Internal":true,
            "Options":{"com.docker.network.bridge.enable_ip_masquerade":"false",
            "com.docker.network.bridge.gateway_mode_ipv4":"routed"},
            "IPAM":{"Config":[{"Subnet":"10.9.0.0/24"},{"Subnet":"fd00:9::/64","Gateway":"fd00:9::1/64"}]}}"#,
        );
        let spec = network.spec("web".parse().expect("name")).expect("spec");
        assert_eq!(spec.adopt.as_deref(), Some("br-0123456789ab"));
        assert!(spec.request.internal && !spec.request.masquerade);
        assert_eq!(spec.request.gateway_mode, GatewayMode::Routed);
        assert_eq!(spec.request.subnets.len(), 2);
        assert_eq!(
            spec.request.gateways,
            ["fd00:9::1".parse::<IpAddr>().expect("ip")]
        );
    }

    #[test]
    fn name_of_another_network_or_an_invalid_name_is_not_used() {
        let named = |name: &str, taken: &[&str]| {
            let network = api::Network {
                name: name.to_owned(),
                id: "0123456789abcdef".to_owned(),
                ..api::Network::default()
            };
            let is_taken = |name: &Name| taken.contains(&name.as_str());
            network.name_in_netpath(is_taken).expect("name").to_string()
        };
        assert_eq!(named("web", &[]), "web");
        assert_eq!(named("web", &["web"]), "docker-web");
        assert_eq!(named("web", &["web", "docker-web"]), "docker-0123456789ab");
        assert_eq!(named(&"x".repeat(90), &[]), "docker-0123456789ab");
    }

    #[test]
    fn invalid_option_is_described() {
        let network = network(
            r#"{"Name":"web","Id":"0123456789abcdef","Driver":"bridge",
            "IPAM":{"Config":[{"Subnet":"10.9.0.0/99"}]}}"#,
        );
        let error = network.spec("web".parse().expect("name")).unwrap_err();
        assert_eq!(error, "its subnet '10.9.0.0/99' is not a prefix");
    }
}
