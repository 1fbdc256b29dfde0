//! An answer that must not pause for longer than the guest said (`between-bytes-timeout` of `wasi:http`).

use std::time::Duration;

use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, WasiBody};

/// Dropped: so is the body.
pub(super) fn paced(body: WasiBody, pause: Duration) -> WasiBody {
    let frames = stream::unfold(Some(BodyStream::new(body)), move |body| async move {
        let mut body = body?;
        match timeout(pause, body.next()).await {
            Ok(frame) => Some((frame?, Some(body))),
            Err(_) => Some((Err(Error::ConnectionReadTimeout), None)),
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn a_pause_ends_an_answer_and_a_whole_one_comes_whole() {
        let whole = Full::new(Bytes::from("all of it"))
            .map_err(|never| match never {})
            .boxed_unsync();
        let whole = paced(whole, Duration::from_mins(1)).collect().await.unwrap();
        assert_eq!(whole.to_bytes(), "all of it");
        let stuck = StreamBody::new(stream::pending()).boxed_unsync();
        let error = paced(stuck, Duration::from_millis(10)).collect().await.unwrap_err();
        assert!(matches!(error, Error::ConnectionReadTimeout), "{error:?}");
    }
}
