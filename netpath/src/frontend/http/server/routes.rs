//! Which request goes to which method of the service.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{Method, StatusCode, Uri},
    routing::{get, post},
};
use serde::Deserialize;
use tokio::sync::watch;

use super::{
    MAX_BODY, events,
    wire::{Arguments, Body, Named, OptionalBody},
};
use crate::frontend::http::{
    service::{ApiError, ErrorKind, Service},
    v1,
};

/// What handlers share.
pub(super) struct Shared<S> {
    /// Answers.
    pub service: Arc<S>,
    /// Turns true when the daemon ends.
    pub ended: watch::Receiver<bool>,
}

// A derive would ask for `S: Clone`.
impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            ended: self.ended.clone(),
        }
    }
}

type Answer<T> = Result<Json<T>, ApiError>;
type Api<S> = State<Shared<S>>;

/// Every route of the API.
pub(super) fn router<S: Service>(service: Arc<S>, ended: watch::Receiver<bool>) -> Router {
    let v1 = Router::new()
        .route("/networks", get(networks).post(create_network))
        .route("/networks/{name}", get(network).delete(remove_network))
        .route("/networks/{name}/connect", post(connect))
        .route("/networks/{name}/disconnect", post(disconnect))
        .route("/sandboxes", get(sandboxes).post(create_sandbox))
        .route("/sandboxes/{name}", get(sandbox).delete(remove_sandbox))
        .route("/ports", get(ports).post(publish).delete(unpublish))
        .route("/maps", get(maps))
        .route("/maps/{name}", get(map))
        .route("/status", get(status))
        .route("/events", get(events::stream))
        .route("/teardown", post(teardown));
    Router::new()
        .nest("/v1", v1)
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Shared { service, ended })
}

async fn networks<S: Service>(State(api): Api<S>) -> Answer<Vec<v1::Network>> {
    api.service.networks().await.map(Json)
}

async fn network<S: Service>(State(api): Api<S>, Named(name): Named) -> Answer<v1::Network> {
    api.service.network(&name).await.map(Json)
}

async fn create_network<S: Service>(
    State(api): Api<S>,
    Body(request): Body<v1::NetworkCreate>,
) -> Result<(StatusCode, Json<v1::Network>), ApiError> {
    let network = api.service.create_network(request).await?;
    Ok((StatusCode::CREATED, Json(network)))
}

async fn remove_network<S: Service>(
    State(api): Api<S>,
    Named(name): Named,
) -> Result<StatusCode, ApiError> {
    api.service.remove_network(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn connect<S: Service>(
    State(api): Api<S>,
    Named(name): Named,
    Body(request): Body<v1::Connect>,
) -> Answer<v1::Sandbox> {
    api.service.connect(&name, request).await.map(Json)
}

async fn disconnect<S: Service>(
    State(api): Api<S>,
    Named(name): Named,
    Body(request): Body<v1::Disconnect>,
) -> Answer<v1::Sandbox> {
    api.service.disconnect(&name, request).await.map(Json)
}

async fn sandboxes<S: Service>(State(api): Api<S>) -> Answer<Vec<v1::Sandbox>> {
    api.service.sandboxes().await.map(Json)
}

async fn sandbox<S: Service>(State(api): Api<S>, Named(name): Named) -> Answer<v1::Sandbox> {
    api.service.sandbox(&name).await.map(Json)
}

async fn create_sandbox<S: Service>(
    State(api): Api<S>,
    Body(request): Body<v1::SandboxCreate>,
) -> Result<(StatusCode, Json<v1::Sandbox>), ApiError> {
    let sandbox = api.service.create_sandbox(request).await?;
    Ok((StatusCode::CREATED, Json(sandbox)))
}

async fn remove_sandbox<S: Service>(
    State(api): Api<S>,
    Named(name): Named,
) -> Result<StatusCode, ApiError> {
    api.service.remove_sandbox(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PortsArguments {
    sandbox: Option<String>,
}

async fn ports<S: Service>(
    State(api): Api<S>,
    Arguments(arguments): Arguments<PortsArguments>,
) -> Answer<Vec<v1::Port>> {
    api.service
        .ports(arguments.sandbox.as_deref())
        .await
        .map(Json)
}

async fn publish<S: Service>(
    State(api): Api<S>,
    Body(request): Body<v1::Publish>,
) -> Result<(StatusCode, Json<Vec<v1::Port>>), ApiError> {
    let ports = api.service.publish(request).await?;
    Ok((StatusCode::CREATED, Json(ports)))
}

/// For clients that cannot send a body with `DELETE`: one port.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnpublishArguments {
    sandbox: Option<String>,
    publish: Option<String>,
}

async fn unpublish<S: Service>(
    State(api): Api<S>,
    Arguments(arguments): Arguments<UnpublishArguments>,
    OptionalBody(body): OptionalBody<v1::Unpublish>,
) -> Result<StatusCode, ApiError> {
    let request = match (body, arguments.sandbox, arguments.publish) {
        (Some(request), None, None) => request,
        (None, Some(sandbox), Some(port)) => v1::Unpublish {
            sandbox,
            publish: vec![port],
        },
        _ => {
            return Err(ApiError::invalid(
                "the request must name a sandbox and ports, in its body or in its query",
            )
            .hint("send {\"sandbox\": NAME, \"publish\": [SPEC]} or ?sandbox=NAME&publish=SPEC"));
        }
    };
    api.service.unpublish(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn maps<S: Service>(State(api): Api<S>) -> Answer<Vec<v1::MapInfo>> {
    api.service.maps().await.map(Json)
}

async fn map<S: Service>(State(api): Api<S>, Named(name): Named) -> Answer<v1::MapDump> {
    let Some(table) = v1::MapTable::from_name(&name) else {
        let names: Vec<String> = v1::MapTable::ALL.iter().map(ToString::to_string).collect();
        return Err(ApiError::unknown(
            "map",
            &name,
            names.iter().map(String::as_str),
        ));
    };
    api.service.map(table).await.map(Json)
}

async fn status<S: Service>(State(api): Api<S>) -> Answer<v1::Status> {
    api.service.status().await.map(Json)
}

async fn teardown<S: Service>(State(api): Api<S>) -> Result<StatusCode, ApiError> {
    api.service.teardown().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unknown_route(uri: Uri) -> ApiError {
    ApiError::not_found(format!("there is no '{}' in this API", uri.path()))
        .hint("see '/v1/networks', '/v1/sandboxes', '/v1/ports', '/v1/maps', '/v1/status' and '/v1/events'")
}

async fn wrong_method(method: Method, uri: Uri) -> (StatusCode, ApiError) {
    let error = ApiError {
        kind: ErrorKind::Invalid,
        message: format!("'{}' does not take {method}", uri.path()),
        hint: None,
    };
    (StatusCode::METHOD_NOT_ALLOWED, error)
}
