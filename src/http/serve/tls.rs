//! TLS: certificate and key from PEM files, replaced while running.
//!
//! In scope: reading the two files, and which certificate new connections get. Out of scope: client
//! certificates. Invariants: TLS 1.2 and 1.3 with HTTP/1.1 and nothing else; files that cannot be used
//! leave the certificate in use that was used before.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::log::hash::{Hash, sha256};

/// Bytes of a PEM file at most: a chain of a hundred certificates is not as long.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {error}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// The certificate file holds no certificate.
    #[error("{}: no certificate in PEM form (-----BEGIN CERTIFICATE-----)", .0.display())]
    NoCertificate(PathBuf),
    /// The key file holds no private key.
    #[error("{}: no private key in PEM form (PKCS #8, PKCS #1 or SEC1, not encrypted)", .0.display())]
    NoKey(PathBuf),
    /// Certificate and key cannot be used together.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The certificate of a server.
#[derive(Debug)]
pub struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    config: ArcSwap<ServerConfig>,
    /// What the files held when they were last looked at, whether it could be used or not.
    seen: Mutex<Hash>,
}

struct Files {
    chain: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Files {
    fn read(cert_file: &Path, key_file: &Path) -> Result<Self, TlsError> {
        Ok(Self { chain: read(cert_file)?, key: Zeroizing::new(read(key_file)?) })
    }

    fn hash(&self) -> Hash {
        let (chain, key) = (sha256(&self.chain), sha256(&self.key));
        sha256(&[*chain.as_bytes(), *key.as_bytes()].concat())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::Read { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(PEM_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

impl Tls {
    /// Reads certificate chain and key.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn open(cert_file: &Path, key_file: &Path) -> Result<Self, TlsError> {
        let files = Files::read(cert_file, key_file)?;
        let config = ArcSwap::from_pointee(usable(&files, cert_file, key_file)?);
        let seen = Mutex::new(files.hash());
        Ok(Self { cert_file: cert_file.to_owned(), key_file: key_file.to_owned(), config, seen })
    }

    /// Looks at the files again; true where new connections get another certificate from now on.
    /// Files that were refused before and have not changed since are passed over.
    ///
    /// # Errors
    /// [`TlsError`]; the certificate in use stays in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::read(&self.cert_file, &self.key_file)?;
        let hash = files.hash();
        if *seen == hash {
            return Ok(false);
        }
        *seen = hash;
        self.config.store(Arc::new(usable(&files, &self.cert_file, &self.key_file)?));
        Ok(true)
    }

    /// A warning where more than the key file's owner and group can read it.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let mode = fs::metadata(&self.key_file).ok()?.permissions().mode();
        (mode & 0o007 != 0)
            .then(|| format!("{} can be read by every user of this machine", self.key_file.display()))
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config.load_full()).accept(stream).await
    }
}

fn usable(files: &Files, cert_file: &Path, key_file: &Path) -> Result<ServerConfig, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&files.chain)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::NoCertificate(cert_file.to_owned()))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(cert_file.to_owned()));
    }
    let key =
        PrivateKeyDer::from_pem_slice(&files.key).map_err(|_| TlsError::NoKey(key_file.to_owned()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
