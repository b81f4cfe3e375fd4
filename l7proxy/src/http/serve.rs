//! One connection from its first byte to its last.

use std::rc::Rc;

use http::{HeaderValue, StatusCode, header};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{
    Connection, Worker,
    guard::{Control, Guard},
};
use crate::{
    metrics::count,
    request::{Aborted, Exchange},
};

/// Serves requests until the client, the upstream or the process ends. To be run on a worker's own thread.
pub async fn serve(stream: TcpStream, connection: Connection, worker: Rc<Worker>) {
    count(&worker.counters.connections);
    let _open = worker.drain.count();
    let control = Control::default();
    let gone = CancellationToken::new();
    let exchange = Rc::new(Exchange::new(connection, control.clone(), Rc::clone(&worker), gone.clone()));
    let guard = Guard::new(stream, control.clone(), worker.limits);
    let service = service_fn(|request| {
        let (exchange, worker) = (Rc::clone(&exchange), Rc::clone(&worker));
        async move {
            let mut response = exchange.handle(request).await?;
            if worker.drain.is_retiring() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                // The client's next connection goes to the next process. Closed while it is idle, a request that is on its
                // way would be lost.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Aborted>(response)
        }
    });
    let serving = http1::Builder::new()
        .preserve_header_case(true)
        .auto_date_header(false)
        .max_headers(worker.limits.headers + 1)
        .serve_connection(TokioIo::new(guard), service)
        .with_upgrades();
    tokio::pin!(serving);
    let mut ending = false;
    let result = loop {
        tokio::select! {
            biased;
            result = serving.as_mut() => break result,
            () = worker.drain.draining(), if !ending => {
                ending = true;
                serving.as_mut().graceful_shutdown();
            }
            // An upstream that closes an idle connection closes the client's: as it would be without us.
            () = gone.cancelled(), if !ending => {
                ending = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection");
        // Half an answer must not look like a whole one.
        control.reset();
    }
    if let Some(tunnel) = exchange.take_tunnel()
        && let Err(error) = tunnel.await
    {
        tracing::debug!(%error, "tunnel");
    }
}
