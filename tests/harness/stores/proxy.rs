//! A proxy between a store and its servers that can be interrupted.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use netpath::store::{RemoteSettings, Server};

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are forwarded.
    Forward,
    /// They are closed.
    Refuse,
    /// They are accepted, but nothing is forwarded.
    Hang,
    /// Replies of the next one are forwarded after [`LATE`]. Later ones are forwarded at once.
    NextIsLate,
}

/// Delay of late replies.
pub const LATE: Duration = Duration::from_secs(1);

/// A proxy on a loopback port.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    open: Vec<TcpStream>,
}

impl Proxy {
    /// A proxy of the first server of the settings.
    pub fn new(settings: &RemoteSettings) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("address").port();
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.servers[0].port));
        let state = Arc::new(Mutex::new(State {
            mode: Mode::Forward,
            open: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                accept(&shared, client, target);
            }
        });
        Self { port, state }
    }

    /// Settings with this proxy as the only server.
    pub fn settings(&self) -> RemoteSettings {
        RemoteSettings {
            servers: vec![Server {
                host: "127.0.0.1".to_owned(),
                port: self.port,
            }],
            ..RemoteSettings::default()
        }
    }

    /// Closes the open connections, and treats later ones in another way.
    pub fn set(&self, mode: Mode) {
        let mut state = lock(&self.state);
        state.mode = mode;
        for stream in state.open.drain(..) {
            // Fails if it is closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(state: &Arc<Mutex<State>>, client: TcpStream, target: SocketAddr) {
    let mut locked = lock(state);
    match locked.mode {
        Mode::Refuse => {}
        Mode::Hang => locked.open.push(client),
        mode @ (Mode::Forward | Mode::NextIsLate) => {
            locked.mode = Mode::Forward;
            let Ok(server) = TcpStream::connect_timeout(&target, Duration::from_secs(5)) else {
                return;
            };
            let copy = |stream: &TcpStream| stream.try_clone().expect("a copy of the socket");
            locked.open.extend([copy(&client), copy(&server)]);
            let delay = if mode == Mode::NextIsLate {
                LATE
            } else {
                Duration::ZERO
            };
            for (mut from, mut to, delay) in [
                (copy(&client), copy(&server), Duration::ZERO),
                (server, client, delay),
            ] {
                thread::spawn(move || forward(&mut from, &mut to, delay));
            }
        }
    }
}

fn forward(from: &mut TcpStream, to: &mut TcpStream, delay: Duration) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        thread::sleep(delay);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // Fails if it is closed already.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
