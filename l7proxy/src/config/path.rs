//! How paths are brought to their normal form, as the configuration says it.
//!
//! Owns the names of relaxations. Must never know what they do: that is `rules::PathOptions`. Start at [`PathRules`].

use rules::PathOptions;
use serde::{Deserialize, Serialize};

use super::yes;

/// How a path is brought to its normal form: what is relaxed, each by its name.
#[expect(clippy::struct_excessive_bools, reason = "one switch for each relaxation, as `rules` has them")]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PathRules {
    /// `//` becomes `/`.
    #[serde(default = "yes")]
    pub merge_slashes: bool,
    /// `;` inside a segment passes.
    #[serde(default)]
    pub allow_path_parameters: bool,
    /// `%2F` passes, and is no separator.
    #[serde(default)]
    pub allow_encoded_slash: bool,
    /// `%5C` passes.
    #[serde(default)]
    pub allow_encoded_backslash: bool,
    /// `%01` to `%1F` and `%7F` pass.
    #[serde(default)]
    pub allow_encoded_control: bool,
    /// `%252E`, `%252F` and `%255C` pass.
    #[serde(default)]
    pub allow_double_encoding: bool,
    /// Escapes that are no UTF-8 pass.
    #[serde(default)]
    pub allow_non_utf8: bool,
}

impl Default for PathRules {
    fn default() -> Self {
        Self {
            merge_slashes: true,
            allow_path_parameters: false,
            allow_encoded_slash: false,
            allow_encoded_backslash: false,
            allow_encoded_control: false,
            allow_double_encoding: false,
            allow_non_utf8: false,
        }
    }
}

impl PathRules {
    /// The same for the rules.
    #[must_use]
    pub fn options(&self) -> PathOptions {
        PathOptions {
            merge_slashes: self.merge_slashes,
            allow_path_parameters: self.allow_path_parameters,
            allow_encoded_slash: self.allow_encoded_slash,
            allow_encoded_backslash: self.allow_encoded_backslash,
            allow_encoded_control: self.allow_encoded_control,
            allow_double_encoding: self.allow_double_encoding,
            allow_non_utf8: self.allow_non_utf8,
        }
    }

    /// What is relaxed, as it is written in the configuration.
    #[must_use]
    pub fn relaxed(&self) -> Vec<&'static str> {
        let relaxations = [
            (!self.merge_slashes, "mergeSlashes: false"),
            (self.allow_path_parameters, "allowPathParameters: true"),
            (self.allow_encoded_slash, "allowEncodedSlash: true"),
            (self.allow_encoded_backslash, "allowEncodedBackslash: true"),
            (self.allow_encoded_control, "allowEncodedControl: true"),
            (self.allow_double_encoding, "allowDoubleEncoding: true"),
            (self.allow_non_utf8, "allowNonUtf8: true"),
        ];
        relaxations.into_iter().filter_map(|(is_relaxed, name)| is_relaxed.then_some(name)).collect()
    }
}
