use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Writes strings as Foundation does: `/` as `\/`.
struct EscapeSlashes<F>(F);

/// Hands the layout of arrays and objects on to the formatter inside.
macro_rules! delegate {
    ($($method:ident($($argument:ident: $kind:ty),*)),* $(,)?) => {$(
        fn $method<W: ?Sized + io::Write>(&mut self, writer: &mut W $(, $argument: $kind)*) -> io::Result<()> {
            self.0.$method(writer $(, $argument)*)
        }
    )*};
}

impl<F: Formatter> Formatter for EscapeSlashes<F> {
    delegate!(
        begin_array(),
        end_array(),
        begin_array_value(first: bool),
        end_array_value(),
        begin_object(),
        end_object(),
        begin_object_key(first: bool),
        end_object_key(),
        begin_object_value(),
        end_object_value(),
    );

    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut parts = fragment.split('/');
        if let Some(first) = parts.next() {
            writer.write_all(first.as_bytes())?;
        }
        for part in parts {
            writer.write_all(b"\\/")?;
            writer.write_all(part.as_bytes())?;
        }
        Ok(())
    }
}

/// One line, sorted keys.
pub fn compact<T: Serialize>(value: &T) -> serde_json::Result<String> {
    render(value, CompactFormatter)
}

/// Several lines, sorted keys.
pub fn pretty<T: Serialize>(value: &T) -> serde_json::Result<String> {
    render(value, PrettyFormatter::new())
}

fn render<T: Serialize, F: Formatter>(value: &T, formatter: F) -> serde_json::Result<String> {
    // A Value keeps its keys sorted.
    let value = serde_json::to_value(value)?;
    let mut text = Vec::new();
    value.serialize(&mut Serializer::with_formatter(
        &mut text,
        EscapeSlashes(formatter),
    ))?;
    text.push(b'\n');
    // serde_json writes UTF-8.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_foundation_writes_it() {
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
            "{\"ant\":[1,2],\"zebra\":\"a\\/b\\\"\\n\\/\"}\n"
        );
        assert_eq!(
            pretty(&json!({"a": {}, "b": [1]})).unwrap(),
            "{\n  \"a\": {},\n  \"b\": [\n    1\n  ]\n}\n"
        );
    }
}
