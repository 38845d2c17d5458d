//! Queries, paths and URLs without the credentials in them.
//!
//! The value of a parameter whose name looks like that of a credential is written as `***`. Names are
//! compared without case, percent-encoding and punctuation, so that `X-Amz-Signature`, `api_key` and
//! `client%5Fsecret` are found. In doubt a value is hidden: a log is read by more people than a query.

use super::line::{cut, escape, mark};

/// In place of what is not told.
const HIDDEN: &[u8] = b"***";

/// Writes a query; with `all`, without any value.
pub(super) fn query(out: &mut Vec<u8>, value: &[u8], all: bool) {
    let (kept, cut) = cut(value);
    parameters(out, kept, all);
    mark(out, cut);
}

/// Writes a path, which may have credentials behind a `;`, such as `;jsessionid=…`.
pub(super) fn path(out: &mut Vec<u8>, value: &[u8]) {
    let (kept, cut) = cut(value);
    segments(out, kept);
    mark(out, cut);
}

/// Writes a reference (a URL): without what it says of the user, and with its path and query as the others are.
pub(super) fn reference(out: &mut Vec<u8>, value: &[u8], all: bool) {
    let (kept, cut) = cut(value);
    let end = kept.iter().position(|byte| matches!(byte, b'?' | b'#'));
    let (before, after) = kept.split_at(end.map_or(kept.len(), |at| at + 1));
    let rest = authority(before).map_or(before, |(start, user, rest)| {
        escape(out, start);
        if !user.is_empty() {
            out.extend_from_slice(HIDDEN);
        }
        rest
    });
    segments(out, rest);
    parameters(out, after, all);
    mark(out, cut);
}

/// What comes before the user of a URL, the user (RFC 3986 section 3.2.1), and what comes after.
fn authority(url: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let slashes = url.windows(2).position(|two| two == b"//")?;
    let (start, rest) = url.split_at(slashes + 2);
    let end = rest.iter().position(|byte| *byte == b'/');
    let host = rest.get(..end.unwrap_or(rest.len()))?;
    let at = host.iter().rposition(|byte| *byte == b'@').unwrap_or(0);
    let (user, rest) = rest.split_at(at);
    Some((start, user, rest))
}

fn segments(out: &mut Vec<u8>, path: &[u8]) {
    segments_by(out, path, escape);
}

/// Writes a path for what is not JSON.
pub(in crate::telemetry) fn plain_path(out: &mut Vec<u8>, path: &[u8]) {
    segments_by(out, path, plain);
}

/// The same, with what it is written by.
fn segments_by(out: &mut Vec<u8>, path: &[u8], write: impl Fn(&mut Vec<u8>, &[u8]) + Copy) {
    match memchr::memchr(b';', path) {
        None => write(out, path),
        Some(at) => {
            let (before, after) = path.split_at(at + 1);
            write(out, before);
            parameters_by(out, after, false, write);
        }
    }
}

