//! Who gets in, by which way, and what those are told who do not.
//!
//! The rows U3 and U5 of the scenarios, and where a token may come from.

use super::*;

#[test]
fn u5_a_good_token_passes_and_names_its_user() {
    for (key, by_openssl) in KEYS.into_iter().zip(BY_OPENSSL) {
        assert_eq!(enter(&host_for(key), &key.sign(&ann().to_string())), Ok("ann".into()));
        assert_eq!(enter(&host_for(key), by_openssl), Ok("ann".into()), "{key:?}");
    }
}

#[test]
fn u5_another_claim_may_name_the_user_and_all_may_be_told() {
    let host = host().config("user-claim", "name").config("claims", "true");
    let mut claims = ann();
    claims["name"] = json!("Ann");
    let token = signed(&claims);
    let connection = host.connection(format!("/ws?token={token}").as_str());
    assert!(connection.connect_gate::<AuthJwt>().is_ok());
    assert_eq!(connection.state::<String>("user").as_deref(), Some("Ann"));
    assert_eq!(connection.state::<serde_json::Value>("claims"), Some(claims));
}

#[test]
fn u3_without_a_token_authentication_is_required() {
    let host = host();
    let requests = [
        FakeRequest::new("/ws"),
        FakeRequest::new("/ws?token="),
        FakeRequest::new("/ws").header("Authorization", "Basic YW5uOmFubg=="),
        FakeRequest::new("/ws").header("Authorization", "Bearer "),
        FakeRequest::new("/ws").subprotocol("bearer").subprotocol(&token()),
    ];
    for request in requests {
        let refusal = host.connection(request).connect_gate::<AuthJwt>().unwrap_err();
        assert_eq!(refusal, Close::policy("Authentication required").into());
    }
}

#[test]
fn u3_refusals_are_http_where_so_configured() {
    let host = host().config("refuse", "http");
    let missing = host.connection("/ws").connect_gate::<AuthJwt>().unwrap_err();
    let expected = Refusal::respond(401, "Authentication required").header("www-authenticate", "Bearer");
    assert_eq!(missing, expected);
    let expected = Refusal::respond(401, "Invalid token").header("www-authenticate", "Bearer error=\"invalid_token\"");
    assert_eq!(enter(&host, "wrong"), Err(expected));
}

#[test]
fn a_token_comes_from_the_configured_places_only() {
    let by_query = format!("/ws?token={}", token());
    let by_header = FakeRequest::new("/ws").header("authorization", &format!("bEARER  {}", token()));
    let by_subprotocol = FakeRequest::new("/ws").subprotocol("chat").subprotocol("bearer").subprotocol(&token());
    let requests = [by_header, by_query.as_str().into(), by_subprotocol];
    for (at, source) in ["header", "query", "subprotocol"].into_iter().enumerate() {
        let host = host().config("source", source);
        let passes = |request: &FakeRequest| host.connection(request.clone()).connect_gate::<AuthJwt>().is_ok();
        let passed: Vec<bool> = requests.iter().map(passes).collect();
        assert_eq!(passed, [at == 0, at == 1, at == 2], "{source}");
    }
}
