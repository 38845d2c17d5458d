//! A client's connection, with TLS or without, and HTTP/1.1 on it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::{Buf as _, BytesMut};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::counts::Fault;

/// A request, and the only right answer to it.
pub(crate) struct Asked {
    request: Vec<u8>,
    body: Vec<u8>,
}

impl Asked {
    pub(crate) fn new(path: &str, body: &Path) -> anyhow::Result<Self> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
        let body = std::fs::read(body).with_context(|| body.display().to_string())?;
        Ok(Self { request, body })
    }
}

/// TLS 1.3 with the cipher that all loads use, and one certificate that is trusted.
pub(crate) fn tls(cert: &Path) -> anyhow::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert)?)?;
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384];
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Every handshake is a full one.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection, with what has come on it and is not used yet.
pub(crate) struct Conn {
    stream: Stream,
    pub(crate) came: BytesMut,
}

impl Conn {
    /// Connects; `from` is an address of loopback to come from.
    pub(crate) async fn open(
        to: SocketAddr,
        from: Option<Ipv4Addr>,
        tls: Option<&TlsConnector>,
    ) -> Result<Self, Fault> {
        let socket = TcpSocket::new_v4().map_err(|_| Fault::Connect)?;
        if let Some(from) = from {
            let from = SocketAddr::from((from, 0));
            socket.bind(from).map_err(|_| Fault::Connect)?;
        }
        let tcp = socket.connect(to).await.map_err(|_| Fault::Connect)?;
        tcp.set_nodelay(true).map_err(|_| Fault::Connect)?;
        let stream = match tls {
            None => Stream::Plain(tcp),
            Some(tls) => {
                let name = ServerName::try_from("localhost").map_err(|_| Fault::Connect)?;
                let over = tls.connect(name, tcp).await.map_err(|_| Fault::Connect)?;
                Stream::Tls(Box::new(over))
            }
        };
        let came = BytesMut::new();
        Ok(Self { stream, came })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let sent = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes).await,
            Stream::Tls(stream) => match stream.write_all(bytes).await {
                Ok(()) => stream.flush().await,
                Err(error) => Err(error),
            },
        };
        sent.map_err(|_| Fault::Write)
    }

    /// Waits for more, and is at fault if no more comes.
    pub(crate) async fn read(&mut self) -> Result<(), Fault> {
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read_buf(&mut self.came).await,
            Stream::Tls(stream) => stream.read_buf(&mut self.came).await,
        };
        match read {
            Ok(0) | Err(_) => Err(Fault::Read),
            Ok(_) => Ok(()),
        }
    }

    /// The head of an answer, whole and as it came.
    pub(crate) async fn head(&mut self) -> Result<String, Fault> {
        loop {
            let end = self.came.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let head = self.came.split_to(end + 4);
                return String::from_utf8(head.to_vec()).map_err(|_| Fault::Wrong);
            }
            self.read().await?;
        }
    }

    /// A request and all of its answer; how many bytes it has.
    pub(crate) async fn ask(&mut self, asked: &Asked) -> Result<usize, Fault> {
        self.send(&asked.request).await?;
        let head = self.head().await?;
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(Fault::Status);
        }
        let length = field(&head, "content-length").and_then(|length| length.parse().ok());
        if length != Some(asked.body.len()) || field(&head, "connection") == Some("close") {
            return Err(Fault::Wrong);
        }
        while self.came.len() < asked.body.len() {
            self.read().await?;
        }
        if self.came != asked.body {
            return Err(Fault::Wrong);
        }
        self.came.advance(asked.body.len());
        if self.came.is_empty() {
            // An idle connection is to cost the client nothing that it need not.
            self.came = BytesMut::new();
        }
        Ok(head.len() + asked.body.len())
    }
}

/// The value of a field in a head.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
