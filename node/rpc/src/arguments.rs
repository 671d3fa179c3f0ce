//! The parameters of a call, taken one after the other.

use jsonrpsee::types::Params;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Answer, Fault};

/// The parameters of a call: a list, or by name. What a method does not ask for is ignored, as Substrate does.
pub(crate) struct Arguments {
    given: Given,
    taken: usize,
}

enum Given {
    List(std::vec::IntoIter<Value>),
    Named(Map<String, Value>),
}

impl Arguments {
    /// Reads the parameters of a call.
    pub(crate) fn parse(params: &Params<'_>) -> Answer<Self> {
        let given = match params.as_str().filter(|text| !text.is_empty()) {
            None => Given::List(Vec::new().into_iter()),
            Some(text) => match serde_json::from_str(text) {
                Ok(Value::Array(list)) => Given::List(list.into_iter()),
                Ok(Value::Object(named)) => Given::Named(named),
                Ok(Value::Null) => Given::List(Vec::new().into_iter()),
                Ok(_) => return Err(Fault::parameters("give them as a list")),
                Err(error) => return Err(Fault::parameters(error.to_string())),
            },
        };
        Ok(Self { given, taken: 0 })
    }

    /// Takes the next parameter, `None` when it is missing or null. `name` is what it is called.
    pub(crate) fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Answer<Option<T>> {
        self.taken = self.taken.saturating_add(1);
        let value = match &mut self.given {
            Given::List(list) => list.next(),
            Given::Named(named) => named.remove(name),
        };
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value).map(Some).map_err(|error| {
                Fault::parameters(format!("parameter {} ({name}): {error}", self.taken))
            }),
        }
    }

    /// Takes the next parameter, which must be there.
    pub(crate) fn required<T: DeserializeOwned>(&mut self, name: &str) -> Answer<T> {
        self.optional(name)?.ok_or_else(|| {
            Fault::parameters(format!("parameter {} ({name}) is missing", self.taken))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Answer<Arguments> {
        Arguments::parse(&Params::new(Some(text)))
    }

    #[test]
    fn parameters_are_taken_in_order_or_by_name() {
        let mut list = arguments(r#"[7, null, "x", 9]"#).expect("a list");
        assert_eq!(list.required::<u32>("a"), Ok(7));
        assert_eq!(list.optional::<u32>("b"), Ok(None));
        assert_eq!(list.required::<String>("c"), Ok("x".to_owned()));
        let mut named = arguments(r#"{"b": 1}"#).expect("an object");
        assert_eq!(named.optional::<u32>("a"), Ok(None));
        assert_eq!(named.required::<u32>("b"), Ok(1));
        let mut none = Arguments::parse(&Params::new(None)).expect("none");
        assert_eq!(none.optional::<u32>("a"), Ok(None));
    }

    #[test]
    fn what_is_wrong_with_a_parameter_is_said_with_its_name() {
        let mut list = arguments(r#"["x"]"#).expect("a list");
        let error = format!("{:?}", list.required::<u32>("step"));
        assert!(error.contains("parameter 1 (step)"), "{error}");
        let error = format!("{:?}", list.required::<u32>("meter"));
        assert!(error.contains("parameter 2 (meter) is missing"), "{error}");
        assert!(arguments("7").is_err());
        assert!(arguments("[1").is_err());
    }
}
