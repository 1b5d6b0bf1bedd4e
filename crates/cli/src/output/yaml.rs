//! YAML 1.2 in block style. Any text that could mean something else is quoted as JSON does, which YAML contains.

use std::fmt::Write as _;

use serde_json::Value;

/// The document, with a newline at its end.
pub fn render(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Array(items) if !items.is_empty() => sequence(&mut text, items, 0),
        Value::Object(fields) if !fields.is_empty() => mapping(&mut text, fields, 0),
        scalar => {
            inline(&mut text, scalar);
            text.push('\n');
        }
    }
    text
}

fn sequence(text: &mut String, items: &[Value], indent: usize) {
    for item in items {
        let _ = write!(text, "{:indent$}-", "");
        match item {
            Value::Array(inner) if !inner.is_empty() => {
                text.push('\n');
                sequence(text, inner, indent + 2);
            }
            Value::Object(fields) if !fields.is_empty() => {
                // The first field stands behind the dash.
                let start = text.len();
                mapping(text, fields, indent + 2);
                text.replace_range(start..start + indent + 2, " ");
            }
            scalar => {
                text.push(' ');
                inline(text, scalar);
                text.push('\n');
            }
        }
    }
}

fn mapping(text: &mut String, fields: &serde_json::Map<String, Value>, indent: usize) {
    for (key, value) in fields {
        let _ = write!(text, "{:indent$}", "");
        string(text, key);
        text.push(':');
        match value {
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                sequence(text, items, indent);
            }
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                mapping(text, inner, indent + 2);
            }
            scalar => {
                text.push(' ');
                inline(text, scalar);
                text.push('\n');
            }
        }
    }
}

fn inline(text: &mut String, value: &Value) {
    match value {
        Value::String(content) => string(text, content),
        Value::Array(_) => text.push_str("[]"),
        Value::Object(_) => text.push_str("{}"),
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

fn string(text: &mut String, content: &str) {
    if is_plain(content) {
        text.push_str(content);
    } else {
        let _ = write!(text, "{}", Value::from(content));
    }
}

/// Whether a text is a plain scalar that every reader of YAML 1.1 and 1.2 takes for this very text.
fn is_plain(content: &str) -> bool {
    const WORDS: [&str; 11] = [
        "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf",
    ];
    let first_is_letter =
        content.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let safe = |c: char| c.is_ascii_alphanumeric() || "_-./:@+=".contains(c);
    first_is_letter
        && content.chars().all(safe)
        && !content.ends_with(':')
        && !WORDS.contains(&content.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn block_style() {
        let value = json!([
            {"id": "a", "labels": {}, "list": ["x", {"k": 1, "l": [[2]]}], "z": null},
            "1", "yes", "a: b", "a:", "", "docker.io/library/busybox:latest", "é\n",
        ]);
        assert_eq!(
            render(&value),
            r#"- id: a
  labels: {}
  list:
  - x
  - k: 1
    l:
    -
      - 2
  z: null
- "1"
- "yes"
- "a: b"
- "a:"
- ""
- docker.io/library/busybox:latest
- "é\n"
"#
        );
        assert_eq!(render(&json!([])), "[]\n");
        assert_eq!(render(&json!({"status": "running"})), "status: running\n");
    }
}
