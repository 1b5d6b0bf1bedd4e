use serde::Serialize;
use serde_json::Value;

/// One line, sorted keys.
pub fn compact<T: Serialize>(value: &T) -> serde_json::Result<String> {
    let mut text = serde_json::to_string(&sorted(value)?)?;
    text.push('\n');
    Ok(text)
}

/// Several lines, sorted keys.
pub fn pretty<T: Serialize>(value: &T) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&sorted(value)?)?;
    text.push('\n');
    Ok(text)
}

/// A [`Value`] keeps its keys sorted.
fn sorted<T: Serialize>(value: &T) -> serde_json::Result<Value> {
    serde_json::to_value(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As Apple's tool writes it since 1.4.1, which does not escape `/` any more.
    #[test]
    fn keys_are_sorted_and_slashes_are_slashes() {
        #[derive(Serialize)]
        struct Unsorted {
            zebra: &'static str,
            ant: Vec<u8>,
        }
        let value = Unsorted {
            zebra: "a/b\"\n/",
            ant: vec![1, 2],
        };
        assert_eq!(
            compact(&value).unwrap(),
            "{\"ant\":[1,2],\"zebra\":\"a/b\\\"\\n/\"}\n"
        );
        assert_eq!(
            pretty(&json!({"a": {}, "b": [1]})).unwrap(),
            "{\n  \"a\": {},\n  \"b\": [\n    1\n  ]\n}\n"
        );
    }
}
