//! The routes of the API.

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
    shared::Shared,
    wire::{Arguments, Authority, Body, Named, OptionalBody},
};
use crate::{
    frontend::http::{
        service::{ApiError, ErrorKind, Service},
        v1::{self, Owner},
    },
    model::Caller,
};

type ApiResult<T> = Result<Json<T>, ApiError>;
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
        .route("/endpoints", get(endpoints).post(create_endpoint))
        .route("/endpoints/{name}", get(endpoint).delete(remove_endpoint))
        .route("/endpoints/{name}/join", post(join_endpoint))
        .route("/endpoints/{name}/leave", post(leave_endpoint))
        .route("/ports", get(ports).post(publish).delete(unpublish))
        .route("/deny", get(denials).post(deny).delete(remove_denials))
        .route("/nodes", get(nodes))
        .route("/nodes/{name}", get(node).delete(remove_node))
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

async fn networks<S: Service>(State(api): Api<S>) -> ApiResult<Vec<v1::Network>> {
    api.service.networks().await.map(Json)
}

async fn network<S: Service>(State(api): Api<S>, Named(name): Named) -> ApiResult<v1::Network> {
    api.service.network(&name).await.map(Json)
}

async fn create_network<S: Service>(
    State(api): Api<S>,
    Authority(caller): Authority,
    Body(request): Body<v1::NetworkCreate>,
) -> Result<(StatusCode, Json<v1::Network>), ApiError> {
    let network = api.service.create_network(request, caller).await?;
    Ok((StatusCode::CREATED, Json(network)))
}

