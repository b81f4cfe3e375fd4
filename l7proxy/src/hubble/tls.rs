//! TLS of the TCP address: 1.3 alone, by rustls with aws-lc.
//!
//! Owns the files of certificates. Files that changed are read before the next connection; what cannot be used changes nothing.
//! Must never let somebody in without the certificate that is asked for. Start at [`Tls::load`].

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::TLS13,
};

use crate::config::FlowsTls;

/// What is wrong with a file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Certificates in use, and the files that they come from.
pub(super) struct Tls {
    files: FlowsTls,
    read: Stamps,
    config: Arc<ServerConfig>,
}

/// What tells whether a file is another one: inode, length, and when it was changed.
type Stamps = Vec<Option<(u64, u64, i64, i64)>>;

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    pub(super) fn load(files: &FlowsTls) -> Result<Self, TlsError> {
        // Before they are read: what changes meanwhile is read again.
        let read = stamps(files);
        Ok(Self { files: files.clone(), read, config: Arc::new(config(files)?) })
    }

    /// For the next connection.
    pub(super) fn current(&mut self) -> Arc<ServerConfig> {
        let stamps = stamps(&self.files);
        if stamps != self.read {
            self.read = stamps;
            match config(&self.files) {
                Ok(config) => {
                    tracing::info!("flows.tls: certificates were read again");
                    self.config = Arc::new(config);
                }
                Err(error) => tracing::warn!(%error, "those before stay in use"),
            }
        }
        Arc::clone(&self.config)
    }
}

fn stamps(files: &FlowsTls) -> Stamps {
    let stamp = |path: &PathBuf| {
        let file = fs::metadata(path).ok()?;
        Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    };
    [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()].into_iter().flatten().map(stamp).collect()
}

fn config(files: &FlowsTls) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates("certificate", &files.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&read("key", &files.key)?)
        .map_err(|error| wrong("key", &files.key, &error, "give a PEM file with one unencrypted private key"))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| TlsError(format!("flows.tls: {error}")))?;
    let builder = match &files.client_ca {
        Some(path) => builder.with_client_cert_verifier(verifier(path, provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| wrong("key", &files.key, &error, "give the key of flows.tls.certificate"))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    const ADVICE: &str = "give a PEM file with CA certificates";
    let mut roots = RootCertStore::empty();
    for certificate in certificates("clientCa", path)? {
        roots.add(certificate).map_err(|error| wrong("clientCa", path, &error, ADVICE))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| wrong("clientCa", path, &error, ADVICE))
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const ADVICE: &str = "give a PEM file with certificates";
    let read = read(key, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read).collect();
    let certificates = certificates.map_err(|error| wrong(key, path, &error, ADVICE))?;
    if certificates.is_empty() {
        return Err(wrong(key, path, &"no certificate in it", ADVICE));
    }
    Ok(certificates)
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error: io::Error| wrong(key, path, &error, "give a file that can be read"))
}

fn wrong(key: &str, path: &Path, reason: &dyn fmt::Display, advice: &str) -> TlsError {
    TlsError(format!("flows.tls.{key}: {}: {reason}; {advice}", path.display()))
}
