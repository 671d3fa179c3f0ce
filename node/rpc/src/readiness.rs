//! `GET /health/readiness`, for load balancers and supervisors: 200, or 503 with the reason.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use commonwatt_chain::HealthCheck;
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse};
use tower::{BoxError, Layer, Service};

use crate::clock::now_ms;

/// Where readiness is asked for.
const PATH: &str = "/health/readiness";

/// Answers whether the node is ready, and lets everything else through.
#[derive(Clone)]
pub(crate) struct ReadinessLayer(HealthCheck);

impl ReadinessLayer {
    pub(crate) fn new(check: HealthCheck) -> Self {
        Self(check)
    }
}

impl<Inner> Layer<Inner> for ReadinessLayer {
    type Service = Readiness<Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        Readiness {
            inner,
            check: self.0.clone(),
        }
    }
}

/// See [`ReadinessLayer`].
#[derive(Clone)]
pub(crate) struct Readiness<Inner> {
    inner: Inner,
    check: HealthCheck,
}

impl<Inner, Body> Service<HttpRequest<Body>> for Readiness<Inner>
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
        if request.method() == "GET" && request.uri().path() == PATH {
            // From memory: neither disk nor runtime is asked.
            let answer = answer(&self.check);
            return Box::pin(async move { Ok(answer) });
        }
        let answer = self.inner.call(request);
        Box::pin(async move { answer.await.map_err(Into::into) })
    }
}

fn answer(check: &HealthCheck) -> HttpResponse {
    let (status, text) = match check.verify_ready(now_ms()) {
        Ok(()) => (200, "ready\n".to_owned()),
        Err(reason) => (503, format!("{reason}\n")),
    };
    let mut response = HttpResponse::new(HttpBody::from(text));
    if let Ok(status) = status.try_into() {
        *response.status_mut() = status;
    }
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("cache-control", "no-store"),
    ] {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
