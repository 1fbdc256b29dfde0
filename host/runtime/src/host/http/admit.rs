//! Whether a request may be sent at all: its URL, its method and its headers against what is granted.

use http::HeaderMap;
use http::header::{self, HeaderName};
use url::{Host, Url};

use crate::address;
use crate::destination::{HttpGrant, Target};
use crate::grants::{Denial, Effective, Remedy};

/// Headers of a connection, which are the host's: with them a guest could make two servers disagree about where a
/// request ends, or whom it is for. `wasi:http` refuses most of them already.
const OF_THE_CONNECTION: [HeaderName; 13] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// With these, some servers take a request for one with another method or path than the granted one.
const OVERRIDES: [&str; 5] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// The grant under which a request may go to this URL.
pub(super) fn admit(effective: &Effective, method: &str, url: &Url) -> Result<(Target, HttpGrant), Denial> {
    let never = |why: &str| {
        let origin = url.origin().ascii_serialization();
        Denial {
            what: format!("a request to {origin}"),
            remedy: Remedy::Never(why.to_owned()),
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(never("a URL carries no user name or password"));
    }
    let target = Target::of(method, url).ok_or_else(|| never("only http and https are spoken"))?;
    let literal = match url.host() {
        Some(Host::Ipv4(v4)) => Some(v4.into()),
        Some(Host::Ipv6(v6)) => Some(v6.into()),
        Some(Host::Domain(_)) | None => None,
    };
    if let Some(why) = literal.and_then(address::refused) {
        return Err(never(why));
    }
    if holds_placeholder(url) {
        return Err(never("a URL carries no credentials: everybody on the way logs it"));
    }
    let grant = effective.check_target(&target)?;
    Ok((target, grant))
}

/// However it is written.
fn holds_placeholder(url: &Url) -> bool {
    let text = percent_encoding::percent_decode(url.as_str().as_bytes()).collect::<Vec<u8>>();
    ["{{secret:", "{{captured:"]
        .iter()
        .any(|start| memchr::memmem::find(&text, start.as_bytes()).is_some())
}

/// Takes out what is the host's to say. The body's length is set from the body itself.
pub(super) fn clean(headers: &mut HeaderMap, grant: &HttpGrant) -> Result<(), Denial> {
    for name in OF_THE_CONNECTION {
        headers.remove(name);
    }
    if grant.auth.is_some() {
        headers.remove(header::AUTHORIZATION);
    }
    if grant.is_limited()
        && let Some(name) = OVERRIDES.into_iter().find(|name| headers.contains_key(*name))
    {
        return Err(Denial {
            what: format!("the header {name}"),
            remedy: Remedy::Never(
                "the grant is limited to methods or a path, and servers take this for another".to_owned(),
            ),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::Grants;
    use crate::manifest::Requests;

    fn effective() -> Effective {
        let requests: Requests = toml::from_str(r#"http = [{ scheme = "*", host = "*", port = "*" }]"#).unwrap();
        let grants: Grants = toml::from_str(
            r#"http = [{ scheme = "http", host = "127.0.0.1", port = 9000 }, { scheme = "https", host = "vc.example", port = 443 },
                       { scheme = "http", host = "169.254.169.254", port = 80 },
                       { scheme = "https", host = "api.example", port = 443, methods = ["GET", "POST"], path = "/v1/" }]"#,
        )
        .unwrap();
        Effective {
            requests,
            grants,
            pinned: None,
        }
    }

    fn verdict(method: &str, url: &str) -> Result<(), Denial> {
        admit(&effective(), method, &Url::parse(url).unwrap()).map(|_| ())
    }

    #[test]
    fn only_what_is_granted_passes() {
        for good in [
            "http://127.0.0.1:9000/a/../b?c",
            "http://127.1:9000",
            "http://0x7f.1:9000/",
            "https://VC.example/",
            "https://vc.example:443/",
            "https://api.example/v1/x",
            "https://api.example/v2/../v1/x",
        ] {
            verdict("GET", good).unwrap();
        }
        for bad in [
            "http://127.0.0.1:9001/",
            "https://127.0.0.1:9000/",
            "http://127.0.0.1:0/",
            "http://vc.example/",
            "https://vc.example.:443/",
            "https://vc.example.evil.example/",
            "https://ⅴc.example:444/",
            "https://api.example/",
            "https://api.example/v1/../v2/",
            "https://api.example/V1/",
        ] {
            assert!(verdict("GET", bad).unwrap_err().grant_line().is_some(), "{bad}");
        }
        assert!(
            verdict("DELETE", "https://api.example/v1/x")
                .unwrap_err()
                .grant_line()
                .is_some()
        );
    }

    #[test]
    fn what_is_never_allowed_names_no_line() {
        for never in [
            "http://me@127.0.0.1:9000/",
            "http://:x@127.0.0.1:9000/",
            "ftp://vc.example/",
            "http://169.254.169.254/",
            "http://0xa9fea9fe/",
            "http://[::ffff:a9fe:a9fe]/",
            "https://api.example/v1/..%2fv2",
            "https://vc.example/?password={{secret:vc01}}",
            "https://vc.example/%7B%7Bsecret%3Avc01%7D%7D",
            "https://vc.example/%7b{captured:vc01}}",
        ] {
            let denial = verdict("GET", never).unwrap_err();
            assert!(matches!(denial.remedy, Remedy::Never(_)), "{never}: {denial}");
        }
        for method in ["CONNECT", "TRACE", "trace", "get"] {
            let denial = verdict(method, "https://api.example/v1/x").unwrap_err();
            assert!(denial.grant_line().is_none(), "{method}: {denial}");
        }
    }

    #[test]
    fn a_guest_does_not_say_where_a_request_ends_or_whom_it_is_for() {
        let effective = effective();
        let url = Url::parse("https://vc.example/").unwrap();
        let (_, grant) = admit(&effective, "GET", &url).unwrap();
        let mut headers = HeaderMap::new();
        for name in OF_THE_CONNECTION {
            headers.append(name.clone(), "x".parse().unwrap());
            headers.append(name, "y".parse().unwrap());
        }
        headers.append("x-own", "stays".parse().unwrap());
        clean(&mut headers, &grant).unwrap();
        assert_eq!(headers.len(), 1);
        headers.append("X-HTTP-Method-Override", "DELETE".parse().unwrap());
        clean(&mut headers, &grant).unwrap();
        let limited = Url::parse("https://api.example/v1/x").unwrap();
        let (_, limited) = admit(&effective, "GET", &limited).unwrap();
        assert!(clean(&mut headers, &limited).is_err());
    }
}
