//! TLS: what is served, to whom, and what becomes of it when the files change.
//!
//! In scope: a real server with certificates made here, our own command line as a client, and clients
//! that speak no TLS. Out of scope: plain HTTP (`hostile`).

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and writes the files that it damages"
)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use common::{Client, DataDir, MAIN, PATIENCE, Server, binary, policy, wait_until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A certificate authority, and the files of a certificate from it.
struct Authority {
    data: DataDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let data = DataDir::new();
        fs::write(data.beside("ca.pem"), issuer.pem()).unwrap();
        Self { data, issuer }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.data.beside(name)
    }

    /// Issues a certificate and puts it into the files that the server reads.
    fn issue(&self) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        fs::write(self.file("key.pem"), key.serialize_pem()).unwrap();
        fs::write(self.file("cert.pem"), certificate.pem() + &self.issuer.pem()).unwrap();
        certificate.der().to_vec()
    }

    fn settings(&self) -> [String; 2] {
        let of = |setting: &str, name: &str| format!("{setting}={}", self.file(name).display());
        [of("tls_cert_file", "cert.pem"), of("tls_key_file", "key.pem")]
    }

    fn serve(&self, more: &[&str]) -> Server {
        let settings = self.settings();
        let settings: Vec<&str> =
            settings.iter().map(String::as_str).chain(more.iter().copied()).collect();
        self.data.serve_with(&settings)
    }

    /// A connection that trusts this authority, with the certificate that it was shown.
    fn connect(
        &self,
        address: &str,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Connected {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).unwrap();
        }
        Connected(StreamOwned::new(connection, socket))
    }
}

struct Connected(StreamOwned<ClientConnection, TcpStream>);

impl Connected {
    fn shown(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().unwrap().first().unwrap().to_vec()
    }

    fn status_of(&mut self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        self.0.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = self.0.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).lines().next().unwrap_or("").to_owned()
    }
}

const BOTH: &[&rustls::SupportedProtocolVersion] = rustls::ALL_VERSIONS;

#[test]
fn both_versions_are_spoken_and_our_own_client_trusts_a_private_authority() {
    let authority = Authority::new();
    authority.issue();
    let server = authority.serve(&[]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut connected = authority.connect(&server.address, &[version]);
        assert_eq!(connected.0.conn.protocol_version(), Some(version.version));
        assert_eq!(connected.0.conn.alpn_protocol(), Some(b"http/1.1".as_slice()));
        assert_eq!(connected.status_of("/livez"), "HTTP/1.1 200 OK");
    }
    let event = authority.file("event.json");
    fs::write(&event, policy("tls-1").to_string()).unwrap();
    let append = |ca: bool| {
        let mut command = binary();
        command.args(["append", "--url", &format!("https://{}", server.address)]);
        command.arg("--key-file").arg(authority.data.path().join("keys/admin.key"));
        if ca {
            command.arg("--ca-file").arg(authority.file("ca.pem"));
        }
        command.arg(&event).output().unwrap()
    };
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let refused = append(false);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    let accepted = append(true);
    assert_eq!(accepted.status.code(), Some(0), "{}", said(&accepted));
    let key = authority.data.ledger().join("verifier.key");
    let verified = binary()
        .args(["verify", &format!("https://{}", server.address), "--key"])
        .arg(key)
        .arg("--ca-file")
        .arg(authority.file("ca.pem"))
        .arg("--key-file")
        .arg(authority.data.path().join("keys/admin.key"))
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&verified.stdout);
    assert_eq!(verified.status.code(), Some(0), "{report}{}", said(&verified));
    assert!(report.contains("VERIFIED"), "{report}");
    assert!(server.terminate().success());
}

#[test]
fn a_new_certificate_is_taken_over_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let first = authority.issue();
    let server = authority.serve(&["tls_reload_interval_ms=200"]);
    let shown = || authority.connect(&server.address, BOTH).shown();
    let mut old_connection = authority.connect(&server.address, BOTH);
    assert_eq!(old_connection.shown(), first);

    // The files change: noticed without a signal.
    let second = authority.issue();
    wait_until("the second certificate", || shown() == second);
    assert_eq!(old_connection.status_of("/livez"), "HTTP/1.1 200 OK", "it goes on as it began");

    // A key of another certificate, then rubbish, then nothing: the second stays in use.
    let other = KeyPair::generate().unwrap();
    fs::write(authority.file("key.pem"), other.serialize_pem()).unwrap();
    wait_until("the mismatch in the log", || server.stderr().contains("cannot be used"));
    assert_eq!(shown(), second);
    fs::write(authority.file("key.pem"), "rubbish").unwrap();
    wait_until("the rubbish in the log", || server.stderr().contains("no private key in PEM form"));
    fs::remove_file(authority.file("cert.pem")).unwrap();
    server.signal("HUP");
    wait_until("the missing file in the log", || server.stderr().contains("No such file"));
    assert_eq!(shown(), second);
    let mentions = server.stderr().matches("no private key").count();
    assert_eq!(mentions, 1, "a broken file is named once, not at every look");

    let third = authority.issue();
    server.signal("HUP");
    wait_until("the third certificate", || shown() == third);
    assert!(server.terminate().success());
}

#[test]
fn what_is_no_tls_is_closed_and_costs_nobody_else_anything() {
    let authority = Authority::new();
    authority.issue();
    let server = authority.serve(&["tls_handshake_timeout_ms=1000"]);
    let attempts: [&[u8]; 5] = [
        b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
        &[0; 4096],
        &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3],
        // A ClientHello's first bytes, and then silence.
        &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3],
        b"",
    ];
    let mut open = Vec::new();
    for attempt in attempts.iter().cycle().take(20) {
        let mut socket = TcpStream::connect(&server.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = socket.write_all(attempt);
        open.push(socket);
    }
    assert_eq!(authority.connect(&server.address, BOTH).status_of("/livez"), "HTTP/1.1 200 OK");
    for mut socket in open {
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "an answer in plain text");
    }
    assert_eq!(authority.connect(&server.address, BOTH).status_of("/readyz"), "HTTP/1.1 200 OK");
}

#[test]
fn a_start_without_usable_files_is_refused_with_their_name() {
    let authority = Authority::new();
    let settings = authority.settings();
    let both: Vec<&str> = settings.iter().map(String::as_str).collect();
    for (settings, said) in
        [(&both[..], "cert.pem"), (both.get(..1).unwrap(), "tls_cert_file and tls_key_file go together")]
    {
        let refusal = authority.data.try_serve_with(settings).unwrap_err();
        assert_eq!(refusal.status.code(), Some(1));
        assert!(refusal.stderr.contains(said), "{}", refusal.stderr);
    }
    authority.issue();
    fs::write(authority.file("cert.pem"), "no certificate").unwrap();
    let refusal = authority.data.try_serve_with(&both).unwrap_err();
    assert!(refusal.stderr.contains("no certificate in PEM form"), "{}", refusal.stderr);
}

#[test]
fn without_tls_a_public_address_is_warned_about() {
    let data = DataDir::new();
    let server = data.serve_with(&["listen=0.0.0.0:0"]);
    wait_until("the warning", || server.stderr().contains("unencrypted"));
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    let client = Client { address: format!("127.0.0.1:{port}"), key: Some(server.key.clone()) };
    client.get(&format!("{MAIN}/events")).expect_status(200);
    let data = DataDir::new();
    let local = data.serve();
    wait_until("the last of its talk", || local.stderr().contains("curl"));
    assert!(!local.stderr().contains("unencrypted"));
}
