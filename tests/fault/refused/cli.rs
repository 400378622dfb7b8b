//! Invalid requests on the command line: each is refused with one clear line and changes nothing.

use netpath_tests::{fixture::error_defect, table::Table};

use crate::refusals;

/// Command line, exit status, parts of the error line.
type Case = (&'static str, i32, &'static [&'static str]);

/// Cases as lines: exit status, command line, parts of the error line.
macro_rules! cases {
    ($($status:literal $line:literal => $($word:literal),*;)*) => {
        &[$(($line, $status, &[$($word),*])),*]
    };
}

const NETWORKS: &[Case] = cases! {
    1 "network create x --subnet 10.1.2.3/24" => "10.1.2.3/24", "host bits", "10.1.2.0/24";
    2 "network create x --subnet 10.1.2.0/33" => "10.1.2.0/33";
    2 "network create x --subnet banana" => "banana";
    1 "network create x --subnet 10.77.0.0/25" => "10.77.0.0/25", "network 'blue'";
    1 "network create x --subnet 10.0.0.0/8" => "network 'blue'";
    1 "network create x --subnet 192.0.2.0/25" => "192.0.2.0/24";
    1 "network create x --subnet 10.1.0.0/24 --gateway 10.2.0.1" => "10.2.0.1";
    1 "network create x --subnet 10.1.0.0/24 --gateway 10.1.0.0" => "10.1.0.0";
    1 "network create x --subnet 10.1.0.0/24 --gateway 10.1.0.255" => "10.1.0.255";
    1 "network create x --subnet 10.1.0.0/24 --gateway 2001:db8::1" => "2001:db8::1";
    1 "network create x --subnet 10.1.0.0/24 --ip-range 10.2.0.0/25" => "10.2.0.0/25";
    1 "network create x --subnet 10.1.0.0/24 --subnet 10.2.0.0/24" => "10.2.0.0/24";
    1 "network create x --subnet 127.0.0.0/8" => "127.0.0.0/8";
    1 "network create x --subnet 224.0.0.0/8" => "224.0.0.0/8";
    1 "network create x --subnet 0.0.0.0/0" => "0.0.0.0/0";
    1 "network create x --subnet 10.1.0.1/32" => "10.1.0.1/32";
    1 "network create x --subnet fe80::/64" => "fe80::/64";
    1 "network create x --subnet ff00::/8" => "ff00::/8";
    1 "network create x --mtu 10" => "10";
    1 "network create x --mtu 100000" => "100000";
    1 "network create x --driver overlay --encap none" => "not supported";
    2 "network create x --driver macvlan" => "macvlan";
    1 "network create x --vni 5" => "vni";
    2 "network create x --label noequals" => "noequals";
    2 "network create x --icc maybe" => "maybe";
    2 "network create x --colour red" => "--colour";
    2 "network create" => "NAME";
    1 "network create blue" => "'blue'", "exists";
    2 "network create -bad" => "-b";
    2 "network create a/b" => "a/b";
    1 "network rm bridge" => "'bridge'", "built in";
    1 "network rm blu" => "'blu'", "blue";
    1 "network rm blue" => "'blue'", "in use", "db";
    1 "network inspect nothing-like-it" => "nothing-like-it";
    1 "network connect blu web" => "blue";
    1 "network connect blue wep" => "web";
    1 "network connect blue db" => "'db'", "already";
    1 "network connect host web" => "host";
    1 "network connect blue web --ip 10.77.0.50" => "10.77.0.50", "db";
    1 "network connect blue web --ip 10.78.0.50" => "10.78.0.50";
    1 "network connect blue web --ip 10.77.0.1" => "10.77.0.1";
    1 "network connect blue web --ip 10.77.0.255" => "10.77.0.255";
    1 "network connect blue web --ip 2001:db8::5" => "2001:db8::5";
    1 "network disconnect blue web" => "'web'", "not connected";
};

const SANDBOXES: &[Case] = cases! {
    1 "sandbox create web" => "'web'", "exists";
    1 "sandbox create x --network bleu" => "bleu", "blue";
    1 "sandbox create x --network host --network blue" => "host";
    1 "sandbox create x --network blue --network blue" => "blue";
    1 "sandbox create x --network container:wep" => "wep", "web";
    1 "sandbox create x --network container:x" => "'x'";
    1 "sandbox create x --network blue --ip 10.77.0.50" => "10.77.0.50", "db";
    1 "sandbox create x --network host --ip 10.77.0.51" => "host";
    2 "sandbox create x --ip banana" => "banana";
    2 "sandbox create x --mac zz" => "zz";
    1 "sandbox create x --mac 01:00:5e:00:00:01" => "01:00:5e:00:00:01";
    1 "sandbox create x --mac 00:00:00:00:00:00" => "00:00:00:00:00:00";
    1 "sandbox create x --network blue --mac 02:00:00:00:00:50" => "02:00:00:00:00:50", "db";
    1 "sandbox create x --netns /nowhere" => "/nowhere";
    1 "sandbox create x --netns /etc/passwd" => "/etc/passwd";
    1 "sandbox create x --netns /proc/self/ns/mnt" => "/proc/";
    1 "sandbox create x --pid 99999999" => "99999999";
    2 "sandbox create x --pid banana" => "banana";
    2 "sandbox create x --pid 1 --netns /run/x" => "--pid";
    2 "sandbox create x --hostname -bad-" => "-b";
    1 "sandbox create x --network host -p 80:80" => "host";
    1 "sandbox create x --network none -p 80:80" => "none";
    1 "sandbox create x --network sealed -p 80:80" => "sealed", "internal";
    1 "sandbox create x -p 8080:80" => "8080/tcp", "'web'";
    1 "sandbox create x -p 9090:80" => "9090/tcp", "nc";
    1 "sandbox rm wep" => "'wep'", "web";
    1 "sandbox rm web" => "'web'", "shares";
    1 "sandbox inspect wep" => "'wep'", "web";
    1 "sandbox exec wep -- true" => "'wep'", "web";
    1 "run --name web -- true" => "'web'", "exists";
    1 "run -p 8080:80 -- true" => "8080/tcp", "'web'";
    1 "run --network container:wep -- true" => "web";
    2 "run" => "COMMAND";
};

const PORTS: &[Case] = cases! {
    1 "port publish web 0:80" => "0";
    1 "port publish web 80:0" => "0";
    1 "port publish web 70000:80" => "70000";
    1 "port publish web 8090-8091:80-82" => "8090-8091";
    1 "port publish web 8091-8090:80-81" => "8091-8090";
    1 "port publish web a:80" => "a:80";
    1 "port publish web 8090:80/foo" => "foo";
    1 "port publish web 8090:80/sctp" => "sctp";
    1 "port publish web 8090:80:90:100" => "8090:80:90:100";
    1 "port publish web 1.2.3:80:80" => "1.2.3";
    1 "port publish web [::1:80:80" => "[::1:80:80";
    1 "port publish web 224.0.0.1:80:80" => "224.0.0.1", "multicast";
    1 "port publish db [2001:db8::1]:80:80" => "IPv6";
    1 "port publish web [::ffff:1.2.3.4]:80:80" => "IPv4";
    1 "port publish web 8080:80" => "8080/tcp", "'web'";
    1 "port publish db 8080:80" => "8080/tcp", "'web'";
    1 "port publish db 8070-8085:80-95" => "'web'";
    1 "port publish db 9090:80" => "9090/tcp", "nc";
    1 "port publish db 9085-9095:80-90" => "9090/tcp", "nc";
    1 "port publish db 9091:53/udp" => "9091/udp", "nc";
    1 "port publish db 8090:80 8090:81" => "8090";
    1 "port publish db 8090:80 9090:81" => "9090", "nc";
    1 "port publish wep 8090:80" => "wep", "web";
    1 "port publish shares 8090:80" => "shares";
    2 "port publish web 8090:80 --allow banana" => "banana";
    2 "port publish web" => "SPEC";
    1 "port unpublish web 8099:80" => "8099", "8080";
    1 "port unpublish wep 8080:80" => "web";
    1 "port ls wep" => "web";
    2 "map dump natt" => "natt";
    2 "teardown --run-dir /x" => "--force";
    2 "nonsense" => "nonsense";
};

/// The requests of each table.
const TABLES: [(&str, &[Case]); 3] = [
    ("networks", NETWORKS),
    ("sandboxes", SANDBOXES),
    ("ports", PORTS),
];

/// A table for each kind of object. The name of a case is its command line.
pub fn tables() -> Vec<Table> {
    let table = |(name, cases): (&'static str, &'static [Case])| {
        refusals(
            name,
            move || cases.iter().map(|case| case.0.to_owned()).collect(),
            move |fixture, name| {
                let case = cases.iter().find(|case| case.0 == name);
                let (line, status, words) = case.ok_or("no such case")?;
                error_defect(&fixture.cli(line), *status, words).map_or(Ok(()), Err)
            },
        )
    };
    TABLES.map(table).into()
}
