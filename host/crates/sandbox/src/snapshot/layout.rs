//! Where the memory of a prepared guest goes in its component.
//!
//! wizer writes a component from what it is shown of each memory: an *outline*, which has a
//! single byte where the content is. This finds those bytes again. The component is then the
//! outline with each of them replaced by the content, and is written in pieces, so that the
//! content is never copied.

use std::collections::HashSet;
use std::ops::Range;

use wasmparser::{
    BinaryReader, BinaryReaderError, DataKind, DataSectionReader, Instance, InstanceSectionReader,
};

/// Why an outline is not what wizer makes.
#[derive(Debug, thiserror::Error)]
pub(super) enum LayoutError {
    /// It is not WebAssembly.
    #[error(transparent)]
    Invalid(#[from] BinaryReaderError),
    /// It does not have one byte for each memory.
    #[error("the contents of its memories have no place in it")]
    Misplaced,
}

type Result<T> = std::result::Result<T, LayoutError>;

/// A piece of a component.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// These bytes of the outline.
    Outline(Range<usize>),
    /// These bytes.
    Bytes(Vec<u8>),
    /// The content of a memory, by its position among those that have any.
    Content(usize),
}

/// The pieces of a component, and their size in bytes.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Piece>,
    size: usize,
}

/// The size of the header of a module or component, in bytes.
const HEADER: usize = 8;

/// The sections that matter here.
const CORE_MODULE: u8 = 1;
const CORE_INSTANCE: u8 = 2;
const DATA: u8 = 11;

/// The pieces of the component whose memories have contents of these sizes, in the order in
/// which wizer asks for them, and the size of the component.
pub(super) fn pieces(outline: &[u8], contents: &[usize]) -> Result<(Vec<Piece>, usize)> {
    let mut contents = contents.iter().copied().enumerate();
    let mut component = Pieces::default();
    component.copy(0..HEADER);
    let sections = sections(outline, 0..outline.len())?;
    let instantiated = instantiated(outline, &sections)?;
    let mut index = 0;
    for (id, range) in sections {
        if id != CORE_MODULE {
            component.copy_section(id, range);
            continue;
        }
        // wizer takes over other modules as they are.
        if instantiated.contains(&index) {
            component.section(id, module(outline, range, &mut contents)?);
        } else {
            component.copy_section(id, range);
        }
        index += 1;
    }
    match contents.next() {
        None => Ok((component.pieces, component.size)),
        Some(_) => Err(LayoutError::Misplaced),
    }
}

/// The core modules that are instantiated.
fn instantiated(outline: &[u8], sections: &[(u8, Range<usize>)]) -> Result<HashSet<u32>> {
    let mut found = HashSet::new();
    for (_, range) in sections.iter().filter(|(id, _)| *id == CORE_INSTANCE) {
        for instance in InstanceSectionReader::new(reader(outline, range.clone()))? {
            if let Instance::Instantiate { module_index, .. } = instance? {
                found.insert(module_index);
            }
        }
    }
    Ok(found)
}

/// A module with its contents.
fn module(
    outline: &[u8],
    range: Range<usize>,
    contents: &mut impl Iterator<Item = (usize, usize)>,
) -> Result<Pieces> {
    let mut module = Pieces::default();
    module.copy(range.start..range.start + HEADER);
    for (id, range) in sections(outline, range)? {
        if id == DATA {
            module.section(id, data(outline, &range, contents)?);
        } else {
            module.copy_section(id, range);
        }
    }
    Ok(module)
}

/// A data section with its contents. wizer has emptied the active segments that the module
/// had, so each one here is an outline.
fn data(
    outline: &[u8],
    range: &Range<usize>,
    contents: &mut impl Iterator<Item = (usize, usize)>,
) -> Result<Pieces> {
    let mut section = Pieces::default();
    let mut copied = range.start;
    for segment in DataSectionReader::new(reader(outline, range.clone()))? {
        let segment = segment?;
        if let DataKind::Passive = segment.kind {
            continue;
        }
        // The number of bytes, and the one byte, end the segment.
        let at = segment.range.end - 2;
        let (Some((memory, size)), 1) = (contents.next(), segment.data.len()) else {
            return Err(LayoutError::Misplaced);
        };
        section.copy(copied..at);
        section.bytes(leb128(size));
        section.content(memory, size);
        copied = segment.range.end;
    }
    section.copy(copied..range.end);
    Ok(section)
}

