//! What is answered where. `openapi.json` describes the same; a test holds both together.
//!
//! Invariants: GET changes nothing; what changes state needs the token; every refusal is a problem document
//! (RFC 9457) that says what was expected.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    access::{Access, Verdict},
    counters::{Counters, Event},
    frames,
    hub::{Hub, MAX_STREAMS, Wants},
    metrics, page,
    watch::Watch,
};
use crate::pipeline::commands::Commands;

/// Longest body of a request, bytes: commands have none.
pub const MAX_BODY_BYTES: usize = 1_024;

const OPENAPI: &str = include_str!("openapi.json");

/// What all requests share.
#[derive(Debug)]
pub struct Shared {
    /// The run.
    pub watch: Mutex<Watch>,
    /// Who listens.
    pub hub: Mutex<Hub>,
    /// What happened.
    pub counters: Counters,
    /// Who may command.
    pub access: Access,
    /// Commands to the engine.
    pub commands: Arc<Commands>,
    /// Feed and strategy.
    pub title: String,
    /// Time from one cycle to the next, ms.
    pub period_ms: u32,
}

impl Shared {
    /// The run.
    pub fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who listens.
    pub fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Run = State<Arc<Shared>>;

/// Everything that is answered.
pub fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/statusz", get(statusz))
        .route("/metrics", get(prometheus))
        .route("/signals", get(signals))
        .route("/api/v1/frames", get(frame_stream))
        .route("/api/v1/halt", post(halt))
        .route("/api/v1/resume", post(resume))
        .route("/api/openapi.json", get(openapi));
    for (path, media_type, text) in page::FILES {
        router = router.route(path, get(move || async move { file(media_type, text) }));
    }
    router.fallback(nothing_here).method_not_allowed_fallback(not_so).with_state(shared)
}

fn file(media_type: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, media_type), (CACHE_CONTROL, "no-cache")], text).into_response()
}

fn as_json(status: StatusCode, value: &impl Serialize) -> Response {
    // Plain data: serialising cannot fail.
    let text = serde_json::to_string(value).unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

/// A refusal that says what was expected.
pub fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let text = json!({ "title": title, "status": status.as_u16(), "detail": detail }).to_string();
    (status, [(CONTENT_TYPE, "application/problem+json")], text).into_response()
}

async fn nothing_here() -> Response {
    problem(StatusCode::NOT_FOUND, "nothing is here; /api/openapi.json says what is where")
}

async fn not_so() -> Response {
    let detail = "not with this method; /api/openapi.json says which";
    problem(StatusCode::METHOD_NOT_ALLOWED, detail)
}

async fn livez(State(run): Run) -> Response {
    match run.watch().not_live() {
        None => (StatusCode::OK, "live\n").into_response(),
        Some(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not live: {why}\n")).into_response()
        }
    }
}

