#![allow(missing_docs)]
use netpath::datapath::*;
fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let s = NodeSettings { netns_cookie: 1, secret: 7, timers: Default::default(), snat_ports: (1024, 32767) };
    match Datapath::load(&dir, Limits::default(), s) {
        Ok(mut d) => { println!("loaded"); println!("{:?}", d.sweep()); std::thread::sleep(std::time::Duration::from_millis(300)); let _ = std::process::Command::new("bpftool").args(["prog"]).status(); }
        Err(e) => { let t = format!("{e:?}").replace("\\n","\n"); println!("ERR {e}"); println!("{}", &t[t.len().saturating_sub(6000)..]); }
    }
}
