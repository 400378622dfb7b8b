//! Extractors and responses. Every error has the same form.

use axum::{
    Json,
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};

use super::RECEIVE;
use crate::{
    frontend::http::{
        service::ApiError,
        v1::{ErrorBody, ErrorDetail},
    },
    model::{Caller, Owner},
};

/// The JSON body of a request; any content type is accepted, so that plain `curl -d` works.
pub(super) struct Body<T>(pub T);

/// A JSON body that may be missing.
pub(super) struct OptionalBody<T>(pub Option<T>);

/// The query of a request.
pub(super) struct Arguments<T>(pub T);

/// The caller, from the query: `?owner=OWNER&force=true`.
pub(super) struct Authority(pub Caller);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityArguments {
    #[serde(default)]
    owner: Owner,
    #[serde(default)]
    force: bool,
}

/// The `NAME` in the path of a request.
pub(super) struct Named(pub String);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = ErrorBody {
            error: ErrorDetail {
                code: self.kind.code().to_owned(),
                message: self.message,
                hint: self.hint,
            },
        };
        (status, Json(body)).into_response()
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match OptionalBody::from_request(request, state).await? {
            OptionalBody(Some(body)) => Ok(Self(body)),
            OptionalBody(None) => Err(ApiError::invalid("the request has no body")
                .hint("send a JSON object with the fields of the request")),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let received = tokio::time::timeout(RECEIVE, Bytes::from_request(request, state));
        let Ok(received) = received.await else {
            let limit = RECEIVE.as_secs();
            let text = format!("the body was not complete within {limit} seconds");
            return Err(ApiError::invalid(text));
        };
        let bytes = received.map_err(|error: BytesRejection| {
            ApiError::invalid(format!("the body cannot be read: {}", error.body_text()))
        })?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok(Self(Some(body))),
            Err(error) => Err(ApiError::invalid(format!(
                "the body is not a valid request: {error}"
            ))),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Arguments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Query::from_request_parts(parts, state)
            .await
            .map(|Query(arguments)| Self(arguments))
            .map_err(|error: QueryRejection| ApiError::invalid(error.body_text()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Authority {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Arguments(arguments): Arguments<AuthorityArguments> =
            Arguments::from_request_parts(parts, state).await?;
        Ok(Self(Caller {
            owner: arguments.owner,
            force: arguments.force,
        }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Path::from_request_parts(parts, state)
            .await
            .map(|Path(name)| Self(name))
            .map_err(|error: PathRejection| ApiError::invalid(error.body_text()))
    }
}
