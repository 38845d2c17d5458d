//! A strict reader of HTTP/1 messages, written apart from `umay-h1` so that the one can judge the
//! other. It takes only what a careful sender writes; anything else is an error with its reason.

use std::fmt;

/// Fields, in order.
pub type Fields = Vec<(String, String)>;

/// A message that was read whole.
#[derive(Clone, Default)]
pub struct Message {
    /// Request or status line, without its end.
    pub start: String,
    /// The head's fields.
    pub fields: Fields,
    /// The body, without framing.
    pub body: Vec<u8>,
    /// Fields after a chunked body.
    pub trailers: Fields,
    /// True if the body was chunked.
    pub chunked: bool,
}

impl Message {
    /// The status of a response; 0 for a request.
    pub fn status(&self) -> u16 {
        let mut words = self.start.split(' ');
        match words.next() {
            Some(version) if version.starts_with("HTTP/") => {
                words.next().and_then(|s| s.parse().ok()).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The only value of a field.
    ///
    /// # Panics
    /// If the field is there more than once.
    #[track_caller]
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} more than once in {self:?}");
        all.first().copied()
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The reason word that Umay put into `Proxy-Status`, if it made this response.
    pub fn reason(&self) -> Option<String> {
        let status = self.get("proxy-status")?;
        let (_, rest) = status.split_once("details=\"")?;
        Some(rest.split_once('"')?.0.to_owned())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.start)?;
        for (name, value) in &self.fields {
            writeln!(f, "{name}: {value}")?;
        }
        let shown = &self.body[..self.body.len().min(400)];
        write!(f, "\n{}", String::from_utf8_lossy(shown))
    }
}

/// What reading came to: nothing yet, or a message and the bytes it took.
pub type Read = Result<Option<(Message, usize)>, String>;

/// Reads a request from the front of `bytes`.
pub fn request(bytes: &[u8]) -> Read {
    let Some((mut message, at)) = head(bytes)? else {
        return Ok(None);
    };
    let words: Vec<&str> = message.start.split(' ').collect();
    let [method, target, version] = words[..] else {
        return Err(format!("request line {:?}", message.start));
    };
    if !is_token(method) || target.is_empty() || target.bytes().any(|b| b <= b' ' || b >= 0x7f) {
        return Err(format!("request line {:?}", message.start));
    }
    if version != "HTTP/1.1" && version != "HTTP/1.0" {
        return Err(format!("version {version:?}"));
    }
    if message.all("host").len() != 1 {
        return Err(format!("Host {:?}", message.all("host")));
    }
    match framing(&message)? {
        Framing::None => Ok(Some((message, at))),
        framing => Ok(body(bytes, at, framing, &mut message)?.map(|end| (message, end))),
    }
}

/// Reads a response from the front of `bytes`. `method` is the request's; `eof` says that no more
/// will come, which ends a body without framing.
pub fn response(bytes: &[u8], method: &str, eof: bool) -> Read {
    let Some((mut message, at)) = head(bytes)? else {
        return Ok(None);
    };
    let status = message.status();
    if !(100..600).contains(&status) || !message.start.starts_with("HTTP/1.") {
        return Err(format!("status line {:?}", message.start));
    }
    let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
    if bodiless || (method == "CONNECT" && status < 300) {
        return Ok(Some((message, at)));
    }
    match framing(&message)? {
        Framing::None if eof => {
            message.body = bytes[at..].to_vec();
            Ok(Some((message, bytes.len())))
        }
        Framing::None => Ok(None),
        framing => Ok(body(bytes, at, framing, &mut message)?.map(|end| (message, end))),
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Framing {
    None,
    Length(usize),
    Chunked,
}

pub(crate) fn head(bytes: &[u8]) -> Result<Option<(Message, usize)>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = split_lines(&bytes[..end])?.into_iter();
    let start = lines.next().unwrap_or_default();
    let fields = lines.map(|l| field(&l)).collect::<Result<_, _>>()?;
    let message = Message {
        start,
        fields,
        ..Message::default()
    };
    Ok(Some((message, end + 4)))
}

fn split_lines(head: &[u8]) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    for line in String::from_utf8_lossy(head).split("\r\n") {
        if line.contains(['\r', '\n', '\0']) {
            return Err(format!("bare CR, LF or NUL in {line:?}"));
        }
        lines.push(line.to_owned());
    }
    Ok(lines)
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line
        .split_once(':')
        .ok_or_else(|| format!("no colon in {line:?}"))?;
    if !is_token(name) {
        return Err(format!("field name {name:?}"));
    }
    let value = value.trim_matches([' ', '\t']);
    if value.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f) {
        return Err(format!("field value {value:?}"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

pub(crate) fn framing(message: &Message) -> Result<Framing, String> {
    let coding = message.all("transfer-encoding");
    let length = message.all("content-length");
    match (&coding[..], &length[..]) {
        ([], []) => Ok(Framing::None),
        (["chunked"], []) => Ok(Framing::Chunked),
        ([], [n]) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => n
            .parse()
            .map(Framing::Length)
            .map_err(|e| format!("Content-Length {n}: {e}")),
        _ => Err(format!("framing {coding:?} {length:?}")),
    }
}

/// Reads a body from `at`; the answer is where it ends.
fn body(
    bytes: &[u8],
    at: usize,
    framing: Framing,
    message: &mut Message,
) -> Result<Option<usize>, String> {
    let Framing::Length(length) = framing else {
        message.chunked = true;
        return chunks(bytes, at, message);
    };
    let Some(content) = bytes.get(at..at + length) else {
        return Ok(None);
    };
    message.body = content.to_vec();
    Ok(Some(at + length))
}

fn chunks(bytes: &[u8], mut at: usize, message: &mut Message) -> Result<Option<usize>, String> {
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let size = String::from_utf8_lossy(&bytes[at..at + line]).into_owned();
        if size.is_empty() || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("chunk size {size:?}"));
        }
        let size = usize::from_str_radix(&size, 16).map_err(|e| e.to_string())?;
        at += line + 2;
        if size == 0 {
            return trailers(bytes, at, message);
        }
        let Some(content) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        let Some(content) = content.strip_suffix(b"\r\n") else {
            return Err("chunk without CRLF after it".to_owned());
        };
        message.body.extend_from_slice(content);
        at += size + 2;
    }
}

fn trailers(bytes: &[u8], at: usize, message: &mut Message) -> Result<Option<usize>, String> {
    let rest = &bytes[at..];
    if rest.starts_with(b"\r\n") {
        return Ok(Some(at + 2));
    }
    let Some(end) = find(rest, b"\r\n\r\n") else {
        return Ok(None);
    };
    for line in split_lines(&rest[..end])? {
        message.trailers.push(field(&line)?);
    }
    Ok(Some(at + end + 4))
}

/// Where `needle` first stands in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_whole_and_waits_for_the_rest() {
        let text = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\nGET";
        let end = text.len() - 3;
        for cut in 0..end {
            assert!(request(&text[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        let (message, taken) = request(text).unwrap().unwrap();
        assert_eq!(taken, end);
        assert_eq!(message.body, b"abc");
        assert_eq!(message.trailers, [("T".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn refuses_what_a_careful_sender_does_not_write() {
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nA: b\nC: d\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n A: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n",
        ] {
            assert!(request(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_response_without_framing_ends_with_the_connection() {
        let text = b"HTTP/1.1 200 OK\r\n\r\nabc";
        assert!(response(text, "GET", false).unwrap().is_none());
        let (message, taken) = response(text, "GET", true).unwrap().unwrap();
        assert_eq!((message.text().as_str(), taken), ("abc", text.len()));
    }
}
