//! Static files: `[[static]]` folders, so that an example has its page.
//!
//! GET and HEAD of single files; a folder answers with its index.html. No listing, no ranges, no path out of the folder:
//! the path was normalized before, and links that lead outside are not followed.
//! Invariant: only files below the configured folder are ever read.

use std::fs::File;
use std::path::{Path, PathBuf};

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Response};

use super::body::Body;
use super::refusal::Refusal;
use crate::config::StaticConfig;
use crate::path::decode;

/// What a folder answers with.
const INDEX: &str = "index.html";
/// The largest file that is served; larger ones belong to a server made for files.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Answers a request whose normalized path no route has.
pub async fn serve(statics: &[StaticConfig], method: &Method, path: &str) -> Result<Response<Body>, Refusal> {
    let (folder, rest) = find(statics, path).ok_or(Refusal::NotFound)?;
    if method != Method::GET && method != Method::HEAD {
        return Err(Refusal::WrongMethod);
    }
    let file = below(folder, rest).ok_or(Refusal::NotFound)?;
    let (name, file, length) = tokio::task::spawn_blocking({
        let folder = folder.to_owned();
        move || open(&folder, file)
    })
    .await
    .ok()
    .flatten()
    .ok_or(Refusal::NotFound)?;
    let body = if method == Method::HEAD { Body::default() } else { Body::of_file(file, length) };
    Ok(response(&name, length, body))
}

/// The folder whose path is the longest beginning of this one, and what is left.
fn find<'a>(statics: &'a [StaticConfig], path: &'a str) -> Option<(&'a Path, &'a str)> {
    let matching = statics.iter().filter_map(|entry| {
        let rest = path.strip_prefix(entry.path.as_str())?;
        rest.starts_with('/').then_some((entry, rest))
    });
    matching.max_by_key(|(entry, _)| entry.path.len()).map(|(entry, rest)| (entry.folder.as_path(), rest))
}

/// The file that a path names, segment by segment.
pub fn below(folder: &Path, rest: &str) -> Option<PathBuf> {
    let mut file = folder.to_owned();
    for segment in rest.split('/').filter(|segment| !segment.is_empty()) {
        let name = decode(segment)?;
        if name.contains('/') || name.contains('\\') || name.starts_with('.') {
            return None;
        }
        file.push(name);
    }
    Some(file)
}

/// The file with its name and its length, if it may be served.
fn open(folder: &Path, file: PathBuf) -> Option<(PathBuf, File, u64)> {
    let name = if file.is_dir() { file.join(INDEX) } else { file };
    let real = name.canonicalize().ok()?;
    let inside = real.starts_with(folder.canonicalize().ok()?);
    // A pipe would be waited for.
    (inside && real.metadata().ok()?.is_file()).then_some(())?;
    let file = File::open(real).ok()?;
    let metadata = file.metadata().ok()?;
    (metadata.is_file() && metadata.len() <= MAX_FILE).then_some((name, file, metadata.len()))
}

fn response(file: &Path, length: u64, body: Body) -> Response<Body> {
    let mime = mime_guess::from_path(file).first_or_octet_stream();
    let charset = if mime.type_() == "text" || mime.subtype() == "javascript" { "; charset=utf-8" } else { "" };
    let content_type = HeaderValue::from_str(&format!("{mime}{charset}"));
    let mut response = Response::new(body);
    let octets = HeaderValue::from_static("application/octet-stream");
    let headers: [(HeaderName, HeaderValue); 4] = [
        (CONTENT_TYPE, content_type.unwrap_or(octets)),
        (CONTENT_LENGTH, HeaderValue::from(length)),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    response.headers_mut().extend(headers);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    fn site() -> (tempfile::TempDir, Vec<StaticConfig>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let page = folder.path().join("page");
        std::fs::create_dir_all(page.join("sub")).expect("it can be made");
        for (name, content) in
            [("page/index.html", "<p>hi"), ("page/sub/a b.js", "1"), ("page/.env", "x"), ("secret", "x")]
        {
            std::fs::write(folder.path().join(name), content).expect("it can be written");
        }
        std::os::unix::fs::symlink(folder.path().join("secret"), page.join("link")).expect("it can be linked");
        let statics = vec![StaticConfig { path: String::new(), folder: page }];
        (folder, statics)
    }

    async fn status(statics: &[StaticConfig], path: &str) -> (StatusCode, String) {
        let response = serve(statics, &Method::GET, path).await.unwrap_or_else(Refusal::response);
        let content_type = response.headers()[CONTENT_TYPE].to_str().expect("it is text").to_owned();
        (response.status(), content_type)
    }

    #[tokio::test]
    async fn files_are_served_with_their_type() {
        let (_folder, statics) = site();
        assert_eq!(status(&statics, "/").await, (StatusCode::OK, "text/html; charset=utf-8".into()));
        assert_eq!(status(&statics, "/sub/a%20b.js").await, (StatusCode::OK, "text/javascript; charset=utf-8".into()));
    }

    #[tokio::test]
    async fn nothing_outside_of_the_folder_is_served() {
        let (_folder, statics) = site();
        for path in ["/link", "/..%2Fsecret", "/.env", "/sub", "/sub/", "/nothing", "/%2Fetc%2Fpasswd"] {
            assert_eq!(status(&statics, path).await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[tokio::test]
    async fn other_methods_are_refused() {
        let (_folder, statics) = site();
        let refusal = serve(&statics, &Method::POST, "/").await.expect_err("it is refused");
        assert_eq!(refusal, Refusal::WrongMethod);
    }
}
