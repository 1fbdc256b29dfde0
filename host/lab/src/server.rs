//! Connections: HTTP/1.1, answers from the router, and now and then no answer at all. A lost site and a lost reply
//! look to the caller as they do in life: the connection closes and nothing was said.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use crate::api::{App, Dropped, router};
use crate::clock::wall_ms;

/// How long open requests may take to end after the lab was told to stop: its own waits end at once.
const GRACE: Duration = Duration::from_secs(2);

/// After an accept that failed (too many open files): long enough not to spin, short enough not to be felt.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer, as told")]
struct NoAnswer;

/// Serves until `shutdown` is over.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>, shutdown: impl Future<Output = ()>) {
    let service = TowerToHyperService::new(router(Arc::clone(&app)));
    let timer = tokio::spawn(keep_time(Arc::clone(&app)));
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => connect(stream, service.clone(), &graceful),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    app.close();
    timer.abort();
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time and were cut off");
    }
}

fn connect(stream: TcpStream, service: TowerToHyperService<Router>, graceful: &GracefulShutdown) {
    // Answers are small and waited for.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection stays slow");
    }
    let answer = service_fn(move |request: Request<Incoming>| {
        let answer = service.call(request);
        async move {
            let response: Response = answer.await.unwrap_or_else(|never| match never {});
            if response.extensions().get::<Dropped>().is_some() {
                Err(NoAnswer)
            } else {
                Ok(response)
            }
        }
    });
    let connection = graceful.watch(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended");
        }
    });
}

/// Finishes tasks when they are due, so that the ledger says so though nobody asks.
async fn keep_time(app: Arc<App>) {
    loop {
        let wait = {
            let mut lab = app.lab();
            if let Err(failure) = lab.settle(wall_ms()) {
                tracing::error!(message = failure.message, "tasks cannot be finished");
                return;
            }
            let wall = lab.next_due().map(|due| lab.state.clock.wall(due));
            wall.map(|wall| Duration::from_millis(wall.saturating_sub(wall_ms()).max(1)))
        };
        let due = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = app.rescheduled.notified() => {}
        }
    }
}
