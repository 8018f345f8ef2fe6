//! A handler that asks other hosts what its client says: each line of a message is a command, and all of them are one event.
//!
//! `ask URL` and `post URL BYTES` say the status and the body, or why there is no answer; `pour COUNT URL` sends so many pieces
//! of 4 KiB without saying their length before. `read URL` says in the log when it has the head, and then how the body ends. `within MS URL` waits no longer than that. `forget COUNT URL` sends requests and
//! forgets them, as a guest does that leaks handles. With the configuration `moody` it traps on `mood`. All else is a command of
//! scripts.

use switchboard_sdk::http::{self, Error, Response};
use switchboard_sdk::{Close, Connection, Handler, Message, config, export};

#[derive(Default)]
struct Asker;

impl Handler for Asker {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        for line in message.text()?.lines().map(str::trim) {
            let (verb, rest) = script::split(line);
            let told = match verb {
                "ask" => shown(http::get(rest)),
                "post" => shown(post(rest)),
                "within" => raw::within(rest),
                "read" => raw::read(rest),
                "forget" => raw::forget(rest),
                "pour" => raw::pour(rest),
                "mood" if config::get("moody").is_some() => panic!("not in the mood"),
                "mood" => "fine".to_owned(),
                _ => {
                    script::command(connection, line);
                    continue;
                }
            };
            connection.send_text(told)?;
        }
        Ok(())
    }
}

fn post(rest: &str) -> Result<Response, Error> {
    let (url, bytes) = script::split(rest);
    http::post(url, vec![b'x'; bytes.parse().expect("a number of bytes")])
}

fn shown(answer: Result<Response, Error>) -> String {
    match answer {
        Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
        Err(error) => error.to_string(),
    }
}

/// What the SDK has no word for.
mod raw {
    use wasip2::http::outgoing_handler::handle;
    use wasip2::http::types::{
        Fields, FutureIncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
    };
    use wasip2::io::streams::StreamError;

    fn asked(url: &str) -> Option<OutgoingRequest> {
        let (authority, path) = url.strip_prefix("http://")?.split_once('/')?;
        let request = OutgoingRequest::new(Fields::new());
        request.set_scheme(Some(&Scheme::Http)).ok()?;
        request.set_authority(Some(authority)).ok()?;
        request.set_path_with_query(Some(&format!("/{path}"))).ok()?;
        Some(request)
    }

    fn status(answer: &FutureIncomingResponse) -> String {
        answer.subscribe().block();
        match answer.get().expect("it is there").expect("it was not taken") {
            Ok(answer) => format!("{} in time", answer.status()),
            Err(code) => format!("{code:?}"),
        }
    }

    pub fn forget(rest: &str) -> String {
        let (count, url) = script::split(rest);
        for _ in 0..count.parse().expect("a number of requests") {
            let request = asked(url).expect("it can be asked");
            std::mem::forget(handle(request, None).expect("it can be sent"));
        }
        format!("forgot {count}")
    }

    pub fn within(rest: &str) -> String {
        let (ms, url) = script::split(rest);
        let options = RequestOptions::new();
        let time = ms.parse::<u64>().expect("milliseconds") * 1_000_000;
        options.set_first_byte_timeout(Some(time)).expect("a time can be set");
        let request = asked(url).expect("it can be asked");
        status(&handle(request, Some(options)).expect("it can be sent"))
    }

    pub fn read(url: &str) -> String {
        let answer = handle(asked(url).expect("it can be asked"), None).expect("it can be sent");
        answer.subscribe().block();
        let response = answer.get().expect("it is there").expect("it was not taken").expect("there is an answer");
        let body = response.consume().expect("it has a body");
        let stream = body.stream().expect("it can be read");
        switchboard_sdk::log::info("the head is there");
        loop {
            match stream.blocking_read(1024) {
                Ok(_) => {}
                Err(StreamError::Closed) => return "whole".to_owned(),
                Err(StreamError::LastOperationFailed(error)) => return error.to_debug_string(),
            }
        }
    }

    pub fn pour(rest: &str) -> String {
        let (count, url) = script::split(rest);
        let request = asked(url).expect("it can be asked");
        request.set_method(&Method::Post).expect("it is a method");
        let body = request.body().expect("it has a body");
        let answer = handle(request, None).expect("it can be sent");
        let stream = body.write().expect("it can be written");
        let pieces = 0..count.parse().expect("a number of pieces");
        let written = pieces.take_while(|_: &u32| stream.blocking_write_and_flush(&[b'x'; 4096]).is_ok()).count();
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
        format!("{written} written, {}", status(&answer))
    }
}

export!(Asker);
