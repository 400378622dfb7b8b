//! Test programs in which every case of a table is a test of its own.
//!
//! The test runner starts one process per test, and the set-up of a table costs seconds. Therefore the first test of a
//! table starts a server process that keeps the set-up. Each test sends the name of its case to the server and reports
//! the result. The server exits when no request has arrived for [`IDLE`].

use std::{
    env, fmt,
    io::{Read as _, Write as _},
    iter,
    net::Shutdown,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        linux::net::SocketAddrExt as _,
        unix::{
            net::{SocketAddr, UnixListener, UnixStream},
            process::CommandExt as _,
        },
    },
    panic::{AssertUnwindSafe, catch_unwind, set_hook},
    process::{Command, ExitCode, Stdio, id},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{self, shutdown},
    unistd::alarm,
};

/// Milliseconds without a request after which a server exits.
const IDLE: u16 = 3_000;
/// Seconds after which a server that is still in the set-up or in a case is killed.
const LIMIT: u32 = 600;
/// Environment variable with the name of the table that a process serves.
const SERVE: &str = "NETPATH_TEST_TABLE";
/// Environment variable of nextest that all processes of a run share.
const RUN: &str = "NEXTEST_RUN_ID";
/// The reply to a case that has passed. Any other reply is the description of a failure.
const PASSED: &str = "passed";

/// The last panic of this process, with its location.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// Tests without a table, as [`main`] takes them: their names and functions.
#[macro_export]
macro_rules! checks {
    ($($check:path),+ $(,)?) => {
        vec![$((stringify!($check), $check as fn())),+]
    };
}

/// The result of a case; the error describes the failure.
pub type Outcome = Result<(), String>;

/// Cases that share a set-up.
pub struct Table {
    name: &'static str,
    cases: Box<dyn Fn() -> Vec<String>>,
    serve: Box<dyn FnOnce(&mut Requests)>,
}

impl Table {
    /// A table. `cases` returns the names of its cases; `serve` makes the set-up and calls [`Requests::serve`] with it.
    pub fn new(
        name: &'static str,
        cases: impl Fn() -> Vec<String> + 'static,
        serve: impl FnOnce(&mut Requests) + 'static,
    ) -> Self {
        Self {
            name,
            cases: Box::new(cases),
            serve: Box::new(serve),
        }
    }
}

/// The requests that arrive at a server.
pub struct Requests {
    /// `None` while the requests are served.
    listener: Option<UnixListener>,
}

impl Requests {
    /// Runs the named case for every request, until the server is idle.
    pub fn serve(&mut self, mut run: impl FnMut(&str) -> Outcome) {
        let Some(listener) = self.listener.take() else {
            return;
        };
        // A client that has been killed cannot receive a reply; the next request is not affected.
        let mut reply = |stream| {
            alarm::set(LIMIT);
            let _ = reply(stream, &mut run);
            alarm::cancel();
        };
        alarm::cancel();
        while wait(&listener) {
            if let Ok((stream, _)) = listener.accept() {
                reply(stream);
            }
        }
        close(listener).into_iter().for_each(reply);
    }
}

/// Waits for a request. `false` if none has arrived.
fn wait(listener: &UnixListener) -> bool {
    let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::from(IDLE)).expect("poll") > 0
}

/// Refuses further requests, and frees the address for the next server. Returns the requests that have arrived before.
fn close(listener: UnixListener) -> Vec<UnixStream> {
    shutdown(listener.as_raw_fd(), socket::Shutdown::Read).expect("shutdown");
    listener.set_nonblocking(true).expect("a socket");
    let arrived = iter::from_fn(|| listener.accept().ok());
    arrived.map(|(stream, _)| stream).collect()
}

fn reply(mut stream: UnixStream, run: &mut impl FnMut(&str) -> Outcome) -> std::io::Result<()> {
    let mut case = String::new();
    stream.read_to_string(&mut case)?;
    let outcome = catch_unwind(AssertUnwindSafe(|| run(&case)));
    let outcome = outcome.unwrap_or_else(|_| Err(last_panic()));
    let reply = outcome.err().unwrap_or_else(|| PASSED.to_owned());
    stream.write_all(reply.as_bytes())
}

