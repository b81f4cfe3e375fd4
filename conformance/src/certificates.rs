//! Certificates for tests, made by openssl.
//!
//! Owns their files. Must never be used outside of tests: keys are not guarded. Start at [`Authority::new`].

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process;

/// Who signs; its files end with it.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
}

/// A certificate and its key, both PEM files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// One that nobody knows yet.
    pub fn new() -> Result<Self> {
        let directory = tempfile::tempdir().context("a directory for certificates")?;
        let authority = Self { directory };
        let own = authority.files("ca");
        let mut command = authority.command(&own);
        process::output(command.args(["-subj", "/CN=authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]))?;
        Ok(authority)
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.files("ca").certificate
    }

    /// Signs one for a server and client of this name.
    pub fn sign(&self, file: &str, name: &str) -> Result<Certificate> {
        let made = self.files(file);
        let own = self.files("ca");
        let names = format!("subjectAltName=DNS:{name}");
        let signed = ["-CA".as_ref(), own.certificate.as_os_str(), "-CAkey".as_ref(), own.key.as_os_str()];
        let is_no_authority = "basicConstraints=critical,CA:FALSE";
        let mut command = self.command(&made);
        command.args(signed).args(["-subj", "/CN=end", "-addext", &names, "-addext", is_no_authority]);
        process::output(command.args(["-addext", "extendedKeyUsage=serverAuth,clientAuth"]))?;
        Ok(made)
    }

    fn command(&self, made: &Certificate) -> Command {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        command.arg("-out").arg(&made.certificate).arg("-keyout").arg(&made.key);
        command.current_dir(self.directory.path());
        command
    }

    fn files(&self, name: &str) -> Certificate {
        let file = |kind: &str| Path::join(self.directory.path(), format!("{name}.{kind}"));
        Certificate { certificate: file("crt"), key: file("key") }
    }
}
