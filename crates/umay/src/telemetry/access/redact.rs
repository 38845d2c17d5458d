//! Queries without the credentials in them.
//!
//! The value of a parameter whose name looks like that of a credential is written as `***`. Names are
//! compared without case, percent-encoding and punctuation, so that `X-Amz-Signature`, `api_key` and
//! `client%5Fsecret` are found. In doubt a value is hidden: a log is read by more people than a query.

use super::line::{cut, end_string, escape};

/// Writes a query.
pub(super) fn query(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(key);
    let (kept, cut) = cut(value);
    parameters(out, kept, escape);
    end_string(out, cut);
}

/// Writes a query as it is but for its credentials: for what is not JSON.
pub(in crate::telemetry) fn plain_query(out: &mut Vec<u8>, value: &[u8]) {
    parameters(out, value, |out, bytes| out.extend_from_slice(bytes));
}

/// Writes a reference (a URL) whose query may hold credentials.
pub(super) fn reference(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(key);
    let (kept, cut) = cut(value);
    let mark = kept.iter().position(|byte| *byte == b'?');
    let (before, after) = kept.split_at(mark.map_or(kept.len(), |at| at + 1));
    escape(out, before);
    parameters(out, after, escape);
    end_string(out, cut);
}

/// Writes `name=value&…` with the values of credentials hidden.
fn parameters(out: &mut Vec<u8>, value: &[u8], write: impl Fn(&mut Vec<u8>, &[u8])) {
    let mut unwritten = value;
    let mut rest = value;
    while let Some(equals) = rest.iter().position(|byte| *byte == b'=' || is_end(*byte)) {
        let (name, after) = rest.split_at(equals);
        rest = after.get(1..).unwrap_or_default();
        if after.first() != Some(&b'=') {
            continue;
        }
        let length = rest.iter().take_while(|byte| !is_end(**byte)).count();
        if length > 0 && is_credential(name) {
            let (clear, _) = unwritten.split_at(unwritten.len() - rest.len());
            write(out, clear);
            out.extend_from_slice(b"***");
            unwritten = rest.get(length..).unwrap_or_default();
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    write(out, unwritten);
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

    fn check(from: &str, to: &str) {
        let mut out = Vec::new();
        query(&mut out, b"", from.as_bytes());
        assert_eq!(String::from_utf8(out).unwrap(), format!("{to}\""));
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
    fn a_reference_is_redacted_behind_its_question_mark() {
        for (from, to) in [
            ("https://a.example/token=1", "https://a.example/token=1"),
            (
                "https://a.example/?token=1&b=2",
                "https://a.example/?token=***&b=2",
            ),
            ("https://a.example/?", "https://a.example/?"),
        ] {
            let mut out = Vec::new();
            reference(&mut out, b"", from.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), format!("{to}\""));
        }
    }
}