/// The main function of a test program: runs the cases of all tables, and `checks`, which need no set-up.
pub fn main(tables: Vec<Table>, checks: Vec<(&'static str, fn())>) -> ExitCode {
    if let Ok(name) = env::var(SERVE) {
        let table = tables.into_iter().find(|table| table.name == name);
        serve(table.expect("a table of this program"));
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let mut trials: Vec<_> = checks
        .into_iter()
        .map(|(name, check)| {
            let run = move || {
                check();
                Ok(())
            };
            Trial::test(name, run)
        })
        .collect();
    for Table { name, cases, .. } in tables {
        let test = |case: String| {
            let test = format!("{name}::{case}");
            Trial::test(test, move || request(name, &case).map_err(Failed::from))
        };
        match exact_case(&arguments, name) {
            Some(case) => trials.push(test(case)),
            None if arguments.exact => {}
            None => trials.extend(cases().into_iter().map(test)),
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The case that the runner asks for by its full name. The table is then not built, which would take longer than the case.
fn exact_case(arguments: &Arguments, table: &str) -> Option<String> {
    let test = arguments.filter.as_deref().filter(|_| arguments.exact)?;
    let case = test.strip_prefix(table)?.strip_prefix("::")?;
    Some(case.to_owned())
}

/// Serves a table. A set-up that fails is the reply to every request.
fn serve(table: Table) {
    set_hook(Box::new(|panic| {
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
    // Another test may have started a server at the same time; the first one serves.
    let Ok(listener) = UnixListener::bind_addr(&address(table.name)) else {
        return;
    };
    let mut requests = Requests {
        listener: Some(listener),
    };
    alarm::set(LIMIT);
    let served = catch_unwind(AssertUnwindSafe(|| (table.serve)(&mut requests)));
    if served.is_err() {
        let failure = format!("the set-up failed: {}", last_panic());
        requests.serve(|_| Err(failure.clone()));
    }
}

/// Has the server of a table run a case.
fn request(table: &'static str, case: &str) -> Outcome {
    let mut stream = connect(table)?;
    let failed = |error: &dyn fmt::Display| format!("the server of table {table}: {error}");
    let mut reply = String::new();
    stream
        .write_all(case.as_bytes())
        .and_then(|()| stream.shutdown(Shutdown::Write))
        .and_then(|()| stream.read_to_string(&mut reply))
        .map_err(|error| failed(&error))?;
    match reply.as_str() {
        PASSED => Ok(()),
        "" => Err(failed(&"it exited during the case")),
        failure => Err(failure.to_owned()),
    }
}

/// Connects to the server of a table, which is started if it does not run.
fn connect(table: &'static str) -> Result<UnixStream, String> {
    let address = address(table);
    let start = Instant::now();
    let mut started: Option<Instant> = None;
    while start.elapsed() < Duration::from_secs(10) {
        if let Ok(stream) = UnixStream::connect_addr(&address) {
            return Ok(stream);
        }
        if started.is_none_or(|at| at.elapsed() > Duration::from_secs(2)) {
            start_server(table);
            started = Some(Instant::now());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(format!("the server of table {table} does not start"))
}

/// Starts a server, which outlives this process. It keeps no descriptor of the test, so that the runner sees the end of
/// the test's output.
#[expect(
    clippy::zombie_processes,
    reason = "the process of the test ends before the server does"
)]
fn start_server(table: &str) {
    let program = env::current_exe().expect("path of the test");
    let started = Command::new(program)
        .env(SERVE, table)
        .env(RUN, run())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    started.expect("the server starts");
}

/// The abstract address of a table's server, which only this run uses.
fn address(table: &str) -> SocketAddr {
    let name = format!("npt-table-{}-{table}", run());
    SocketAddr::from_abstract_name(name).expect("a short name")
}

fn run() -> String {
    env::var(RUN).unwrap_or_else(|_| id().to_string())
}

fn last_panic() -> String {
    let text = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
    text.clone()
}