async fn readyz(State(run): Run) -> Response {
    let not_ready = run.watch().not_ready();
    if not_ready.is_empty() {
        return (StatusCode::OK, "ready\n").into_response();
    }
    let text = format!("not ready: {}\n", not_ready.join("\nnot ready: "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn statusz(State(run): Run) -> Response {
    as_json(StatusCode::OK, &run.watch().snapshot())
}

async fn prometheus(State(run): Run) -> Response {
    let streams = run.hub().counts();
    let text = metrics::render(&run.watch(), &run.counters, streams);
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn openapi() -> Response {
    file("application/json", OPENAPI)
}

/// What a stream takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamQuery {
    instrument: Option<String>,
}

type Asked = Result<Query<StreamQuery>, QueryRejection>;

/// The instrument that a stream asks for, if it does.
fn instrument(run: &Shared, asked: Asked) -> Result<Option<usize>, Box<Response>> {
    let refused = |detail: String| Box::new(problem(StatusCode::BAD_REQUEST, &detail));
    let Query(query) = asked.map_err(|rejection| refused(rejection.body_text()))?;
    let Some(key) = query.instrument else { return Ok(None) };
    let watch = run.watch();
    let keys = watch.run().keys();
    match keys.iter().position(|each| *each == key) {
        Some(at) => Ok(Some(at)),
        None => Err(refused(format!(
            "instrument = {key:?} is not known, expected one of {}",
            keys.join(", ")
        ))),
    }
}

fn stream(run: &Shared, wants: Wants, first: Vec<axum::body::Bytes>) -> Response {
    let Some(events) = run.hub().subscribe(wants, first) else {
        run.counters.count(Event::StreamRefused);
        let detail = format!("{MAX_STREAMS} streams are open, expected fewer");
        return problem(StatusCode::SERVICE_UNAVAILABLE, &detail);
    };
    let headers = [(CONTENT_TYPE, "text/event-stream")];
    // A proxy that buffers would turn a stream into bursts.
    (headers, [("x-accel-buffering", "no")], Body::new(events)).into_response()
}

async fn signals(State(run): Run, asked: Asked) -> Response {
    match instrument(&run, asked) {
        Ok(instrument) => stream(&run, Wants::Signals { instrument }, Vec::new()),
        Err(refused) => *refused,
    }
}

async fn frame_stream(State(run): Run, asked: Asked) -> Response {
    let book = match instrument(&run, asked) {
        Ok(instrument) => instrument.unwrap_or(0),
        Err(refused) => return *refused,
    };
    let first = {
        let watch = run.watch();
        let hello = frames::hello(&watch, &run.title, run.period_ms, run.access.has_token());
        vec![hello, frames::frame(&watch), frames::summary(&watch)]
    };
    stream(&run, Wants::Frames { book }, first)
}

async fn halt(State(run): Run, headers: HeaderMap, body: Body) -> Response {
    command(&run, &headers, body, true).await
}

async fn resume(State(run): Run, headers: HeaderMap, body: Body) -> Response {
    command(&run, &headers, body, false).await
}

async fn command(run: &Shared, headers: &HeaderMap, body: Body, halt: bool) -> Response {
    match run.access.judge(headers) {
        Verdict::Allowed => {}
        Verdict::NoToken => {
            run.counters.count(Event::Unauthorized);
            let detail = "commands over HTTP are off: set http.token_file to a file with the bearer token of those \
                          who may give them, or use `purkinje halt` on this host";
            return problem(StatusCode::FORBIDDEN, detail);
        }
        Verdict::Refused => {
            run.counters.count(Event::Unauthorized);
            let detail =
                "expected the header Authorization: Bearer with the token of http.token_file";
            let mut refused = problem(StatusCode::UNAUTHORIZED, detail);
            let scheme = axum::http::HeaderValue::from_static("Bearer realm=\"purkinje\"");
            refused.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            return refused;
        }
    }
    if to_bytes(body, MAX_BODY_BYTES).await.is_err() {
        run.counters.count(Event::BodyTooLong);
        let detail = format!("the body is longer than {MAX_BODY_BYTES} bytes, expected none");
        return problem(StatusCode::PAYLOAD_TOO_LARGE, &detail);
    }
    if !run.commands.halt(halt) {
        let detail = "the engine has not taken earlier commands";
        return problem(StatusCode::SERVICE_UNAVAILABLE, detail);
    }
    // It takes effect at the next cycle.
    as_json(StatusCode::ACCEPTED, &json!({ "halted": halt }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Every route of [`router`] that is not a file of the page.
    const ROUTES: [(&str, &str); 9] = [
        ("get", "/livez"),
        ("get", "/readyz"),
        ("get", "/statusz"),
        ("get", "/metrics"),
        ("get", "/signals"),
        ("get", "/api/v1/frames"),
        ("post", "/api/v1/halt"),
        ("post", "/api/v1/resume"),
        ("get", "/api/openapi.json"),
    ];

    #[test]
    fn the_description_names_every_route_and_no_other() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut described: Vec<(&str, &str)> = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                assert!(
                    operation["summary"].is_string() && operation["responses"].is_object(),
                    "{path}"
                );
                let needs_token = operation.get("security").is_some();
                assert_eq!(needs_token, method == "post", "{path}");
                described.push((method, path));
            }
        }
        let mut routes = ROUTES.to_vec();
        routes.sort_unstable();
        described.sort_unstable();
        assert_eq!(described, routes);
    }
}
