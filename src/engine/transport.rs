//! How requests reach the Engine: HTTP/1.1 over a Unix socket, one connection a request; over TCP, TLS or ssh on a
//! connection that has just answered another, where there is one.
//!
//! bollard's own transports are not used: they hide why a connection failed, know no contexts, and misread a
//! terminal's bytes (see [`super::exec`]). This one serves bollard and our own requests alike.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http_body_util::{BodyDataStream, BodyExt};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::io::StreamReader;

use super::endpoint::{Address, Endpoint, EndpointError};
use super::pool::{Pool, PooledConnection};
use super::tls;

const CONNECT: Duration = Duration::from_secs(10);
/// bollard's own limit on an answer's first byte, in seconds. Ours, around every call, is the one that counts; this
/// one must outlast calls that wait for a container to stop.
const NEVER: u64 = 100 * 365 * 24 * 3600;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Transport {
    address: Arc<Address>,
    tls: Option<TlsConnector>,
    /// None: connecting costs next to nothing.
    pool: Option<Pool>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

impl Transport {
    /// # Errors
    /// When a certificate or a key can't be read.
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self, EndpointError> {
        let tls = match &endpoint.address {
            Address::Tcp { tls: Some(files), .. } => Some(tls::connector(files)?),
            _ => None,
        };
        let pool = (!matches!(endpoint.address, Address::Unix(_))).then(Pool::default);
        Ok(Self { address: Arc::new(endpoint.address.clone()), tls, pool })
    }

    /// bollard on top of this transport.
    pub(super) fn docker(&self) -> Result<Docker, Error> {
        let transport = self.clone();
        let send = move |request: BollardRequest| {
            let transport = transport.clone();
            async move { transport.send(request).await }
        };
        Docker::connect_with_custom_transport(send, Some("http://docker"), NEVER, API_DEFAULT_VERSION)
    }

    /// GET of a path with its query; an error answer is an error.
    pub(super) async fn get(&self, path: &str) -> Result<Response<Incoming>, Error> {
        checked(self.send(Request::get(path).body(bollard::body_full(Default::default()))?).await?).await
    }

    /// POST of a JSON document; an error answer is an error.
    pub(super) async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Response<Incoming>, Error> {
        checked(self.send(json(path, body)?).await?).await
    }

    /// POST of a JSON document that turns the connection into a plain stream, both ways.
    pub(super) async fn hijack(&self, path: &str, body: &serde_json::Value) -> Result<impl Duplex + 'static, Error> {
        let mut request = json(path, body)?;
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        request.headers_mut().insert(UPGRADE, HeaderValue::from_static("tcp"));
        self.upgrade(request).await
    }

    /// A request whose answer is the connection itself.
    pub(super) async fn upgrade(&self, request: BollardRequest) -> Result<impl Duplex + 'static, Error> {
        let response = checked(self.send(request).await?).await?;
        Ok(TokioIo::new(hyper::upgrade::on(response).await?))
    }

    /// POST of a stream; an error answer is an error.
    pub(super) async fn post_stream(
        &self,
        path: &str,
        content_type: &'static str,
        body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<Response<Incoming>, Error> {
        let request = Request::post(path).header(CONTENT_TYPE, content_type).body(bollard::body_try_stream(body))?;
        checked(self.send(request).await?).await
    }

    /// Any request; an error answer is an error.
    pub(super) async fn answer(&self, request: BollardRequest) -> Result<Response<Incoming>, Error> {
        checked(self.send(request).await?).await
    }

    async fn send(&self, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let origin = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = origin.parse::<Uri>()?;
        request.headers_mut().insert(HOST, HeaderValue::from_static("docker"));
        if let Some(mut kept) = self.pool.as_ref().and_then(Pool::take) {
            match kept.try_send_request(request).await {
                Ok(response) => return Ok(self.answered(kept, response)),
                // It was closed just now, and has sent nothing.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut connection = self.connect().await?;
        let response = connection.send_request(request).await?;
        Ok(self.answered(connection, response))
    }

    async fn connect(&self) -> Result<PooledConnection, Error> {
        let io = tokio::time::timeout(CONNECT, self.dial()).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {} s", CONNECT.as_secs()))
        })??;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
        // It ends when nobody keeps it, or with the upgraded stream; its error is told there too.
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    fn answered(&self, connection: PooledConnection, response: Response<Incoming>) -> Response<Incoming> {
        if let Some(pool) = self.pool.as_ref().filter(|_| response.status() != StatusCode::SWITCHING_PROTOCOLS) {
            pool.keep(connection);
        }
        response
    }

    async fn dial(&self) -> io::Result<Box<dyn Duplex>> {
        match &*self.address {
            Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Address::Tcp { host, port, .. } => {
                let tcp = TcpStream::connect((host.as_str(), *port)).await?;
                tcp.set_nodelay(true)?;
                let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                Ok(Box::new(tls.connect(name, tcp).await?))
            }
            Address::Ssh { destination, port, socket } => {
                Ok(Box::new(SshPipe::open(destination, *port, socket.as_deref())?))
            }
        }
    }
}

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

fn json(path: &str, body: &serde_json::Value) -> Result<BollardRequest, Error> {
    let body = bollard::body_full(serde_json::to_vec(body)?.into());
    Ok(Request::builder().method(Method::POST).uri(path).header(CONTENT_TYPE, "application/json").body(body)?)
}

/// What a value in a query may not hold as it is; `/` and `:`, which image names are made of, it may.
const ESCAPED: AsciiSet =
    NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// A value in a query.
pub(super) fn escape(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, &ESCAPED)
}

