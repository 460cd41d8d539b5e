//! A BuildKit session: while it is open, the Engine asks us for a build's secrets, and for logins at registries.
//!
//! The Engine is the client here: one connection is turned into HTTP/2 with the roles swapped, and answered by a gRPC
//! service of two methods.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bollard::errors::Error;
use bollard::health::health_check_response::ServingStatus;
use bollard::health::health_server::{Health, HealthServer};
use bollard::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard::moby::filesync::v1::auth_server::{Auth, AuthServer};
use bollard::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use futures_util::Stream;
use hyper::Request;
use hyper::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tonic::transport::server::{Connected, Server};
use tonic::{Response, Status};

use super::build::BuildSecrets;
use super::login::Logins;
use super::reference::Registry;
use super::transport::{Duplex, Transport};

/// What BuildKit may call: nothing else is asked of a session.
const METHODS: &[&str] = &["/moby.buildkit.secrets.v1.Secrets/GetSecret", "/moby.filesync.v1.Auth/Credentials"];

/// What a session hands out.
#[derive(Debug, Clone, Default)]
pub(super) struct Offers {
    pub secrets: BuildSecrets,
    pub logins: Logins,
}

impl Offers {
    pub(super) fn is_empty(&self) -> bool {
        self.secrets.0.is_empty() && self.logins.is_empty()
    }
}

/// An open session; dropping it closes it.
#[derive(Debug)]
pub(super) struct BuildkitSession {
    id: String,
    server: JoinHandle<()>,
}

impl BuildkitSession {
    /// # Errors
    /// When the Engine can't be reached or has no BuildKit.
    pub(super) async fn open(transport: &Transport, offers: Offers) -> Result<Self, Error> {
        let id = new_id()?;
        let mut request = Request::post("/session");
        for method in METHODS {
            request = request.header(HeaderName::from_static("x-docker-expose-session-grpc-method"), *method);
        }
        let request = request
            .header(HeaderName::from_static("x-docker-expose-session-uuid"), &id)
            .header(HeaderName::from_static("x-docker-expose-session-name"), "powerdev")
            .header(CONNECTION, HeaderValue::from_static("Upgrade"))
            .header(UPGRADE, HeaderValue::from_static("h2c"))
            .body(bollard::body_full(Default::default()))?;
        let connection = Upgraded(Box::new(transport.upgrade(request).await?));
        let router = Server::builder()
            .add_service(HealthServer::new(Serving))
            .add_service(SecretsServer::new(HandOut(offers.secrets)))
            .add_service(AuthServer::new(LogIn(offers.logins)));
        let server = tokio::spawn(async move {
            let incoming = futures_util::stream::iter([Ok::<_, io::Error>(connection)]);
            // It ends when the Engine closes it; whatever goes wrong shows in the build that asked for the secret.
            router.serve_with_incoming(incoming).await.ok();
        });
        Ok(Self { id, server })
    }

    /// Names it in the build's request.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for BuildkitSession {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// 128 random bits: whoever knows them could ask for the secrets.
fn new_id() -> io::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    Ok(hex::encode(random))
}

struct HandOut(BuildSecrets);

#[tonic::async_trait]
impl Secrets for HandOut {
    async fn get_secret(
        &self,
        request: tonic::Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        match self.0.0.get(&request.get_ref().id) {
            Some(value) => Ok(Response::new(GetSecretResponse { data: value.clone().into_bytes() })),
            None => Err(Status::not_found("no such secret")),
        }
    }
}

struct LogIn(Logins);

#[tonic::async_trait]
impl Auth for LogIn {
    /// Without a login BuildKit asks the registry all the same: most images are for everybody. Why there is none is
    /// `powerdev doctor`'s to tell.
    async fn credentials(
        &self,
        request: tonic::Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let login = self.0.of(&Registry::named(&request.get_ref().host)).await.ok().flatten().unwrap_or_default();
        Ok(Response::new(match login.identity_token {
            token if token.is_empty() => CredentialsResponse { username: login.username, secret: login.password },
            token => CredentialsResponse { username: String::new(), secret: token },
        }))
    }

    async fn fetch_token(&self, _: tonic::Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("only `credentials`"))
    }

    async fn get_token_authority(
        &self,
        _: tonic::Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("only `credentials`"))
    }

    async fn verify_token_authority(
        &self,
        _: tonic::Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("only `credentials`"))
    }
}

/// BuildKit asks now and then whether the session still lives.
struct Serving;

#[tonic::async_trait]
impl Health for Serving {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, _: tonic::Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving as i32 }))
    }

    async fn list(&self, _: tonic::Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("only `check`"))
    }

    async fn watch(&self, _: tonic::Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("only `check`"))
    }
}

/// The connection, as tonic wants it.
struct Upgraded(Box<dyn Duplex>);

impl Connected for Upgraded {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Upgraded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
