//! A server that reports the client address it sees, and a client that requests and prints it.
//!
//! Both use the command `CLIENT INFO` of Redis, so that the client works with Redis too.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

/// The client's timeout.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Server and client, which run inside namespaces.
#[derive(clap::Subcommand)]
pub enum Args {
    /// Replies to every line with the addresses of the connection.
    Serve {
        /// The TCP port, on all addresses of both families.
        port: u16,
    },
    /// Sends one request to a server and prints the client address that the server sees.
    Request {
        /// The server.
        server: SocketAddr,
        /// Keep the connection open for this many seconds.
        #[arg(long, default_value_t = 0, value_name = "SECONDS")]
        hold: u64,
    },
}

/// Runs the server or the client.
pub fn main(args: &Args) -> Result<ExitCode> {
    match args {
        Args::Serve { port } => serve(*port)?,
        Args::Request { server, hold } => request(*server, Duration::from_secs(*hold))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .with_context(|| format!("cannot listen on {port}"))?;
    for stream in listener.incoming() {
        let stream = stream.context("cannot accept")?;
        thread::spawn(move || reply_to_lines(stream));
    }
    Ok(())
}

fn reply_to_lines(mut stream: TcpStream) -> Result<()> {
    let reader = BufReader::new(stream.try_clone()?);
    for line in reader.lines() {
        line?;
        let text = format!(
            "addr={} laddr={}\n",
            plain(stream.peer_addr()?),
            plain(stream.local_addr()?)
        );
        write!(stream, "${}\r\n{text}\r\n", text.len())?;
    }
    Ok(())
}

/// An IPv4-mapped address as IPv4.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn request(server: SocketAddr, hold: Duration) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)
        .with_context(|| format!("no reply from {server}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream
        .write_all(b"CLIENT INFO\r\n")
        .with_context(|| format!("cannot send to {server}"))?;
    let reader = BufReader::new(stream.try_clone()?);
    for line in reader.lines().take(2) {
        let line =
            line.with_context(|| format!("{server} accepted the connection and did not reply"))?;
        if let Some(seen) = seen_by_server(&line) {
            println!("{seen}");
            thread::sleep(hold);
            return Ok(());
        }
    }
    anyhow::bail!("{server} does not report the client address")
}

/// The client's address in a reply: `id=3 addr=192.0.2.2:4711 laddr=…`; Redis writes IPv6 addresses in brackets.
fn seen_by_server(line: &str) -> Option<SocketAddr> {
    let word = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("addr="))?;
    word.parse().ok().map(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_from_replies_of_both_servers() {
        let redis = "id=3 addr=192.0.2.2:4711 laddr=10.88.0.2:6379 fd=8 name=";
        assert_eq!(seen_by_server(redis), "192.0.2.2:4711".parse().ok());
        let own = "addr=[2001:db8::2]:4711 laddr=[2001:db8::1]:6379";
        assert_eq!(seen_by_server(own), "[2001:db8::2]:4711".parse().ok());
        assert_eq!(seen_by_server("$38"), None);
        assert_eq!(
            seen_by_server("addr=[::ffff:192.0.2.2]:1"),
            "192.0.2.2:1".parse().ok()
        );
    }
}