/// An answer that is a JSON document a line.
pub(super) fn json_lines<T: DeserializeOwned>(answer: Response<Incoming>) -> impl Stream<Item = io::Result<T>> + Send {
    let body = BodyDataStream::new(answer.into_body()).map_err(io::Error::other);
    let lines = StreamReader::new(body).lines();
    futures_util::stream::try_unfold(lines, async |mut lines| {
        while let Some(line) = lines.next_line().await? {
            if !line.trim().is_empty() {
                let document: T = serde_json::from_str(&line).map_err(io::Error::other)?;
                return Ok::<_, io::Error>(Some((document, lines)));
            }
        }
        Ok(None)
    })
}

/// Turns an error answer into an error, with the Engine's message.
async fn checked(response: Response<Incoming>) -> Result<Response<Incoming>, Error> {
    let status = response.status();
    if status.is_success() || matches!(status, StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS) {
        return Ok(response);
    }
    let body = response.into_body().collect().await?.to_bytes();
    let message = match serde_json::from_slice::<serde_json::Value>(&body) {
        Ok(document) => document["message"].as_str().map(str::to_owned),
        Err(_) => None,
    };
    let message = message.unwrap_or_else(|| String::from_utf8_lossy(&body).trim().to_owned());
    Err(Error::DockerResponseServerError { status_code: status.as_u16(), message })
}

/// `ssh` running `docker system dial-stdio` on the Engine's machine, as the docker CLI does: the user's ssh
/// configuration, keys and agent count. It can't ask for a password on the terminal, which isn't its own.
struct SshPipe {
    /// Killed when dropped.
    _ssh: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

impl SshPipe {
    fn open(destination: &str, port: Option<u16>, socket: Option<&str>) -> io::Result<Self> {
        let mut ssh = Command::new("ssh");
        ssh.args(["-o", "ConnectTimeout=30", "-T"]);
        // Out of reach of the terminal's Ctrl-C, which is for the command inside; what would ask there must fail instead.
        ssh.process_group(0);
        if std::env::var_os("SSH_ASKPASS").is_none() {
            ssh.args(["-o", "BatchMode=yes"]);
        }
        if let Some(port) = port {
            ssh.args(["-p", &port.to_string()]);
        }
        ssh.args(["--", destination, "docker"]);
        if let Some(socket) = socket {
            ssh.args(["--host", &format!("unix://{socket}")]);
        }
        ssh.args(["system", "dial-stdio"]);
        let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("asked for a pipe");
        Ok(Self { _ssh: child, stdin, stdout })
    }

    fn stdin(&mut self) -> io::Result<Pin<&mut ChildStdin>> {
        self.stdin.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncRead for SshPipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SshPipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stdin()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stdin()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Closing the pipe is what tells ssh that no more comes.
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}
