//! Templates: values of header fields with variables in braces.
//!
//! What a variable stands for may come from a client, so nothing that it yields can end a header
//! line: control characters are dropped when it is rendered.

use std::fmt;

use crate::model::{Part, Template, Var};

/// Why a template cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// Where, in bytes from the start of the text.
    pub at: usize,
    /// What is wrong there.
    pub kind: TemplateErrorKind,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateErrorKind {
    /// There is no such variable.
    UnknownVariable {
        /// What stands between the braces.
        name: String,
        /// The name that it may have been meant to be.
        nearest: Option<&'static str>,
    },
    /// A `{` without its `}`.
    Unclosed,
    /// A `}` without its `{`.
    Unopened,
    /// A control character, which no header field may hold (RFC 9110 section 5.5).
    Control,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            TemplateErrorKind::UnknownVariable { name, nearest } => {
                write!(f, "there is no variable `{{{name}}}`")?;
                match nearest {
                    Some(nearest) => write!(f, "; did you mean `{{{nearest}}}`?"),
                    None => Ok(()),
                }
            }
            TemplateErrorKind::Unclosed => {
                f.write_str("this `{` has no `}`; for a brace itself write `{{`")
            }
            TemplateErrorKind::Unopened => {
                f.write_str("this `}` has no `{`; for a brace itself write `}}`")
            }
            TemplateErrorKind::Control => f.write_str("a header cannot hold a control character"),
        }
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Reads a template: `{name}` is a variable, `{{` and `}}` are braces, all else is text.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if let Some(at) = text.bytes().position(is_control) {
            return Err(error(at, TemplateErrorKind::Control));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            let (before, from_brace) = rest.split_at(brace);
            literal.push_str(before);
            let at = text.len() - from_brace.len();
            if let Some(after) = from_brace.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = from_brace.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else {
                let (var, after) = variable(from_brace, at)?;
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Var(var));
                rest = after;
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self(parts))
    }
}

/// Writes a template's value to the end of `out`. `vars` appends what a variable stands for, or
/// nothing; control characters in it are taken out again.
pub fn render(template: &Template, vars: impl Fn(Var, &mut Vec<u8>), out: &mut Vec<u8>) {
    for part in &template.0 {
        match part {
            Part::Text(text) => out.extend_from_slice(text.as_bytes()),
            Part::Var(var) => {
                let start = out.len();
                vars(*var, out);
                if out.iter().skip(start).any(|b| is_control(*b)) {
                    let value = out.split_off(start);
                    out.extend(value.into_iter().filter(|b| !is_control(*b)));
                }
            }
        }
    }
}

/// Reads `{name}` or complains about a brace that stands alone.
fn variable(text: &str, at: usize) -> Result<(Var, &str), TemplateError> {
    let Some(inner) = text.strip_prefix('{') else {
        return Err(error(at, TemplateErrorKind::Unopened));
    };
    let end = inner.find(['{', '}']);
    let (name, after) = end.map_or((inner, ""), |end| inner.split_at(end));
    let Some(after) = after.strip_prefix('}') else {
        return Err(error(at, TemplateErrorKind::Unclosed));
    };
    match Var::ALL.iter().find(|(known, _)| *known == name) {
        Some((_, var)) => Ok((*var, after)),
        None => {
            let kind = TemplateErrorKind::UnknownVariable {
                name: name.to_owned(),
                nearest: nearest(name.trim()),
            };
            Err(error(at, kind))
        }
    }
}

fn error(at: usize, kind: TemplateErrorKind) -> TemplateError {
    TemplateError { at, kind }
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control()
}

/// The variable whose name is fewest edits away, if that is at most a third of its letters.
fn nearest(name: &str) -> Option<&'static str> {
    let names = Var::ALL.iter().map(|(known, _)| *known);
    let (edits, known) = names.map(|known| (distance(name, known), known)).min()?;
    (edits * 3 <= known.len()).then_some(known)
}

/// Levenshtein's distance between two words, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.bytes().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(x != y))
                .min(left + 1)
                .min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Part {
        Part::Text(text.to_owned())
    }

    #[test]
    fn reads_text_braces_and_variables() {
        for (from, parts) in [
            ("", vec![]),
            ("plain", vec![text("plain")]),
            ("{{x}}", vec![text("{x}")]),
            ("{client.ip}", vec![Part::Var(Var::ClientIp)]),
            (
                "{{{route}}}",
                vec![text("{"), Part::Var(Var::Route), text("}")],
            ),
            (
                "a {scheme}{tls.sni} \u{fc}",
                vec![
                    text("a "),
                    Part::Var(Var::Scheme),
                    Part::Var(Var::TlsSni),
                    text(" \u{fc}"),
                ],
            ),
        ] {
            assert_eq!(Template::parse(from), Ok(Template(parts)), "{from}");
        }
        for (name, var) in Var::ALL {
            let parsed = Template::parse(&format!("{{{name}}}"));
            assert_eq!(parsed, Ok(Template(vec![Part::Var(*var)])));
        }
    }

    #[test]
    fn says_where_and_what_is_wrong() {
        let unknown = |name: &str, nearest| TemplateErrorKind::UnknownVariable {
            name: name.to_owned(),
            nearest,
        };
        for (from, at, kind) in [
            ("a{", 1, TemplateErrorKind::Unclosed),
            ("a{client.ip", 1, TemplateErrorKind::Unclosed),
            ("{client{route}", 0, TemplateErrorKind::Unclosed),
            ("{{a}", 3, TemplateErrorKind::Unopened),
            ("a\r\nb{", 1, TemplateErrorKind::Control),
            ("x{cleint.ip}", 1, unknown("cleint.ip", Some("client.ip"))),
            ("{client.IP}", 0, unknown("client.IP", Some("client.ip"))),
            ("{}", 0, unknown("", None)),
            ("{ route }", 0, unknown(" route ", Some("route"))),
            ("{weather}", 0, unknown("weather", None)),
        ] {
            assert_eq!(
                Template::parse(from),
                Err(TemplateError { at, kind }),
                "{from}"
            );
        }
        let said = Template::parse("{sheme}").unwrap_err().to_string();
        assert_eq!(
            said,
            "there is no variable `{sheme}`; did you mean `{scheme}`?"
        );
    }

    #[test]
    fn renders_behind_what_is_there() {
        let template = Template::parse("<{request.host}|{route}>").unwrap();
        let mut out = b"X: ".to_vec();
        let vars = |var, out: &mut Vec<u8>| {
            if var == Var::RequestHost {
                out.extend_from_slice(b"a\r\nSet-Cookie: b\0\x7f\t\xfc");
            }
        };
        render(&template, vars, &mut out);
        assert_eq!(out, b"X: <aSet-Cookie: b\xfc|>");
    }

    proptest! {
        #[test]
        fn never_panics_nor_breaks_a_line(from in "\\PC{0,20}|[{}a-z.]{0,20}", value: Vec<u8>) {
            if let Ok(template) = Template::parse(&from) {
                let mut out = Vec::new();
                render(&template, |_, out| out.extend_from_slice(&value), &mut out);
                prop_assert!(!out.iter().any(|b| is_control(*b)));
            }
        }

        #[test]
        fn doubled_braces_come_out_as_they_were(from in "[{}a-z ]{0,20}") {
            let doubled = from.replace('{', "{{").replace('}', "}}");
            let mut out = Vec::new();
            render(&Template::parse(&doubled).unwrap(), |_, _| (), &mut out);
            prop_assert_eq!(out, from.into_bytes());
        }
    }
}
