//! Guests that speak HTTP, with the calls that bindings would make written out.

use crate::Fixture;

const HTTP: &str = "wasi:http/types@0.2.12";
const STREAMS: &str = "wasi:io/streams@0.2.12";
const POLL: &str = "wasi:io/poll@0.2.12";

impl Fixture {
    /// Adds `$send`, which posts nothing to `/` at this authority and is 0 if an answer came, and `$drain`, which reads
    /// that answer to its end and is 0 if all of it came.
    #[must_use]
    pub fn posting(self, authority: &str) -> Self {
        let mut fixture = self
            .requests(r#"http = [{ scheme = "http", host = "*", port = "*" }]"#)
            .import("fields", HTTP, "[constructor]fields")
            .import("request", HTTP, "[constructor]outgoing-request")
            .import("method", HTTP, "[method]outgoing-request.set-method")
            .import("scheme", HTTP, "[method]outgoing-request.set-scheme")
            .import("authority", HTTP, "[method]outgoing-request.set-authority")
            .import("path", HTTP, "[method]outgoing-request.set-path-with-query")
            .import("handle", "wasi:http/outgoing-handler@0.2.12", "handle")
            .import("subscribe", HTTP, "[method]future-incoming-response.subscribe")
            .import("get", HTTP, "[method]future-incoming-response.get")
            .import("consume", HTTP, "[method]incoming-response.consume")
            .import("stream", HTTP, "[method]incoming-body.stream")
            .import("read", STREAMS, "[method]input-stream.blocking-read")
            .import("block", POLL, "[method]pollable.block")
            .import("forget", POLL, "[resource-drop]pollable");
        let authority = fixture.text(authority);
        let path = fixture.text("/");
        // 512 is where results of the host go; 536 is the answer's handle once there is one.
        let send = format!(
            "(func $send (result i32) (local $request i32) (local $answer i32) (local $ready i32)
                (local.set $request (call $request (call $fields)))
                (drop (call $method (local.get $request) (i32.const 2) (i32.const 0) (i32.const 0)))
                (drop (call $scheme (local.get $request) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)))
                (drop (call $authority (local.get $request) (i32.const 1) {authority}))
                (drop (call $path (local.get $request) (i32.const 1) {path}))
                (call $handle (local.get $request) (i32.const 0) (i32.const 0) (i32.const 512))
                (if (i32.load8_u (i32.const 512)) (then (return (i32.const 1))))
                (local.set $answer (i32.load (i32.const 520)))
                (local.set $ready (call $subscribe (local.get $answer)))
                (call $block (local.get $ready))
                (call $forget (local.get $ready))
                (call $get (local.get $answer) (i32.const 512))
                (i32.load8_u (i32.const 528)))"
        );
        // A closed stream is the case 1 of stream-error: the end of an answer that came whole.
        let drain = "(func $drain (result i32) (local $body i32)
                (call $consume (i32.load (i32.const 536)) (i32.const 512))
                (call $stream (i32.load (i32.const 516)) (i32.const 512))
                (local.set $body (i32.load (i32.const 516)))
                (loop $more
                    (global.set $top (i32.const 65536))
                    (call $read (local.get $body) (i64.const 65536) (i32.const 512))
                    (br_if $more (i32.eqz (i32.load8_u (i32.const 512)))))
                (i32.ne (i32.load8_u (i32.const 516)) (i32.const 1)))";
        fixture.helper(&send).helper(drain)
    }
}
