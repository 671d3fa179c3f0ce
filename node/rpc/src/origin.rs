//! Which web pages may use the node.
//!
//! Browsers ask before a page of another origin sends an ordinary request, but not before it opens a WebSocket;
//! so a request that names an origin that is not allowed is refused here, whatever its kind, and the log says
//! with which flag it would be allowed.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse};
use tower::{BoxError, Layer, Service};

use crate::Cors;

/// Refused origins that are reported; a page tries again and again.
const REPORTED_MAX: usize = 64;
/// Longest origin that is looked at: the longest host name, and scheme and port.
const ORIGIN_BYTES_MAX: usize = 300;

/// Lets pages of allowed origins through.
#[derive(Clone)]
pub(crate) struct OriginLayer(Arc<Origins>);

struct Origins {
    cors: Cors,
    reported: Mutex<BTreeSet<String>>,
}

impl OriginLayer {
    pub(crate) fn new(cors: Cors) -> Self {
        Self(Arc::new(Origins {
            cors,
            reported: Mutex::default(),
        }))
    }
}

impl<Inner> Layer<Inner> for OriginLayer {
    type Service = OriginFilter<Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        OriginFilter {
            inner,
            origins: self.0.clone(),
        }
    }
}

/// See [`OriginLayer`].
#[derive(Clone)]
pub(crate) struct OriginFilter<Inner> {
    inner: Inner,
    origins: Arc<Origins>,
}

impl Origins {
    fn is_allowed(&self, origin: &str) -> bool {
        match &self.cors {
            Cors::Any => true,
            Cors::Origins(allowed) => allowed.iter().any(|allowed| matches(allowed, origin)),
        }
    }

    /// Says once for each origin how to allow it.
    fn report(&self, origin: &str) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < REPORTED_MAX && reported.insert(origin.to_owned()) {
            tracing::warn!(
                "refused a web page of {origin}: to allow it, start the node with --rpc-cors {origin}"
            );
        }
    }
}

/// Returns whether an origin is the allowed one; `scheme://host:*` is every port, and none.
fn matches(allowed: &str, origin: &str) -> bool {
    match allowed.strip_suffix(":*") {
        None => allowed.eq_ignore_ascii_case(origin),
        Some(host) => {
            let (start, rest) = match origin.split_at_checked(host.len()) {
                Some(parts) => parts,
                None => return false,
            };
            let is_port = |rest: &str| {
                rest.strip_prefix(':')
                    .is_some_and(|port| port.parse::<u16>().is_ok())
            };
            start.eq_ignore_ascii_case(host) && (rest.is_empty() || is_port(rest))
        }
    }
}

impl<Inner, Body> Service<HttpRequest<Body>> for OriginFilter<Inner>
where
    Inner: Service<HttpRequest<Body>, Response = HttpResponse>,
    Inner::Error: Into<BoxError>,
    Inner::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let Some(origin) = request.headers().get("origin") else {
            let answer = self.inner.call(request);
            return Box::pin(async move { answer.await.map_err(Into::into) });
        };
        let origin = origin
            .to_str()
            .ok()
            .filter(|text| text.len() <= ORIGIN_BYTES_MAX);
        let Some(origin) = origin.map(str::to_owned) else {
            return Box::pin(async { Ok(refuse("the Origin header is not readable\n")) });
        };
        if !self.origins.is_allowed(&origin) {
            self.origins.report(&origin);
            let text = format!(
                "web pages of {origin} may not use this node: its operator can allow them with --rpc-cors {origin}\n"
            );
            return Box::pin(async move { Ok(refuse(&text)) });
        }
        if request.method() == "OPTIONS" {
            return Box::pin(async move { Ok(allow(respond(204, ""), &origin)) });
        }
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(allow(answer.await.map_err(Into::into)?, &origin)) })
    }
}

fn respond(status: u16, text: &str) -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::from(text.to_owned()));
    if let Ok(status) = status.try_into() {
        *response.status_mut() = status;
    }
    response
}

fn refuse(text: &str) -> HttpResponse {
    respond(403, text)
}

/// Tells the browser that the page may read the answer.
fn allow(mut response: HttpResponse, origin: &str) -> HttpResponse {
    let headers = [
        ("access-control-allow-origin", origin),
        ("access-control-allow-methods", "POST, GET, OPTIONS"),
        ("access-control-allow-headers", "content-type"),
        ("access-control-max-age", "3600"),
        ("vary", "origin"),
    ];
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_pages_of_this_machine_and_the_apps_page_are_allowed() {
        let origins = OriginLayer::new(Cors::default()).0;
        for origin in [
            "http://localhost:3000",
            "http://localhost",
            "https://polkadot.js.org",
            "http://[::1]:80",
        ] {
            assert!(origins.is_allowed(origin), "{origin}");
        }
        for origin in [
            "http://localhost.evil.org",
            "http://localhost:80.evil.org",
            "http://localhost:",
            "https://polkadot.js.org.evil.org",
            "https://evil.org",
            "null",
            "",
        ] {
            assert!(!origins.is_allowed(origin), "{origin}");
        }
        assert!(OriginLayer::new(Cors::Any).0.is_allowed("null"));
    }

    #[test]
    fn refused_origins_are_remembered_within_a_bound() {
        let origins = OriginLayer::new(Cors::default()).0;
        for number in 0..1_000 {
            origins.report(&format!("https://{number}.example.org"));
        }
        assert_eq!(
            origins.reported.lock().expect("no panic").len(),
            REPORTED_MAX
        );
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_refused_origin_is_logged_once_with_the_exact_flag() {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer({
                let log = log.clone();
                move || log.clone()
            })
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let origins = OriginLayer::new(Cors::default()).0;
            origins.report("https://app.example.org");
            origins.report("https://app.example.org");
        });
        let text = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
        assert_eq!(
            text.matches("--rpc-cors https://app.example.org").count(),
            1,
            "{text}"
        );
    }
}
