//! Settings that are one of a few words: an enum, its words, and the way between them, said once.

/// Declares an enum whose values have words: `ALL`, `NAMES`, `name()`, `Display`, `FromStr`, and
/// serde by the word. The first value is the default.
macro_rules! named {
    ($(#[$about:meta])* pub enum $name:ident: $what:literal {
        $($(#[$doc:meta])* $value:ident = $word:literal,)+
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $value,)+ }

        impl $name {
            /// Every value, in the order in which a list of choices shows them.
            pub const ALL: &'static [$name] = &[$($name::$value),+];
            /// Their words, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($word),+];

            /// The word for it in settings and files.
            pub const fn name(self) -> &'static str {
                match self { $($name::$value => $word,)+ }
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name::ALL[0]
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = ::anyhow::Error;

            fn from_str(word: &str) -> ::anyhow::Result<$name> {
                let found = $name::ALL.iter().copied().find(|value| value.name() == word);
                found.ok_or_else(|| $crate::base::named::unknown($what, $name::NAMES, word))
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.name())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                let word = <String as ::serde::Deserialize>::deserialize(from)?;
                word.parse().map_err(::serde::de::Error::custom)
            }
        }
    };
}

/// The refusal of a word that none of the values has.
#[doc(hidden)]
pub fn unknown(what: &str, names: &[&str], word: &str) -> anyhow::Error {
    let expected = match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => (*last).to_owned(),
        None => "nothing".to_owned(),
    };
    let advice = super::choose(word, names.iter().copied());
    super::Fault::Usage.error(format!("{what}: expected {expected}, got {word:?}; {advice}"))
}

pub(crate) use named;

#[cfg(test)]
mod tests {
    named! {
        /// What the sky does.
        pub enum Sky: "sky" {
            /// It shines.
            Clear = "clear",
            /// It rains.
            Wet = "wet",
        }
    }

    #[test]
    fn words_go_both_ways() {
        assert_eq!("wet".parse::<Sky>().unwrap(), Sky::Wet);
        assert_eq!((Sky::default(), Sky::Wet.to_string().as_str()), (Sky::Clear, "wet"));
        assert_eq!(serde_json::to_string(&Sky::ALL).unwrap(), "[\"clear\",\"wet\"]");
        assert_eq!(serde_json::from_str::<Sky>("\"wet\"").unwrap(), Sky::Wet);
        for wrong in ["\"snow\"", "3"] {
            assert!(serde_json::from_str::<Sky>(wrong).is_err(), "{wrong}");
        }
        let refused = "snow".parse::<Sky>().unwrap_err().to_string();
        assert_eq!(refused, "sky: expected clear or wet, got \"snow\"; choose one");
        let refused = "claer".parse::<Sky>().unwrap_err().to_string();
        assert_eq!(refused, "sky: expected clear or wet, got \"claer\"; nearest is clear");
    }
}
