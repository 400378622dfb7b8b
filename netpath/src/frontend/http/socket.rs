//! The unix socket of the server as a file.

use std::{
    fs, io,
    os::unix::{
        self,
        fs::{FileTypeExt, PermissionsExt, chown},
    },
    path::{Path, PathBuf},
};

use nix::unistd::Group;
use tokio::net::{UnixListener, UnixStream};

/// The group that may use the socket besides root, if it exists.
pub const GROUP: &str = "netpath";

/// Why the socket cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon listens at the path.
    #[error("the socket {} is in use by another daemon", .0.display())]
    InUse(PathBuf),
    /// The path exists and is not a socket.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The kernel refused.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// The attempted action, as the verb phrase after "could not".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
}

/// A socket that listens at a path.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    socket: UnixListener,
    /// Whether the file is missing and cannot be created.
    lost: bool,
}

impl Listener {
    /// Waits for a connection. Cancel-safe.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.socket.accept().await.map(|(stream, _)| stream)
    }

    /// Listens again if the file was deleted: no client can connect to a socket without a file.
    pub fn restore(&mut self) {
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => return,
        }
        match bind(&self.path) {
            Ok(listener) => {
                tracing::warn!(socket = %self.path.display(), "the socket file was deleted and has been created again");
                *self = listener;
            }
            Err(error) if !self.lost => {
                self.lost = true;
                tracing::error!(%error, "the socket file was deleted and cannot be created");
            }
            Err(_) => {}
        }
    }
}

/// Listens at `path`, with mode 0660 and the group [`GROUP`] if it exists (root only otherwise). The directory must
/// exist. A socket without a listener is replaced. Must be called within a tokio runtime.
///
/// # Errors
/// Another daemon listens at `path`, `path` is not a socket, or the kernel refuses.
pub fn bind(path: &Path) -> Result<Listener, BindError> {
    refuse_if_occupied(path)?;

    // Created under another name and renamed after its permissions are set, so that no process can connect before.
    let mut unready = path.as_os_str().to_owned();
    unready.push(".new");
    let unready = PathBuf::from(unready);
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| BindError::Io {
            action,
            path,
            source,
        }
    };
    match fs::remove_file(&unready) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &unready)(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&unready).map_err(failed("listen at", &unready))?;
    fs::set_permissions(&unready, fs::Permissions::from_mode(0o660))
        .map_err(failed("set the mode of", &unready))?;
    if let Ok(Some(group)) = Group::from_name(GROUP) {
        chown(&unready, None, Some(group.gid.as_raw()))
            .map_err(failed("set the group of", &unready))?;
    }
    fs::rename(&unready, path).map_err(failed("rename to", path))?;
    Ok(Listener {
        path: path.to_owned(),
        socket: listener,
        lost: false,
    })
}

fn refuse_if_occupied(path: &Path) -> Result<(), BindError> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    match unix::net::UnixStream::connect(path) {
        Ok(_) => Err(BindError::InUse(path.to_owned())),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            ) =>
        {
            Ok(())
        }
        Err(source) => Err(BindError::Io {
            action: "connect to",
            path: path.to_owned(),
            source,
        }),
    }
}
