use std::{fs, path::Path};

use hubble_api::{
    observer::{GetNodesRequest, ServerStatusRequest},
    peer::{NotifyRequest, peer_client::PeerClient},
};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;

use super::*;
use crate::flow::RingConfig;

const SERVER: &str = "node-a.cluster1.hubble-grpc.cilium.io";

/// Who signs certificates.
struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn write(&self, directory: &Path, name: &str) {
        let (certificate, key) = self.sign(name);
        fs::write(directory.join("tls.crt"), certificate).unwrap();
        fs::write(directory.join("tls.key"), key).unwrap();
        fs::write(directory.join("ca.crt"), &self.pem).unwrap();
    }
}

/// A server with TLS; `more` is what stands beside certificate and key.
fn stage(ca: &Ca, more: &str) -> Stage {
    let directory = tempfile::tempdir().unwrap();
    ca.write(directory.path(), SERVER);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let more = format!("  listen: 127.0.0.1:{port}\n  tls: {{certificate: tls.crt, key: tls.key{more}}}\n");
    Stage::without(RingConfig::default(), &more, directory)
}

fn started(ca: &Ca, more: &str) -> Stage {
    let mut stage = stage(ca, more);
    stage.start(Limits::default()).unwrap();
    stage.listen(false);
    stage
}

/// A client that trusts `ca` and shows the certificate that is given.
async fn client(stage: &Stage, ca: &Ca, own: Option<(String, String)>) -> Result<ObserverClient<Channel>, Status> {
    client_of(stage, ca, own, &rustls::version::TLS13).await
}

async fn client_of(
    stage: &Stage,
    ca: &Ca,
    own: Option<(String, String)>,
    version: &'static rustls::SupportedProtocolVersion,
) -> Result<ObserverClient<Channel>, Status> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let address = stage.config.flows.listen.unwrap();
    let connect = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            connector.connect(ServerName::try_from(SERVER).unwrap(), stream).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connect).await.map_err(|error| Status::from_error(error.into()))?;
    // With TLS 1.3 a client that is refused hears it with its first answer.
    let mut client = ObserverClient::new(channel);
    client.server_status(ServerStatusRequest {}).await.map(|_| client)
}

#[tokio::test]
async fn with_a_ca_of_clients_nobody_comes_in_without_a_certificate_of_it() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    let stage = started(&ca, ", clientCa: ca.crt");
    client(&stage, &ca, Some(ca.sign("relay"))).await.unwrap();
    assert_eq!(stage.counted("hubble_handshakes_failed"), 0);
    client(&stage, &ca, None).await.unwrap_err();
    client(&stage, &ca, Some(stranger.sign("relay"))).await.unwrap_err();
    assert!(stage.counted("hubble_handshakes_failed") >= 2);
    client(&stage, &ca, Some(ca.sign("relay"))).await.unwrap();
}

#[tokio::test]
async fn without_one_everybody_comes_in_and_the_servers_own_is_checked() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    let stage = started(&ca, "");
    client(&stage, &ca, None).await.unwrap();
    client(&stage, &stranger, None).await.unwrap_err();
}

#[tokio::test]
async fn peers_are_told_of_tls() {
    let ca = Ca::new();
    let stage = started(&ca, "");
    let mut stream = PeerClient::new(stage.channel().await).notify(NotifyRequest {}).await.unwrap().into_inner();
    let own = stream.message().await.unwrap().unwrap();
    assert_eq!(own.address, stage.config.flows.listen.unwrap().to_string());
    assert_eq!(own.tls.unwrap().server_name, SERVER);
    let nodes = stage.observer().await.get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
    let tls = nodes[0].tls.clone().unwrap();
    assert_eq!((tls.enabled, tls.server_name.as_str()), (true, SERVER));
}

#[tokio::test]
async fn certificates_that_changed_are_used_by_the_next_connection() {
    let (before, after) = (Ca::new(), Ca::new());
    let stage = started(&before, ", clientCa: ca.crt");
    let mut first = client(&stage, &before, Some(before.sign("relay"))).await.unwrap();
    after.write(stage.directory.path(), SERVER);
    client(&stage, &after, Some(after.sign("relay"))).await.unwrap();
    client(&stage, &before, Some(before.sign("relay"))).await.unwrap_err();
    // What cannot be used changes nothing.
    fs::write(stage.directory.path().join("tls.crt"), "nothing").unwrap();
    client(&stage, &after, Some(after.sign("relay"))).await.unwrap();
    first.server_status(ServerStatusRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_client_that_says_nothing_has_no_place_for_long() {
    let ca = Ca::new();
    let mut stage = stage(&ca, "");
    stage.start(Limits { handshake: Duration::from_millis(20), ..Limits::default() }).unwrap();
    stage.listen(false);
    let silent = tokio::net::TcpStream::connect(stage.config.flows.listen.unwrap()).await.unwrap();
    stage.until(|stage| stage.counted("hubble_handshakes_failed") == 1).await;
    stage.until(|stage| stage.hubble().open().0 == 0).await;
    drop(silent);
}

#[test]
fn a_file_that_cannot_be_used_is_told_with_its_place() {
    let ca = Ca::new();
    let refused = |file: &str, content: Option<&str>| {
        let mut stage = stage(&ca, ", clientCa: ca.crt");
        let path = stage.directory.path().join(file);
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = stage.start(Limits::default()).unwrap_err().to_string();
        error.replace(&format!("{}", path.display()), "FILE")
    };
    let (_, other_key) = ca.sign(SERVER);
    assert_eq!(
        refused("tls.crt", None),
        "flows.tls.certificate: FILE: No such file or directory (os error 2); give a file that can be read"
    );
    assert_eq!(
        refused("tls.crt", Some("")),
        "flows.tls.certificate: FILE: no certificate in it; give a PEM file with certificates"
    );
    assert!(refused("tls.key", Some("x")).starts_with("flows.tls.key: FILE: "), "{}", refused("tls.key", Some("x")));
    let mismatch = refused("tls.key", Some(&other_key));
    assert!(
        mismatch.starts_with("flows.tls.key: FILE: ") && mismatch.ends_with("give the key of flows.tls.certificate")
    );
    assert_eq!(
        refused("ca.crt", Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
            .split_once("; ")
            .map(|(_, advice)| advice.to_owned()),
        Some("give a PEM file with CA certificates".to_owned())
    );
}
