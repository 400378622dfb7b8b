//! Certificates for servers and clients of a store.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// An authority with a certificate for servers at 127.0.0.1, one for clients, and another authority.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes the certificates.
    pub fn new() -> Self {
        let certificates = Self {
            directory: TempDir::with_prefix("npt-pki-").expect("directory"),
        };
        for name in ["ca", "other"] {
            certificates.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} \
                 -keyout {name}.key -out {name}.pem"
            ));
        }
        let extensions = "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";
        fs::write(certificates.path("extensions"), extensions).expect("extensions");
        for name in ["server", "client"] {
            certificates.openssl(&format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key \
                 -out {name}.csr"
            ));
            certificates.openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions \
                 -out {name}.pem"
            ));
        }
        certificates
    }

    /// A file: `ca.pem`, `other.pem`, and for `server` and `client` a certificate and a key.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Path of a new file with this text.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("file");
        path
    }

    fn openssl(&self, line: &str) {
        let directory: &Path = self.directory.path();
        let output = Command::new("openssl")
            .current_dir(directory)
            .args(line.split_whitespace())
            .output()
            .expect("openssl");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {line}: {text}");
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}
