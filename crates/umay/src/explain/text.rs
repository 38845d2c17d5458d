//! An explanation as people read it.

use std::fmt;

use serde_json::Value;

/// An explanation as people read it.
pub struct Text<'a> {
    /// What [`super::explain`] has said.
    pub told: &'a Value,
    /// With colours for a terminal.
    pub colour: bool,
}

impl Text<'_> {
    fn paint(&self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    fn text(&self, pointer: &str) -> &str {
        text(self.told, pointer)
    }

    fn list(&self, pointer: &str) -> &[Value] {
        let found = self.told.pointer(pointer).and_then(Value::as_array);
        found.map(Vec::as_slice).unwrap_or_default()
    }

    fn words(&self, pointer: &str) -> impl Iterator<Item = &str> {
        self.list(pointer).iter().filter_map(Value::as_str)
    }

    /// The listener, the certificate and the route.
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opened = self.told.pointer("/listener/opened");
        let tls = match opened.and_then(Value::as_bool).unwrap_or_default() {
            true => ", TLS is opened here",
            false => "",
        };
        let (name, address) = (self.text("/listener/name"), self.text("/listener/address"));
        writeln!(f, "  listener     {name} on {address}{tls}")?;
        if self.told.get("certificate").is_some_and(Value::is_object) {
            let names: Vec<_> = self.words("/certificate/names").collect();
            let names = names.join(", ");
            let file = self.text("/certificate/file");
            let until = self.text("/certificate/not_after");
            writeln!(f, "  certificate  {names} ({file}, until {until})")?;
        }
        match self.text("/route") {
            "" => writeln!(f, "  route        {}", self.paint("31", "none")),
            name => {
                let (name, place) = (self.paint("32", name), self.text("/place"));
                writeln!(f, "  route        {name} ({place})")
            }
        }
    }

    /// What the route does, and where it goes.
    fn body(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.told.get("settings").and_then(Value::as_object);
        for (name, values) in settings.into_iter().flatten() {
            let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
            for (place, value) in values.iter().filter_map(Value::as_str).enumerate() {
                let name = if place == 0 { name } else { "" };
                writeln!(f, "  {name:<12} {value}")?;
            }
        }
        for (place, line) in self.words("/to").enumerate() {
            let name = if place == 0 { "to" } else { "" };
            writeln!(f, "  {name:<12} {line}")?;
        }
        for (place, endpoint) in self.list("/endpoints").iter().enumerate() {
            let name = if place == 0 { "now" } else { "" };
            let line = live(endpoint);
            let line = match text(endpoint, "/pick") {
                "yes" => line,
                _ => self.paint("2", &line),
            };
            writeln!(f, "  {name:<12} {line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.paint("1", self.text("/asked")))?;
        self.head(f)?;
        self.body(f)?;
        for note in self.words("/notes") {
            writeln!(f, "  {}", self.paint("33", note))?;
        }
        for other in self.list("/others") {
            let whys = other.get("why").and_then(Value::as_array);
            let whys: Vec<_> = whys
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let (not, name) = (self.paint("2", "not"), text(other, "/route"));
            writeln!(f, "  {not} {name}: {}", whys.join("; "))?;
        }
        Ok(())
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default()
}

/// An endpoint as it is now, in a line.
fn live(endpoint: &Value) -> String {
    let number = |name: &str| {
        endpoint
            .get(name)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    let mut line = format!(
        "{} {}",
        text(endpoint, "/address"),
        text(endpoint, "/standing")
    );
    match text(endpoint, "/why") {
        "" => {}
        why => line.push_str(&format!(" ({why})")),
    }
    let (weight, configured) = (number("weight"), number("configured_weight"));
    if weight != configured {
        line.push_str(&format!(
            ", weight {weight} by hand ({configured} configured)"
        ));
    } else if weight != 1 {
        line.push_str(&format!(", weight {weight}"));
    }
    line.push_str(&format!(", in flight {}", number("in_flight")));
    if let Some(latency) = endpoint.get("latency_ms").and_then(Value::as_f64) {
        line.push_str(&format!(", {latency} ms"));
    }
    line.push_str(match text(endpoint, "/pick") {
        "yes" => "",
        "reserve" => ": only for what has failed elsewhere",
        _ => ": gets nothing new",
    });
    line
}
