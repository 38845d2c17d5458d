//! What is to be explained, as it is asked on the command line and on the admin socket.

use serde_json::{Value, json};
use umay_core::message::Fields;
use umay_core::route::ClientCertFacts;

use super::Target;

/// What is to be explained.
#[derive(Clone, Debug)]
pub struct Question {
    /// What is asked for.
    pub target: Target,
    /// The request's method.
    pub method: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// The listener, if several could be meant.
    pub listener: Option<String>,
    /// The client's certificate.
    pub cert: Option<ClientCertFacts>,
}

impl Question {
    pub(super) fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in &self.headers {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    /// As a document.
    pub fn to_json(&self) -> Value {
        let cert = self.cert.as_ref();
        let cert = cert
            .map(|cert| json!({ "cn": cert.common_name, "san": cert.sans, "sha256": cert.sha256 }));
        json!({
            "target": self.target.text,
            "method": self.method,
            "headers": self.headers,
            "listener": self.listener,
            "client_cert": cert,
        })
    }

    /// From such a document, in which all but `target` may be missing. The error is a sentence for people.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        const KNOWN: [&str; 5] = ["target", "method", "headers", "listener", "client_cert"];
        only(value, &KNOWN)?;
        let Some(target) = text(value, "target")? else {
            return Err("what is asked for? {\"target\": \"https://a.example/\"}".to_owned());
        };
        let target = target
            .parse()
            .map_err(|error| format!("`target` is no URL or stream: {error}"))?;
        let headers = match value.get("headers") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(all)) => all.iter().map(header).collect::<Result<_, _>>()?,
            Some(_) => return Err(HEADERS.to_owned()),
        };
        let cert = match value.get("client_cert") {
            None | Some(Value::Null) => None,
            Some(cert) => Some(client_cert(cert)?),
        };
        Ok(Self {
            target,
            method: text(value, "method")?.unwrap_or("GET").to_owned(),
            headers,
            listener: text(value, "listener")?.map(str::to_owned),
            cert,
        })
    }
}

const HEADERS: &str = "`headers` is a list such as [[\"X-Canary\", \"1\"]]";

fn header(value: &Value) -> Result<(String, String), String> {
    match value.as_array().map(Vec::as_slice) {
        Some([Value::String(name), Value::String(value)]) => Ok((name.clone(), value.clone())),
        _ => Err(HEADERS.to_owned()),
    }
}

fn client_cert(value: &Value) -> Result<ClientCertFacts, String> {
    only(value, &["cn", "san", "sha256"])?;
    let sans = value.get("san").and_then(Value::as_array);
    let sans = sans.into_iter().flatten().filter_map(Value::as_str);
    Ok(ClientCertFacts {
        common_name: text(value, "cn")?.map(str::to_owned),
        sans: sans.map(str::to_owned).collect(),
        sha256: text(value, "sha256")?.unwrap_or_default().to_owned(),
        subject: String::new(),
    })
}

fn text<'v>(value: &'v Value, name: &str) -> Result<Option<&'v str>, String> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{name}` is text")),
    }
}

fn only(value: &Value, known: &[&str]) -> Result<(), String> {
    let Some(members) = value.as_object() else {
        return Err("it is no object".to_owned());
    };
    let mut others = members
        .keys()
        .filter(|name| !known.contains(&name.as_str()));
    match others.next() {
        None => Ok(()),
        Some(name) => Err(format!(
            "`{name}` is unknown; there are: {}",
            known.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_comes_over_whole() {
        let question = Question {
            target: "https://a.example:8443/x?y".parse().unwrap(),
            method: "POST".to_owned(),
            headers: vec![("X-Canary".to_owned(), "1".to_owned())],
            listener: Some("main".to_owned()),
            cert: Some(ClientCertFacts {
                common_name: Some("robot".to_owned()),
                sans: vec!["robot.example".to_owned()],
                sha256: "ab".to_owned(),
                subject: String::new(),
            }),
        };
        let there = Question::from_json(&question.to_json()).unwrap();
        assert_eq!(format!("{there:?}"), format!("{question:?}"));
        let least = Question::from_json(&json!({ "target": "tcp:" })).unwrap();
        assert_eq!((least.method.as_str(), least.listener), ("GET", None));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (value, words) in [
            (json!([]), "no object"),
            (json!({}), "what is asked for"),
            (json!({ "target": 1 }), "`target` is text"),
            (json!({ "target": "ftp://x" }), "begin with https://"),
            (
                json!({ "target": "tcp:", "methd": "GET" }),
                "`methd` is unknown; there are: target",
            ),
            (
                json!({ "target": "tcp:", "headers": ["a: b"] }),
                "such as [[",
            ),
            (json!({ "target": "tcp:", "headers": "a: b" }), "such as [["),
            (
                json!({ "target": "tcp:", "client_cert": { "dn": "x" } }),
                "`dn` is unknown",
            ),
        ] {
            let error = Question::from_json(&value).unwrap_err();
            assert!(error.contains(words), "{value}: {error}");
        }
    }
}
