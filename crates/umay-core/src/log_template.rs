//! Lines of the access log as somebody wants them: text with the names of fields in braces.

use std::fmt;

use crate::model::{LogField, LogPart, LogTemplate};

/// Why a line cannot be written so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTemplateError {
    /// There is no such field.
    UnknownField(String),
    /// A `{` without its `}`.
    Unclosed,
    /// A `}` without its `{`.
    Unopened,
    /// A control character, which could end the line or hide what it says.
    Control,
    /// There is no field in it, so all lines would be the same.
    NoField,
}

impl fmt::Display for LogTemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownField(name) => write!(f, "the access log has no field `{{{name}}}`"),
            Self::Unclosed => f.write_str("a `{` has no `}`; for a brace itself write `{{`"),
            Self::Unopened => f.write_str("a `}` has no `{`; for a brace itself write `}}`"),
            Self::Control => f.write_str("a line cannot have a control character in it"),
            Self::NoField => {
                f.write_str("this has no field, as in \"{client_ip} {method} {path} {status}\"")
            }
        }
    }
}

impl std::error::Error for LogTemplateError {}

impl LogTemplate {
    /// Reads it: `{name}` is a field, `{{` and `}}` are braces, all else is text.
    pub fn parse(text: &str) -> Result<Self, LogTemplateError> {
        if text.chars().any(char::is_control) {
            return Err(LogTemplateError::Control);
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut quoted = false;
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            let (before, from_brace) = rest.split_at(brace);
            literal.push_str(before);
            if let Some(after) = from_brace.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = from_brace.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else {
                let (field, after) = field(from_brace)?;
                quoted ^= literal.matches('"').count() % 2 == 1;
                if !literal.is_empty() {
                    parts.push(LogPart::Text(std::mem::take(&mut literal)));
                }
                parts.push(LogPart::Field { field, quoted });
                rest = after;
            }
        }
        literal.push_str(rest);
        if parts.is_empty() {
            return Err(LogTemplateError::NoField);
        }
        if !literal.is_empty() {
            parts.push(LogPart::Text(literal));
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for LogTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                LogPart::Text(text) => {
                    f.write_str(&text.replace('{', "{{").replace('}', "}}"))?;
                }
                LogPart::Field { field, .. } => write!(f, "{{{}}}", field.as_str())?,
            }
        }
        Ok(())
    }
}

impl LogField {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, field)| *field == self);
        found.map_or("", |(name, _)| name)
    }
}

/// The field at the start of `text`, which begins with its brace, and what comes after it.
fn field(text: &str) -> Result<(LogField, &str), LogTemplateError> {
    let inside = text.strip_prefix('{').ok_or(LogTemplateError::Unopened)?;
    let (name, after) = inside.split_once('}').ok_or(LogTemplateError::Unclosed)?;
    if name.contains('{') {
        return Err(LogTemplateError::Unclosed);
    }
    let known = LogField::ALL.iter().find(|(known, _)| *known == name);
    let (_, field) = known.ok_or_else(|| LogTemplateError::UnknownField(name.to_owned()))?;
    Ok((*field, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_text_and_fields() {
        let text = |text: &str| LogPart::Text(text.to_owned());
        let field = |field, quoted| LogPart::Field { field, quoted };
        let template = LogTemplate::parse("{{{status}}} \"{user_agent}\" {path}").unwrap();
        let parts = vec![
            text("{"),
            field(LogField::Status, false),
            text("} \""),
            field(LogField::UserAgent, true),
            text("\" "),
            field(LogField::Path, false),
        ];
        assert_eq!(template.0, parts);
        for (name, field) in LogField::ALL {
            let quoted = false;
            let parts = vec![LogPart::Field {
                field: *field,
                quoted,
            }];
            let read = LogTemplate::parse(&format!("{{{name}}}"));
            assert_eq!(read, Ok(LogTemplate(parts)));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (from, error) in [
            ("", LogTemplateError::NoField),
            ("plain {{status}}", LogTemplateError::NoField),
            ("{status", LogTemplateError::Unclosed),
            ("{status {path}", LogTemplateError::Unclosed),
            ("status}", LogTemplateError::Unopened),
            ("{status}\n", LogTemplateError::Control),
            ("{status}\u{9b}", LogTemplateError::Control),
            ("{}", LogTemplateError::UnknownField(String::new())),
            (
                "{stauts}",
                LogTemplateError::UnknownField("stauts".to_owned()),
            ),
        ] {
            assert_eq!(LogTemplate::parse(from), Err(error), "{from}");
        }
    }

    proptest! {
        #[test]
        fn is_shown_as_it_was_written(from in "[a-z{}\" ]{0,12}\\{status\\}[a-z{}\" ]{0,12}") {
            if let Ok(template) = LogTemplate::parse(&from) {
                prop_assert_eq!(template.to_string(), from);
            }
        }
    }
}