async fn remove_network<S: Service>(
    State(api): Api<S>,
    Named(name): Named,
    Authority(caller): Authority,
) -> Result<StatusCode, ApiError> {
    api.service.remove_network(&name, caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn connect<S: Service>(
    State(api): Api<S>,
    Named(name): Named,
    Authority(caller): Authority,
    Body(request): Body<v1::Connect>,
) -> ApiResult<v1::Sandbox> {
    api.service.connect(&name, request, caller).await.map(Json)
}

async fn disconnect<S: Service>(
    State(api): Api<S>,
    Named(name): Named,
    Authority(caller): Authority,
    Body(request): Body<v1::Disconnect>,
) -> ApiResult<v1::Sandbox> {
    api.service
        .disconnect(&name, request, caller)
        .await
        .map(Json)
}

async fn sandboxes<S: Service>(State(api): Api<S>) -> ApiResult<Vec<v1::Sandbox>> {
    api.service.sandboxes().await.map(Json)
}

async fn sandbox<S: Service>(State(api): Api<S>, Named(name): Named) -> ApiResult<v1::Sandbox> {
    api.service.sandbox(&name).await.map(Json)
}

async fn create_sandbox<S: Service>(
    State(api): Api<S>,
    Authority(caller): Authority,
    Body(request): Body<v1::SandboxCreate>,
) -> Result<(StatusCode, Json<v1::Sandbox>), ApiError> {
    let sandbox = api.service.create_sandbox(request, caller).await?;
    Ok((StatusCode::CREATED, Json(sandbox)))
}

async fn remove_sandbox<S: Service>(
    State(api): Api<S>,
    Named(name): Named,
    Authority(caller): Authority,
) -> Result<StatusCode, ApiError> {
    api.service.remove_sandbox(&name, caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn endpoints<S: Service>(State(api): Api<S>) -> ApiResult<Vec<v1::Endpoint>> {
    api.service.endpoints().await.map(Json)
}

async fn endpoint<S: Service>(State(api): Api<S>, Named(id): Named) -> ApiResult<v1::Endpoint> {
    api.service.endpoint(&id).await.map(Json)
}

async fn create_endpoint<S: Service>(
    State(api): Api<S>,
    Authority(caller): Authority,
    Body(request): Body<v1::EndpointCreate>,
) -> Result<(StatusCode, Json<v1::Endpoint>), ApiError> {
    let endpoint = api.service.create_endpoint(request, caller).await?;
    Ok((StatusCode::CREATED, Json(endpoint)))
}

async fn remove_endpoint<S: Service>(
    State(api): Api<S>,
    Named(id): Named,
    Authority(caller): Authority,
) -> Result<StatusCode, ApiError> {
    api.service.remove_endpoint(&id, caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn join_endpoint<S: Service>(
    State(api): Api<S>,
    Named(id): Named,
    Authority(caller): Authority,
    Body(request): Body<v1::Join>,
) -> ApiResult<v1::Endpoint> {
    let joined = api.service.join_endpoint(&id, request, caller).await;
    joined.map(Json)
}

async fn leave_endpoint<S: Service>(
    State(api): Api<S>,
    Named(id): Named,
    Authority(caller): Authority,
) -> ApiResult<v1::Endpoint> {
    api.service.leave_endpoint(&id, caller).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PortsArguments {
    sandbox: Option<String>,
}

async fn ports<S: Service>(
    State(api): Api<S>,
    Arguments(arguments): Arguments<PortsArguments>,
) -> ApiResult<Vec<v1::Port>> {
    api.service
        .ports(arguments.sandbox.as_deref())
        .await
        .map(Json)
}

async fn publish<S: Service>(
    State(api): Api<S>,
    Authority(caller): Authority,
    Body(request): Body<v1::Publish>,
) -> Result<(StatusCode, Json<Vec<v1::Port>>), ApiError> {
    let ports = api.service.publish(request, caller).await?;
    Ok((StatusCode::CREATED, Json(ports)))
}

/// One port, for clients that cannot send a body with `DELETE`; and the caller.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnpublishArguments {
    sandbox: Option<String>,
    publish: Option<String>,
    #[serde(default)]
    owner: Owner,
    #[serde(default)]
    force: bool,
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
    let caller = Caller {
        owner: arguments.owner,
        force: arguments.force,
    };
    api.service.unpublish(request, caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn denials<S: Service>(State(api): Api<S>) -> ApiResult<Vec<v1::Denial>> {
    api.service.denials().await.map(Json)
}

async fn deny<S: Service>(
    State(api): Api<S>,
    Body(request): Body<v1::Deny>,
) -> Result<StatusCode, ApiError> {
    api.service.deny(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_denials<S: Service>(
    State(api): Api<S>,
    Body(request): Body<v1::DenyRemove>,
) -> Result<StatusCode, ApiError> {
    api.service.remove_denials(request).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn nodes<S: Service>(State(api): Api<S>) -> ApiResult<Vec<v1::Node>> {
    api.service.nodes().await.map(Json)
}

async fn node<S: Service>(State(api): Api<S>, Named(name): Named) -> ApiResult<v1::Node> {
    api.service.node(&name).await.map(Json)
}

async fn remove_node<S: Service>(
    State(api): Api<S>,
    Named(name): Named,
    Authority(caller): Authority,
) -> Result<StatusCode, ApiError> {
    api.service.remove_node(&name, caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn maps<S: Service>(State(api): Api<S>) -> ApiResult<Vec<v1::MapInfo>> {
    api.service.maps().await.map(Json)
}

async fn map<S: Service>(State(api): Api<S>, Named(name): Named) -> ApiResult<v1::MapDump> {
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

async fn status<S: Service>(State(api): Api<S>) -> ApiResult<v1::Status> {
    api.service.status().await.map(Json)
}

async fn teardown<S: Service>(State(api): Api<S>) -> Result<StatusCode, ApiError> {
    api.service.teardown().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unknown_route(uri: Uri) -> ApiError {
    ApiError::not_found(format!("'{}' does not exist in this API", uri.path()))
        .hint("see '/v1/networks', '/v1/sandboxes', '/v1/endpoints', '/v1/ports', '/v1/deny', '/v1/nodes', '/v1/maps', '/v1/status' and '/v1/events'")
}

async fn wrong_method(method: Method, uri: Uri) -> (StatusCode, ApiError) {
    let error = ApiError {
        kind: ErrorKind::Invalid,
        message: format!("'{}' does not support {method}", uri.path()),
        hint: None,
    };
    (StatusCode::METHOD_NOT_ALLOWED, error)
}
