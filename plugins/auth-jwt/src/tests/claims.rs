//! Tokens that are signed well and claim something that is not good (U4).
//!
//! Rules about times are asked at a given time; one row of each kind goes through the whole gate as well.

use super::*;

#[test]
fn u4_an_expired_token_is_invalid_beyond_the_leeway() {
    let until = |expiry| judge(&policy(), &json!({"sub": "ann", "exp": expiry}));
    assert_eq!(until(NOW + 1), Ok("ann".into()));
    assert_eq!(until(NOW - 59), Ok("ann".into()));
    assert_eq!(until(NOW - 60), Err(Rejection::Expired));
    assert_eq!(until(0), Err(Rejection::Expired));
    let strict = Policy { leeway: 0, ..policy() };
    assert_eq!(judge(&strict, &json!({"sub": "ann", "exp": NOW})), Err(Rejection::Expired));
    assert_eq!(judge(&strict, &json!({"sub": "ann", "exp": NOW as f64 + 0.5})), Ok("ann".into()));
    assert_refused(&host(), &signed(&json!({"sub": "ann", "exp": now() - 120})));
}

#[test]
fn u4_a_token_from_the_future_is_invalid() {
    for claim in ["nbf", "iat"] {
        let from = |time| judge(&policy(), &json!({"sub": "ann", "exp": NOW + 9999, claim: time}));
        assert_eq!(from(NOW + 60), Ok("ann".into()));
        assert_eq!(from(NOW + 61), Err(Rejection::NotYetValid));
        assert_eq!(from(253_402_300_799), Err(Rejection::NotYetValid));
    }
    let claims = json!({"sub": "ann", "exp": now() + 9999, "nbf": now() + 120});
    assert_refused(&host(), &signed(&claims));
}

#[test]
fn u4_what_is_no_time_is_invalid() {
    let times = [
        json!(null),
        json!("tomorrow"),
        json!("1900000000"),
        json!(true),
        json!([NOW + 600]),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(253_402_300_800_u64),
    ];
    for time in times {
        for claim in ["exp", "nbf", "iat"] {
            let mut claims = json!({"sub": "ann", "exp": NOW + 600});
            claims[claim] = time.clone();
            assert_eq!(judge(&policy(), &claims), Err(Rejection::NoClaim(claim.into())), "{claims}");
        }
    }
    assert_eq!(judge(&policy(), &json!({"sub": "ann"})), Err(Rejection::NoClaim("exp".into())));
    assert_refused(&host(), &sealed("{\"alg\":\"HS256\"}", "{\"sub\":\"ann\",\"exp\":1e999}"));
}

#[test]
fn u4_another_issuer_is_invalid() {
    let policy = Policy { issuer: Some("https://login".into()), ..policy() };
    let by = |issuer| judge(&policy, &json!({"sub": "ann", "exp": NOW + 9, "iss": issuer}));
    assert_eq!(by(json!("https://login")), Ok("ann".into()));
    for issuer in [json!("https://other"), json!(["https://login"]), json!(""), json!(null)] {
        assert_eq!(by(issuer), Err(Rejection::Foreign("iss")));
    }
    assert_eq!(judge(&policy, &json!({"sub": "ann", "exp": NOW + 9})), Err(Rejection::Foreign("iss")));
}

#[test]
fn u4_another_audience_is_invalid() {
    let ours = Policy { audience: Some("chat".into()), ..policy() };
    let to = |policy: &Policy, audience| judge(policy, &json!({"sub": "ann", "exp": NOW + 9, "aud": audience}));
    for audience in [json!("chat"), json!(["chat"]), json!(["news", "chat"])] {
        assert_eq!(to(&ours, audience), Ok("ann".into()));
    }
    for audience in [json!("news"), json!(["news"]), json!([]), json!([7]), json!(7), json!(null), json!("")] {
        assert_eq!(to(&ours, audience), Err(Rejection::Foreign("aud")));
    }
    assert_eq!(judge(&ours, &json!({"sub": "ann", "exp": NOW + 9})), Err(Rejection::Foreign("aud")));
    // Who is given no audience is not the one that a token with an audience is for.
    assert_eq!(to(&policy(), json!("chat")), Err(Rejection::Foreign("aud")));
}

#[test]
fn u4_without_a_user_a_token_is_invalid() {
    for user in [json!(null), json!(""), json!(7), json!(["ann"])] {
        let claims = json!({"sub": user, "exp": NOW + 9});
        assert_eq!(judge(&policy(), &claims), Err(Rejection::NoClaim("sub".into())));
    }
    assert_refused(&host(), &signed(&json!({"exp": now() + 600})));
}

#[test]
fn the_log_says_why_a_token_is_refused_and_does_not_hold_it() {
    let host = host();
    assert_refused(&host, &signed(&json!({"sub": "ann", "exp": 0})));
    assert_eq!(host.take_log(), ["debug: a token is refused: it is expired"]);
}
