//! The HTTP API. It listens on loopback, wants the token of a file that only the daemon's user can read, and answers
//! no request whose Host or Origin is another site's: a web page in the operator's browser must not reach it.

mod documents;
mod events;
mod health;
mod items;
mod jobs;
mod plugins;
mod policies;
mod sites;
pub mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::engine::Engine;
use crate::problem::Refusal;

/// A plan of 10,000 machines is under 2 MiB.
const BODY_MAX: usize = 16 << 20;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    token: Arc<str>,
    ready: Arc<std::sync::atomic::AtomicBool>,
}

impl Shared {
    pub(crate) fn new(engine: Arc<Engine>, token: &str, ready: Arc<std::sync::atomic::AtomicBool>) -> Self {
        Self {
            engine,
            token: token.into(),
            ready,
        }
    }
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Landfall",
    description = "Disaster-recovery automation. Errors are problem+json with a stable code; `landfall explain CODE` has its page.",
    license(name = "Apache-2.0")
))]
struct Api;

fn protected() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(sites::list))
        .routes(routes!(sites::machines))
        .routes(routes!(sites::networks))
        .routes(routes!(documents::get_inventory, documents::put_inventory))
        .routes(routes!(documents::list_plans, documents::put_plan))
        .routes(routes!(documents::get_plan, documents::delete_plan))
        .routes(routes!(items::list))
        .routes(routes!(items::get))
        .routes(routes!(items::points))
        .routes(routes!(items::reconcile))
        .routes(routes!(items::orphans))
        .routes(routes!(jobs::list, jobs::create))
        .routes(routes!(jobs::get))
        .routes(routes!(jobs::recorded))
        .routes(routes!(jobs::evidence))
        .routes(routes!(jobs::decide))
        .routes(routes!(events::of_job))
        .routes(routes!(events::all))
        .routes(routes!(plugins::list))
        .routes(routes!(plugins::get))
        .routes(routes!(policies::decisions))
        .routes(routes!(policies::run))
        .routes(routes!(policies::retain))
        .routes(routes!(plugins::history))
        .routes(routes!(plugins::activate))
        .routes(routes!(plugins::rollback))
        .routes(routes!(plugins::revoke))
        .routes(routes!(health::version))
        .routes(routes!(health::reload))
}

/// The description of the API, as `/openapi.json` gives it.
pub fn openapi() -> String {
    let (_, api) = protected().split_for_parts();
    api.to_pretty_json().unwrap_or_default()
}

/// The whole service.
pub(crate) fn router(shared: Shared) -> Router {
    let (protected, _) = protected().split_for_parts();
    let protected = protected.route_layer(middleware::from_fn_with_state(shared.clone(), authorise));
    Router::new()
        .merge(protected)
        .merge(health::router())
        .layer(middleware::from_fn(same_site))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(shared)
}

async fn authorise(State(shared): State<Shared>, request: Request, next: Next) -> Result<Response, Refusal> {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| Refusal::not_authorised("the request has no bearer token"))?;
    if !same(given.as_bytes(), shared.token.as_bytes()) {
        return Err(Refusal::not_authorised("the token is wrong"));
    }
    Ok(next.run(request).await)
}

/// Takes the same time wherever the difference is.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
}

/// A browser names the page's site in Origin, and the name it looked up in Host: both must be this machine.
async fn same_site(request: Request, next: Next) -> Result<Response, Refusal> {
    check_site(request.headers())?;
    Ok(next.run(request).await)
}

fn check_site(headers: &HeaderMap) -> Result<(), Refusal> {
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let host = header(header::HOST);
    if !host.is_some_and(is_local) {
        return Err(Refusal::not_authorised(
            "the Host header is not this machine's loopback name",
        ));
    }
    match headers.get(header::ORIGIN) {
        None => Ok(()),
        Some(_) if header(header::ORIGIN).and_then(|origin| origin.strip_prefix("http://")) == host => Ok(()),
        Some(_) => Err(Refusal::not_authorised("the request comes from another origin")),
    }
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// Who asks. Until there are roles, the one token is the administrator's, and a client may say who sits behind it.
pub(crate) fn who(headers: &HeaderMap) -> String {
    let given = headers
        .get("landfall-user")
        .and_then(|value| value.to_str().ok())
        .map(str::trim);
    match given {
        Some(name) if !name.is_empty() && name.len() <= 100 => name.to_owned(),
        _ => "admin".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_local() {
        for good in ["localhost", "localhost:7420", "127.0.0.1:1", "[::1]:7420"] {
            assert!(is_local(good), "{good}");
        }
        for bad in [
            "",
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org:80",
            "10.0.0.1",
        ] {
            assert!(!is_local(bad), "{bad}");
        }
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"abc", b"ab"));
    }
}