/// The sections of a module or component: the number of each, and where its content is.
fn sections(outline: &[u8], range: Range<usize>) -> Result<Vec<(u8, Range<usize>)>> {
    let mut reader = reader(outline, range);
    reader.read_bytes(HEADER)?;
    let mut sections = Vec::new();
    while !reader.eof() {
        let id = reader.read_u8()?;
        let size = reader.read_var_u32()? as usize;
        let start = reader.original_position();
        reader.read_bytes(size)?;
        sections.push((id, start..start + size));
    }
    Ok(sections)
}

/// Reads a part, and counts positions from the beginning of the whole.
fn reader(outline: &[u8], range: Range<usize>) -> BinaryReader<'_> {
    let start = range.start;
    BinaryReader::new(&outline[range], start)
}

/// A number as WebAssembly encodes it.
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

impl Pieces {
    fn copy(&mut self, range: Range<usize>) {
        self.size += range.len();
        self.pieces.push(Piece::Outline(range));
    }

    fn bytes(&mut self, bytes: Vec<u8>) {
        self.size += bytes.len();
        self.pieces.push(Piece::Bytes(bytes));
    }

    fn content(&mut self, memory: usize, size: usize) {
        self.size += size;
        self.pieces.push(Piece::Content(memory));
    }

    fn copy_section(&mut self, id: u8, range: Range<usize>) {
        let mut content = Self::default();
        content.copy(range);
        self.section(id, content);
    }

    fn section(&mut self, id: u8, content: Self) {
        let mut head = vec![id];
        head.extend(leb128(content.size));
        self.bytes(head);
        self.size += content.size;
        self.pieces.extend(content.pieces);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The component with its contents.
    fn laid_out(text: &str, contents: &[&[u8]]) -> Result<Vec<u8>> {
        let outline = wat::parse_str(format!("(component {text})")).expect("a component");
        let sizes: Vec<usize> = contents.iter().map(|content| content.len()).collect();
        let (pieces, size) = pieces(&outline, &sizes)?;
        let mut component = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Outline(range) => component.extend(&outline[range]),
                Piece::Bytes(bytes) => component.extend(bytes),
                Piece::Content(memory) => component.extend(contents[memory]),
            }
        }
        assert_eq!(component.len(), size);
        Ok(component)
    }

    fn text(content: &[u8]) -> String {
        let bytes = content.iter().map(|byte| format!("\\{byte:02x}"));
        bytes.collect::<Vec<_>>().concat()
    }

    #[test]
    fn each_content_replaces_its_byte() {
        let large = vec![5; 70_000];
        let contents: [&[u8]; 3] = [&[7; 1], &[1, 0, 2], &large];
        // A data count, passive segments, a second memory, and a module that is not used.
        let component = |contents: [&str; 3]| {
            let [a, b, c] = contents;
            format!(
                r#"(core module (memory 2) (data (i32.const 3) "unused"))
                (core module $one
                  (memory 2)
                  (func (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 0)))
                  (data "passive") (data "") (data (i32.const 65530) "{a}"))
                (core module $two
                  (memory 2) (memory 2)
                  (data (memory 0) (i32.const 0) "{b}") (data (memory 1) (i32.const 9) "{c}")
                  (@custom "note" (after data) "of no interest"))
                (core instance (instantiate $two))
                (core instance (instantiate $one))"#
            )
        };
        let texts = contents.map(text);
        let whole = component([&texts[0], &texts[1], &texts[2]]);
        let whole = wat::parse_str(format!("(component {whole})")).expect("a component");
        let outline = component([r"\01"; 3]);
        assert!(laid_out(&outline, &contents).expect("laid out") == whole);
    }

    #[test]
    fn contents_without_a_place_are_an_error() {
        let module = r#"(core module (memory 1) (data (i32.const 3) "\01"))"#;
        let used = format!("{module} (core instance (instantiate 0))");
        assert!(laid_out(&used, &[b"content"]).is_ok());
        let two = used.replace(r"\01", r"\01\02");
        for (text, contents) in [
            (module, &[&b"content"[..]] as &[&[u8]]),
            (&used, &[]),
            (&used, &[b"one", b"two"]),
            (&two, &[b"content"]),
        ] {
            let error = laid_out(text, contents).expect_err(text);
            assert!(matches!(error, LayoutError::Misplaced), "{error}");
        }
    }

    #[test]
    fn numbers_are_encoded_as_webassembly_has_them() {
        assert_eq!(leb128(0), [0]);
        assert_eq!(leb128(127), [0x7f]);
        assert_eq!(leb128(128), [0x80, 1]);
        assert_eq!(leb128(624_485), [0xe5, 0x8e, 0x26]);
    }
}
