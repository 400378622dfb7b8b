//! Invalid requests on the command line: each is refused with one clear line and changes nothing.

use netpath_tests::{fixture::error_defect, table::Table};

use crate::refusals;

/// Command line, exit status, parts of the error line.
type Case = (&'static str, i32, &'static [&'static str]);

const NETWORKS: &[Case] = &[
    (
        "network create x --subnet 10.1.2.3/24",
        1,
        &["10.1.2.3/24", "host bits", "10.1.2.0/24"],
    ),
    ("network create x --subnet 10.1.2.0/33", 2, &["10.1.2.0/33"]),
    ("network create x --subnet banana", 2, &["banana"]),
    (
        "network create x --subnet 10.77.0.0/25",
        1,
        &["10.77.0.0/25", "network 'blue'"],
    ),
    (
        "network create x --subnet 10.0.0.0/8",
        1,
        &["network 'blue'"],
    ),
    (
        "network create x --subnet 192.0.2.0/25",
        1,
        &["192.0.2.0/24"],
    ),
    (
        "network create x --subnet 10.1.0.0/24 --gateway 10.2.0.1",
        1,
        &["10.2.0.1"],
    ),
    (
        "network create x --subnet 10.1.0.0/24 --gateway 10.1.0.0",
        1,
        &["10.1.0.0"],
    ),
    (
        "network create x --subnet 10.1.0.0/24 --gateway 10.1.0.255",
        1,
        &["10.1.0.255"],
    ),
    (
        "network create x --subnet 10.1.0.0/24 --gateway 2001:db8::1",
        1,
        &["2001:db8::1"],
    ),
    (
        "network create x --subnet 10.1.0.0/24 --ip-range 10.2.0.0/25",
        1,
        &["10.2.0.0/25"],
    ),
    (
        "network create x --subnet 10.1.0.0/24 --subnet 10.2.0.0/24",
        1,
        &["10.2.0.0/24"],
    ),
    ("network create x --subnet 127.0.0.0/8", 1, &["127.0.0.0/8"]),
    ("network create x --subnet 224.0.0.0/8", 1, &["224.0.0.0/8"]),
    ("network create x --subnet 0.0.0.0/0", 1, &["0.0.0.0/0"]),
    ("network create x --subnet 10.1.0.1/32", 1, &["10.1.0.1/32"]),
    ("network create x --subnet fe80::/64", 1, &["fe80::/64"]),
    ("network create x --subnet ff00::/8", 1, &["ff00::/8"]),
    ("network create x --mtu 10", 1, &["10"]),
    ("network create x --mtu 100000", 1, &["100000"]),
    ("network create x --driver overlay", 1, &["overlay"]),
    ("network create x --driver macvlan", 2, &["macvlan"]),
    ("network create x --vni 5", 1, &["vni"]),
    ("network create x --label noequals", 2, &["noequals"]),
    ("network create x --icc maybe", 2, &["maybe"]),
    ("network create x --colour red", 2, &["--colour"]),
    ("network create", 2, &["NAME"]),
    ("network create blue", 1, &["'blue'", "exists"]),
    ("network create -bad", 2, &["-b"]),
    ("network create a/b", 2, &["a/b"]),
    ("network rm bridge", 1, &["'bridge'", "built in"]),
    ("network rm blu", 1, &["'blu'", "blue"]),
    ("network rm blue", 1, &["'blue'", "in use", "db"]),
    ("network inspect nothing-like-it", 1, &["nothing-like-it"]),
    ("network connect blu web", 1, &["blue"]),
    ("network connect blue wep", 1, &["web"]),
    ("network connect blue db", 1, &["'db'", "already"]),
    ("network connect host web", 1, &["host"]),
    (
        "network connect blue web --ip 10.77.0.50",
        1,
        &["10.77.0.50", "db"],
    ),
    (
        "network connect blue web --ip 10.78.0.50",
        1,
        &["10.78.0.50"],
    ),
    ("network connect blue web --ip 10.77.0.1", 1, &["10.77.0.1"]),
    (
        "network connect blue web --ip 10.77.0.255",
        1,
        &["10.77.0.255"],
    ),
    (
        "network connect blue web --ip 2001:db8::5",
        1,
        &["2001:db8::5"],
    ),
    (
        "network disconnect blue web",
        1,
        &["'web'", "not connected"],
    ),
];

const SANDBOXES: &[Case] = &[
    ("sandbox create web", 1, &["'web'", "exists"]),
    ("sandbox create x --network bleu", 1, &["bleu", "blue"]),
    (
        "sandbox create x --network host --network blue",
        1,
        &["host"],
    ),
    (
        "sandbox create x --network blue --network blue",
        1,
        &["blue"],
    ),
    (
        "sandbox create x --network container:wep",
        1,
        &["wep", "web"],
    ),
    ("sandbox create x --network container:x", 1, &["'x'"]),
    (
        "sandbox create x --network blue --ip 10.77.0.50",
        1,
        &["10.77.0.50", "db"],
    ),
    (
        "sandbox create x --network host --ip 10.77.0.51",
        1,
        &["host"],
    ),
    ("sandbox create x --ip banana", 2, &["banana"]),
    ("sandbox create x --mac zz", 2, &["zz"]),
    (
        "sandbox create x --mac 01:00:5e:00:00:01",
        1,
        &["01:00:5e:00:00:01"],
    ),
    (
        "sandbox create x --mac 00:00:00:00:00:00",
        1,
        &["00:00:00:00:00:00"],
    ),
    (
        "sandbox create x --network blue --mac 02:00:00:00:00:50",
        1,
        &["02:00:00:00:00:50", "db"],
    ),
    ("sandbox create x --netns /nowhere", 1, &["/nowhere"]),
    ("sandbox create x --netns /etc/passwd", 1, &["/etc/passwd"]),
    ("sandbox create x --netns /proc/self/ns/mnt", 1, &["/proc/"]),
    ("sandbox create x --pid 99999999", 1, &["99999999"]),
    ("sandbox create x --pid banana", 2, &["banana"]),
    ("sandbox create x --pid 1 --netns /run/x", 2, &["--pid"]),
    ("sandbox create x --hostname -bad-", 2, &["-b"]),
    ("sandbox create x --network host -p 80:80", 1, &["host"]),
    ("sandbox create x --network none -p 80:80", 1, &["none"]),
    (
        "sandbox create x --network sealed -p 80:80",
        1,
        &["sealed", "internal"],
    ),
    ("sandbox create x -p 8080:80", 1, &["8080/tcp", "'web'"]),
    ("sandbox create x -p 9090:80", 1, &["9090/tcp", "nc"]),
    ("sandbox rm wep", 1, &["'wep'", "web"]),
    ("sandbox rm web", 1, &["'web'", "shares"]),
    ("sandbox inspect wep", 1, &["'wep'", "web"]),
    ("sandbox exec wep -- true", 1, &["'wep'", "web"]),
    ("run --name web -- true", 1, &["'web'", "exists"]),
    ("run -p 8080:80 -- true", 1, &["8080/tcp", "'web'"]),
    ("run --network container:wep -- true", 1, &["web"]),
    ("run", 2, &["COMMAND"]),
];

const PORTS: &[Case] = &[
    ("port publish web 0:80", 1, &["0"]),
    ("port publish web 80:0", 1, &["0"]),
    ("port publish web 70000:80", 1, &["70000"]),
    ("port publish web 8090-8091:80-82", 1, &["8090-8091"]),
    ("port publish web 8091-8090:80-81", 1, &["8091-8090"]),
    ("port publish web a:80", 1, &["a:80"]),
    ("port publish web 8090:80/foo", 1, &["foo"]),
    ("port publish web 8090:80/sctp", 1, &["sctp"]),
    ("port publish web 8090:80:90:100", 1, &["8090:80:90:100"]),
    ("port publish web 1.2.3:80:80", 1, &["1.2.3"]),
    ("port publish web [::1:80:80", 1, &["[::1:80:80"]),
    (
        "port publish web 224.0.0.1:80:80",
        1,
        &["224.0.0.1", "multicast"],
    ),
    ("port publish db [2001:db8::1]:80:80", 1, &["IPv6"]),
    ("port publish web [::ffff:1.2.3.4]:80:80", 1, &["IPv4"]),
    ("port publish web 8080:80", 1, &["8080/tcp", "'web'"]),
    ("port publish db 8080:80", 1, &["8080/tcp", "'web'"]),
    ("port publish db 8070-8085:80-95", 1, &["'web'"]),
    ("port publish db 9090:80", 1, &["9090/tcp", "nc"]),
    ("port publish db 9085-9095:80-90", 1, &["9090/tcp", "nc"]),
    ("port publish db 9091:53/udp", 1, &["9091/udp", "nc"]),
    ("port publish db 8090:80 8090:81", 1, &["8090"]),
    ("port publish db 8090:80 9090:81", 1, &["9090", "nc"]),
    ("port publish wep 8090:80", 1, &["wep", "web"]),
    ("port publish shares 8090:80", 1, &["shares"]),
    ("port publish web 8090:80 --allow banana", 2, &["banana"]),
    ("port publish web", 2, &["SPEC"]),
    ("port unpublish web 8099:80", 1, &["8099", "8080"]),
    ("port unpublish wep 8080:80", 1, &["web"]),
    ("port ls wep", 1, &["web"]),
    ("map dump natt", 2, &["natt"]),
    ("teardown --run-dir /x", 2, &["--force"]),
    ("nonsense", 2, &["nonsense"]),
];

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
