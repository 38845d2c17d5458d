//! Reads `hostile.txt`: messages as they come from the wire, each with what Umay makes of it. The
//! format is told at the top of that file.
#![allow(dead_code, reason = "each test reads its part of a case")]
#![allow(
    clippy::panic,
    reason = "a table that cannot be read must fail the test"
)]

/// A message and its verdict.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// A request, else a response.
    pub(crate) request: bool,
    /// The method of the request that a response answers; empty for requests.
    pub(crate) method: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) verdict: Verdict,
}

/// What is to come of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Head and body are accepted.
    Ok {
        /// The target in origin form: path and query. The authority for `CONNECT`. Empty for
        /// responses.
        target: Vec<u8>,
        /// The body without its framing.
        body: Vec<u8>,
        /// What stands behind the message.
        rest: Vec<u8>,
    },
    /// The head is refused.
    Head { status: u16, word: String },
    /// The head is accepted, the body is refused. `body_cut` if it just ends.
    Body { word: String },
    /// The head is not whole.
    More,
}

/// Fields that must not come as trailers, for they say how to read, route or trust a message
/// (RFC 9110 section 6.5.1). Some cases have them there; they are accepted without them.
pub(crate) const NO_TRAILERS: [&str; 8] = [
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
    "authorization",
    "cookie",
    "x-forwarded-for",
    "content-type",
];

/// All cases in their order.
pub(crate) fn load() -> Vec<Case> {
    parse(include_str!("../hostile.txt"))
}

fn parse(table: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut open: Option<Case> = None;
    for (number, line) in table.lines().enumerate() {
        let wrong = |what: &str| -> ! { panic!("hostile.txt:{}: {what}: {line}", number + 1) };
        let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        match (mark, &mut open) {
            ("" | "--", None) => {}
            ("# ", None) => open = Some(begin(rest)),
            ("> ", Some(case)) => match unescape(rest) {
                Some(bytes) => case.bytes.extend(bytes),
                None => wrong("bad escape"),
            },
            ("= ", Some(case)) => match verdict(rest) {
                Some(verdict) => {
                    case.verdict = verdict;
                    cases.extend(open.take());
                }
                None => wrong("bad verdict"),
            },
            _ => wrong("unexpected line"),
        }
    }
    assert!(open.is_none(), "hostile.txt ends within a case");
    cases
}

/// Reads `name` or `response: name [method=TOKEN]`.
fn begin(title: &str) -> Case {
    let response = title.strip_prefix("response: ");
    let (name, method) = match response.map(|name| name.split_once(" method=")) {
        Some(Some((name, method))) => (name, method),
        Some(None) => (response.unwrap_or_default(), "GET"),
        None => (title, ""),
    };
    Case {
        name: name.to_owned(),
        request: response.is_none(),
        method: method.to_owned(),
        bytes: Vec::new(),
        verdict: Verdict::More,
    }
}

fn verdict(text: &str) -> Option<Verdict> {
    let mut words = text.split(' ');
    match words.next()? {
        "more" => Some(Verdict::More),
        "body" => Some(Verdict::Body {
            word: words.next()?.to_owned(),
        }),
        "ok" => {
            let (mut target, mut body, mut rest) = (Vec::new(), Vec::new(), Vec::new());
            for word in words {
                let (key, text) = word.split_once('=')?;
                *match key {
                    "target" => &mut target,
                    "body" => &mut body,
                    "rest" => &mut rest,
                    _ => return None,
                } = unescape(text)?;
            }
            Some(Verdict::Ok { target, body, rest })
        }
        status => Some(Verdict::Head {
            status: status.parse().ok()?,
            word: words.next()?.to_owned(),
        }),
    }
}

/// Turns a line of the table into bytes.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(slash) = rest.find('\\') {
        let (before, escape) = rest.split_at(slash);
        out.extend_from_slice(before.as_bytes());
        let mut letters = escape.get(1..)?.chars();
        let letter = letters.next()?;
        rest = letters.as_str();
        match letter {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            '\\' => out.push(b'\\'),
            'x' => {
                out.push(u8::from_str_radix(rest.get(..2)?, 16).ok()?);
                rest = rest.get(2..)?;
            }
            '{' => {
                let (repetition, after) = rest.split_once('}')?;
                let (count, piece) = repetition.split_once('*')?;
                out.extend(unescape(piece)?.repeat(count.parse().ok()?));
                rest = after;
            }
            _ => return None,
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}
