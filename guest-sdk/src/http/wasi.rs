//! Requests by `wasi:http`: one is written, waited for and read whole.
//!
//! Called by `http` on wasm32 alone; natively the fake host answers in its place.
//! Invariant: handles are dropped from the inside out, since the host ends a plugin that drops a parent first.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

use super::{Error, Request, Response};

/// What the host takes of a body at once, and what is asked of it.
const WRITE: usize = 4096;
const READ: u64 = 64 * 1024;

/// Sends a request and reads all of the answer.
pub fn send(request: Request) -> Result<Response, Error> {
    let outgoing = outgoing(&request)?;
    let body = if request.body.is_empty() { None } else { Some(outgoing.body().map_err(|()| wrong("body"))?) };
    let answer = outgoing_handler::handle(outgoing, None).map_err(code)?;
    let written = body.map_or(Ok(()), |body| write(body, &request.body));
    answer.subscribe().block();
    // The reason for a body that could not be written is the answer, where there is one.
    let answered = answer.get().and_then(Result::ok).ok_or_else(|| wrong("answer"))?;
    let response = answered.map_err(code)?;
    written?;
    read(&response)
}

fn outgoing(request: &Request) -> Result<OutgoingRequest, Error> {
    let (scheme, rest) = request.url.split_once("://").ok_or_else(|| wrong("URL"))?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let mut headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    if !request.body.is_empty() {
        headers.push(("content-length".to_owned(), request.body.len().to_string().into_bytes()));
    }
    let outgoing = OutgoingRequest::new(Fields::from_list(&headers).map_err(|_| wrong("header"))?);
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(wrong("URL")),
    };
    let method = Method::Other(request.method.clone());
    outgoing.set_method(&method).map_err(|()| wrong("method"))?;
    outgoing.set_scheme(Some(&scheme)).map_err(|()| wrong("URL"))?;
    outgoing.set_authority(Some(authority)).map_err(|()| wrong("URL"))?;
    outgoing.set_path_with_query(Some(path)).map_err(|()| wrong("URL"))?;
    Ok(outgoing)
}

fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), Error> {
    let stream = body.write().map_err(|()| wrong("body"))?;
    for chunk in bytes.chunks(WRITE) {
        stream.blocking_write_and_flush(chunk).map_err(|error| failed(&error))?;
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(code)
}

fn read(response: &IncomingResponse) -> Result<Response, Error> {
    let (status, headers) = (response.status(), response.headers().entries());
    let incoming: IncomingBody = response.consume().map_err(|()| wrong("body"))?;
    let stream = incoming.stream().map_err(|()| wrong("body"))?;
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(READ) {
            Ok(bytes) => body.extend(bytes),
            Err(StreamError::Closed) => break,
            Err(error) => return Err(failed(&error)),
        }
    }
    Ok(Response { status, headers, body })
}

fn code(code: wasip2::http::types::ErrorCode) -> Error {
    Error(format!("{code:?}").replace("ErrorCode::", ""))
}

fn failed(error: &StreamError) -> Error {
    match error {
        StreamError::LastOperationFailed(error) => Error(error.to_debug_string()),
        StreamError::Closed => Error("ConnectionTerminated".to_owned()),
    }
}

fn wrong(part: &str) -> Error {
    Error(format!("the {part} is none that can be sent or read"))
}
