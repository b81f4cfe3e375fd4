//! Fields of flows that a client wants to see: a `google.protobuf.FieldMask` for `flow.Flow`.
//!
//! Owns which paths there are and what is left of a flow. Works on what is encoded: nothing is decoded and encoded again. A
//! parent that is not there is not made. Must never fail on any bytes. Start at [`Mask::new`].

use std::collections::HashMap;

use hubble_api::DESCRIPTORS;
use prost::Message;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet, field_descriptor_proto::Label};

use super::{
    kept::{Keep, Parts},
    wire::delimited,
};

const FLOW: &str = ".flow.Flow";
/// As Hubble says it.
const INVALID: &str = "invalid fieldmask";
/// Paths of one mask: far more than there are fields.
const MAX_PATHS: usize = 1024;

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask(Fields);

/// What is kept of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fields {
    /// All of it.
    All,
    /// These, sorted by number.
    Of(Vec<Path>),
}

/// A field, and what is kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    number: u32,
    name: String,
    fields: Fields,
}

impl Mask {
    /// Names as in the .proto file, with dots between them. No path at all keeps everything.
    ///
    /// # Errors
    ///
    /// A path that leads nowhere, in Hubble's words. Repeated fields are only kept as they are.
    pub fn new(paths: &[String]) -> Result<Self, String> {
        if paths.is_empty() {
            return Ok(Self(Fields::All));
        }
        if paths.len() > MAX_PATHS {
            return Err(format!("{INVALID}: {} paths are more than {MAX_PATHS}", paths.len()));
        }
        let invalid = || INVALID.to_owned();
        let files = FileDescriptorSet::decode(DESCRIPTORS).map_err(|_| invalid())?;
        let messages = messages(&files);
        let mut fields = Fields::Of(Vec::new());
        for path in paths {
            let steps = steps(&messages, path).ok_or_else(invalid)?;
            fields.add(&steps);
        }
        Ok(Self(fields))
    }

    /// By number or by name.
    pub(super) fn fields(&self) -> &Fields {
        &self.0
    }

    /// Appends what is kept of an encoded `flow.Flow`. What cannot be read, and all behind it, is left out.
    pub fn apply(&self, flow: &[u8], out: &mut Vec<u8>) {
        self.0.copy(flow, out);
    }
}

impl Parts for Mask {
    fn of(&self, field: u32) -> Keep {
        match self.0.of(field.into()) {
            None => Keep::Nothing,
            Some(Fields::All) => Keep::All,
            Some(Fields::Of(_)) => Keep::Part,
        }
    }

    fn part(&self, field: &[u8], out: &mut Vec<u8>) {
        self.apply(field, out);
    }
}

/// By full name, with a dot in front.
fn messages(files: &FileDescriptorSet) -> HashMap<String, &DescriptorProto> {
    let mut messages = HashMap::new();
    let top =
        files.file.iter().flat_map(|file| file.message_type.iter().map(|it| (format!(".{}", file.package()), it)));
    let mut open: Vec<(String, &DescriptorProto)> = top.collect();
    while let Some((around, message)) = open.pop() {
        let name = format!("{around}.{}", message.name());
        open.extend(message.nested_type.iter().map(|inner| (name.clone(), inner)));
        messages.insert(name, message);
    }
    messages
}

/// Number and name of a field.
type Step<'p> = (u32, &'p str);

/// Each field on the way.
fn steps<'p>(messages: &HashMap<String, &DescriptorProto>, path: &'p str) -> Option<Vec<Step<'p>>> {
    let mut message = messages.get(FLOW).copied();
    let step = |name: &'p str| -> Option<Step<'p>> {
        let field = message?.field.iter().find(|field| field.name() == name)?;
        // Scalars have no message, and lists have none that a path may go into.
        message = (!is_list(field)).then(|| messages.get(field.type_name()).copied()).flatten();
        Some((u32::try_from(field.number()).ok()?, name))
    };
    path.split('.').map(step).collect()
}

fn is_list(field: &FieldDescriptorProto) -> bool {
    field.label() == Label::Repeated
}

impl Fields {
    /// A path that is the beginning of another one keeps all of it.
    fn add(&mut self, steps: &[Step<'_>]) {
        let Self::Of(paths) = self else { return };
        let Some(((number, name), rest)) = steps.split_first() else {
            *self = Self::All;
            return;
        };
        let index = paths.binary_search_by_key(number, |path| path.number);
        let index = index.unwrap_or_else(|index| {
            let (number, name, fields) = (*number, (*name).to_owned(), Self::Of(Vec::new()));
            paths.insert(index, Path { number, name, fields });
            index
        });
        if let Some(path) = paths.get_mut(index) {
            path.fields.add(rest);
        }
    }

    fn of(&self, number: u64) -> Option<&Self> {
        match self {
            Self::All => Some(self),
            Self::Of(paths) => {
                let index = paths.binary_search_by_key(&number, |path| path.number.into()).ok()?;
                paths.get(index).map(|path| &path.fields)
            }
        }
    }

    /// What is kept of the field of this name, if anything is.
    pub(super) fn named(&self, name: &str) -> Option<&Self> {
        match self {
            Self::All => Some(self),
            Self::Of(paths) => paths.iter().find(|path| path.name == name).map(|path| &path.fields),
        }
    }

    /// As deep as the mask is, which no client can make deeper than messages are.
    fn copy(&self, mut message: &[u8], out: &mut Vec<u8>) {
        if *self == Self::All {
            return out.extend_from_slice(message);
        }
        while let Some(field) = Field::read(message) {
            match (self.of(field.number), field.content) {
                (Some(Self::All), _) => out.extend_from_slice(field.whole),
                (Some(inner), Some(content)) => {
                    out.extend_from_slice(field.tag);
                    delimited(out, |out| inner.copy(content, out));
                }
                // It should have been a message, or nobody asked for it.
                (Some(Self::Of(_)), None) | (None, _) => {}
            }
            message = field.rest;
        }
    }
}

/// An encoded field.
struct Field<'b> {
    number: u64,
    tag: &'b [u8],
    /// Of one that has a length.
    content: Option<&'b [u8]>,
    whole: &'b [u8],
    /// What follows it.
    rest: &'b [u8],
}

impl<'b> Field<'b> {
    /// The first one.
    fn read(bytes: &'b [u8]) -> Option<Self> {
        let mut rest = bytes;
        let key = prost::encoding::decode_varint(&mut rest).ok()?;
        let tag = bytes.get(..bytes.len() - rest.len())?;
        let mut content = None;
        let length = match key & 7 {
            0 => {
                prost::encoding::decode_varint(&mut rest).ok()?;
                0
            }
            1 => 8,
            2 => {
                let length = usize::try_from(prost::encoding::decode_varint(&mut rest).ok()?).ok()?;
                content = Some(rest.get(..length)?);
                length
            }
            5 => 4,
            _ => return None,
        };
        rest = rest.get(length..)?;
        let whole = bytes.get(..bytes.len() - rest.len())?;
        Some(Self { number: key >> 3, tag, content, whole, rest })
    }
}

#[cfg(test)]
mod tests;