fn plain(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

/// Writes `name=value&…` with the values of credentials hidden, or with all of them. What has no name may be
/// a value, and is hidden with all of them.
fn parameters(out: &mut Vec<u8>, value: &[u8], all: bool) {
    parameters_by(out, value, all, escape);
}

/// Writes a query for what is not JSON; with `all`, without any value.
pub(in crate::telemetry) fn plain_query(out: &mut Vec<u8>, value: &[u8], all: bool) {
    parameters_by(out, value, all, plain);
}

/// The same, with what it is written by.
fn parameters_by(
    out: &mut Vec<u8>,
    value: &[u8],
    all: bool,
    write: impl Fn(&mut Vec<u8>, &[u8]) + Copy,
) {
    let mut unwritten = value;
    let mut rest = value;
    while let Some(equals) = rest.iter().position(|byte| *byte == b'=' || is_end(*byte)) {
        let (name, after) = rest.split_at(equals);
        let nameless = after.first() != Some(&b'=');
        if nameless && all && !name.is_empty() {
            hide(out, &mut unwritten, rest, name.len(), write);
        }
        rest = after.get(1..).unwrap_or_default();
        if nameless {
            continue;
        }
        let length = rest.iter().take_while(|byte| !is_end(**byte)).count();
        if length > 0 && (all || is_credential(name)) {
            hide(out, &mut unwritten, rest, length, write);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    if all && !rest.is_empty() {
        hide(out, &mut unwritten, rest, rest.len(), write);
    }
    write(out, unwritten);
}

/// Writes what comes before `rest`, and the sign in place of its first bytes.
fn hide<'a>(
    out: &mut Vec<u8>,
    unwritten: &mut &'a [u8],
    rest: &'a [u8],
    length: usize,
    write: impl Fn(&mut Vec<u8>, &[u8]),
) {
    let (clear, _) = unwritten.split_at(unwritten.len() - rest.len());
    write(out, clear);
    out.extend_from_slice(HIDDEN);
    *unwritten = rest.get(length..).unwrap_or_default();
}

/// True for what ends a parameter: of this query, or of a URL that is a parameter itself.
fn is_end(byte: u8) -> bool {
    matches!(byte, b'&' | b';' | b'#' | b'?')
}

/// True if this is the name of a credential.
fn is_credential(name: &[u8]) -> bool {
    if name.iter().all(|byte| byte.is_ascii_lowercase()) && name.len() <= 64 {
        return says_credential(name);
    }
    let mut plain = [0; 64];
    let mut length = 0;
    for byte in decoded(name).filter(u8::is_ascii_alphanumeric) {
        // No honest name is so long.
        let Some(slot) = plain.get_mut(length) else {
            return true;
        };
        *slot = byte.to_ascii_lowercase();
        length += 1;
    }
    says_credential(plain.get(..length).unwrap_or_default())
}

/// The same for a name in lower case without punctuation.
fn says_credential(name: &[u8]) -> bool {
    if matches!(
        name,
        b"key"
            | b"code"
            | b"sig"
            | b"sid"
            | b"auth"
            | b"pass"
            | b"pwd"
            | b"pin"
            | b"otp"
            | b"hmac"
            | b"ticket"
            | b"assertion"
            | b"samlresponse"
    ) {
        return true;
    }
    let mut rest = name;
    while let [_, after @ ..] = rest {
        if starts_secret(rest) {
            return true;
        }
        rest = after;
    }
    false
}

/// True if a word that names credentials, alone or with others, starts here.
fn starts_secret(rest: &[u8]) -> bool {
    let words: &[&[u8]] = match rest {
        [b'a', ..] => &[b"apikey", b"accesskey", b"authorization"],
        [b'c', ..] => &[b"credential", b"codeverifier"],
        [b'j', ..] => &[b"jwt"],
        [b'p', ..] => &[b"password", b"passwd", b"passphrase", b"privatekey"],
        [b's', ..] => &[b"secret", b"signature", b"session"],
        [b't', ..] => &[b"token"],
        _ => return false,
    };
    words.iter().any(|word| rest.starts_with(word))
}

/// The bytes with `%XX` decoded (RFC 3986 section 2.1).
fn decoded(name: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let (byte, after) = match rest {
            [b'%', high, low, after @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', rest.get(1..)?),
            },
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        rest = after;
        Some(byte)
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn check(from: &str, to: &str) {
        assert_eq!(text(|out| query(out, from.as_bytes(), false)), to);
    }

    #[test]
    fn credentials_are_hidden() {
        check("token=abc", "token=***");
        check("a=1&access_token=abc&b=2", "a=1&access_token=***&b=2");
        check("API-Key=x;q=1", "API-Key=***;q=1");
        check(
            "X-Amz-Signature=f00&X-Amz-Date=1",
            "X-Amz-Signature=***&X-Amz-Date=1",
        );
        check(
            "client%5Fsecret=s&clientSecret=t",
            "client%5Fsecret=***&clientSecret=***",
        );
        check("%74oken=s", "%74oken=***");
        check("to%2Dken=s", "to%2Dken=***");
        check("code=4/P7q&state=xyz", "code=***&state=xyz");
        check("password=a=b=c", "password=***");
        check("key=1?sig=2#token=3", "key=***?sig=***#token=***");
        check(
            &format!("{}=1", "a".repeat(65)),
            &format!("{}=***", "a".repeat(65)),
        );
    }

    #[test]
    fn the_rest_is_kept() {
        for kept in [
            "",
            "&",
            "=",
            "&&a",
            "q=rust+proxy",
            "token",
            "token=",
            "monkey=1",
            "zipcode=1",
            "%=1",
            "%zz=1",
            "page=2&sort=key",
        ] {
            check(kept, kept);
        }
    }

    #[test]
    fn all_values_are_hidden_if_that_is_wanted() {
        for (from, to) in [
            ("", ""),
            ("a=1", "a=***"),
            ("a=1&b=2#c", "a=***&b=***#***"),
            ("mail@a.example", "***"),
            ("mail@a.example&a=", "***&a="),
            ("a&&b", "***&&***"),
            ("=x", "=***"),
            ("&", "&"),
        ] {
            assert_eq!(text(|out| query(out, from.as_bytes(), true)), to, "{from}");
        }
    }

    #[test]
    fn a_reference_is_redacted_wherever_it_has_credentials() {
        for (from, to) in [
            ("https://a.example/token=1", "https://a.example/token=1"),
            (
                "https://a.example/?token=1&b=2",
                "https://a.example/?token=***&b=2",
            ),
            ("https://a.example/?", "https://a.example/?"),
            (
                "https://a.example/#access_token=1",
                "https://a.example/#access_token=***",
            ),
            ("https://me:pw@a.example/b@c", "https://***@a.example/b@c"),
            ("https://me:p@w@a.example", "https://***@a.example"),
            ("//me@a.example/", "//***@a.example/"),
            ("https://a.example/b@c", "https://a.example/b@c"),
            (
                "https://a.example/b;jsessionid=1?c",
                "https://a.example/b;jsessionid=***?c",
            ),
        ] {
            assert_eq!(
                text(|out| reference(out, from.as_bytes(), false)),
                to,
                "{from}"
            );
        }
        let all = |from: &str| text(|out| reference(out, from.as_bytes(), true));
        assert_eq!(all("https://a.example/x?q=1"), "https://a.example/x?q=***");
    }

    #[test]
    fn a_path_may_have_parameters() {
        for (from, to) in [
            ("/a/b", "/a/b"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/a;JSESSIONID=1", "/a;JSESSIONID=***"),
            ("/token=1", "/token=1"),
        ] {
            assert_eq!(text(|out| path(out, from.as_bytes())), to, "{from}");
            assert_eq!(text(|out| plain_path(out, from.as_bytes())), to, "{from}");
        }
    }
}
