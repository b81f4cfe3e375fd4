//! A small HTTP/2 server, by prior knowledge: it reads every request to its end, and answers with a text.

use anyhow::Result;
use bytes::Bytes;
use h2::{RecvStream, server};
use http::{Method, Request, Response, header};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime, task,
};

use super::{Record, say};

/// Longer than a window of a few bytes, which some clients begin with.
const TEXT: &str = "What is asked for here is answered with some bytes, and always the same ones.\n";

/// Records every request's head with the client's address.
pub(super) fn serve(listener: std::net::TcpListener, record: Record) -> Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let local = task::LocalSet::new();
    let record = std::rc::Rc::new(record);
    local.block_on(&runtime, async move {
        let listener = TcpListener::from_std(listener)?;
        say("ready")?;
        loop {
            let (stream, _) = listener.accept().await?;
            let record = std::rc::Rc::clone(&record);
            // A client that breaks the protocol is part of some tests.
            task::spawn_local(async move { drop(converse(stream, &record).await) });
        }
    })
}

async fn converse(stream: TcpStream, record: &Record) -> Result<()> {
    stream.set_nodelay(true)?;
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    let mut connection = server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        record.write(&json!({
            "method": request.method().as_str(),
            "target": request.uri().path(),
            "accepted": peer,
            "peer": peer,
            "local": local,
        }))?;
        task::spawn_local(async move { drop(answer(request, respond).await) });
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: server::SendResponse<Bytes>) -> Result<()> {
    let is_head = request.method() == Method::HEAD;
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        let length = data?.len();
        body.flow_control().release_capacity(length)?;
    }
    let head = Response::builder().header(header::CONTENT_TYPE, "text/plain").body(())?;
    let mut answer = respond.send_response(head, is_head)?;
    if !is_head {
        answer.send_data(Bytes::from_static(TEXT.as_bytes()), true)?;
    }
    Ok(())
}
