use serde_json::Value;
use toml::Value as Toml;

/// The document. An array, which TOML cannot have at its top, is the value of `items`.
pub fn render(value: &Value) -> String {
    let document = match convert(value) {
        Some(Toml::Table(table)) => table,
        Some(other) => toml::Table::from_iter([("items".to_owned(), other)]),
        None => toml::Table::new(),
    };
    // A table of TOML values is always written.
    toml::to_string(&document).unwrap_or_default()
}

/// `None` for null, which TOML does not have.
fn convert(value: &Value) -> Option<Toml> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => Toml::Boolean(*flag),
        Value::String(text) => Toml::String(text.clone()),
        // TOML's integers end at 2^63 - 1; what is larger keeps its digits as text.
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Toml::Integer(integer),
            (None, Some(float)) if !number.is_u64() => Toml::Float(float),
            _ => Toml::String(number.to_string()),
        },
        Value::Array(items) => Toml::Array(items.iter().filter_map(convert).collect()),
        Value::Object(fields) => Toml::Table(
            fields
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), convert(value)?)))
                .collect(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arrays_are_items() {
        assert_eq!(render(&json!(["a", "b"])), "items = [\"a\", \"b\"]\n");
        assert_eq!(render(&json!([])), "items = []\n");
        assert_eq!(
            render(&json!([{"id": "a", "n": null}])),
            "[[items]]\nid = \"a\"\n"
        );
    }

    #[test]
    fn numbers_keep_their_value() {
        let text = render(&json!({"a": 1, "b": 1.5, "c": u64::MAX}));
        assert_eq!(text, "a = 1\nb = 1.5\nc = \"18446744073709551615\"\n");
    }
}
