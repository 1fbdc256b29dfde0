//! Refusals: what a request is answered with when it is not carried out. Always a stable code, what is wrong, and what
//! to do.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use landfall_recovery::codes;
use landfall_recovery::diagnostic::Diagnostic;
use landfall_recovery::words::{Failure, Finding};
use landfall_store::StoreError;

use crate::api::wire::Problem;

/// Why a request is not carried out.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    problem: Box<Problem>,
}

impl Refusal {
    fn new(status: StatusCode, code: &str, detail: String) -> Self {
        let page = codes::explain(code);
        let problem = Problem {
            kind: format!("urn:landfall:{code}"),
            title: page.map_or("", |page| page.title).to_owned(),
            status: status.as_u16(),
            detail,
            code: code.to_owned(),
            hint: page.map_or("", |page| page.cure).to_owned(),
            ..Problem::default()
        };
        Self {
            status,
            problem: Box::new(problem),
        }
    }

    /// The request itself cannot be read.
    pub(crate) fn bad_request(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, codes::BAD_REQUEST, detail)
    }

    /// It names something that does not exist.
    pub(crate) fn unknown(detail: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, codes::UNKNOWN_SUBJECT, detail)
    }

    /// There is no such plugin.
    pub(crate) fn unknown_plugin(detail: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, codes::UNKNOWN_PLUGIN, detail)
    }

    /// There is no such job or step.
    pub(crate) fn unknown_job(detail: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, codes::UNKNOWN_JOB, detail)
    }

    /// It is understood and not done.
    pub(crate) fn refused(code: &str, detail: String) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// Who asks is not known.
    pub(crate) fn not_authorised(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, codes::NOT_AUTHORISED, detail.to_owned())
    }

    /// Everything that stands against it.
    pub(crate) fn findings(code: &str, detail: String, findings: Vec<Finding>) -> Self {
        let mut refusal = Self::new(StatusCode::CONFLICT, code, detail);
        refusal.problem.findings = findings;
        refusal
    }

    /// Everything that is wrong with a document.
    pub(crate) fn diagnostics(detail: String, diagnostics: Vec<Diagnostic>) -> Self {
        let code = diagnostics
            .first()
            .map_or(codes::WRONG_VALUE, |first| first.code.as_str())
            .to_owned();
        let mut refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, &code, detail);
        refusal.problem.diagnostics = diagnostics;
        refusal
    }

    /// A fault of ours.
    /// What was written is not what is there.
    pub(crate) fn damaged(why: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, codes::STORE, why.to_owned())
    }

    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, codes::INTERNAL, error.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, codes::STORE, error.to_string())
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let mut refusal = Self::new(StatusCode::CONFLICT, &failure.code, failure.message);
        if refusal.problem.hint.is_empty() {
            "see the plugin's documentation".clone_into(&mut refusal.problem.hint);
        }
        refusal
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.problem)).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}
