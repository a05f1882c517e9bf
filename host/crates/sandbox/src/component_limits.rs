//! Limits on the size of a component, checked before it is compiled.
//!
//! A few bytes can declare a lot: memories, tables, instances and nesting. The
//! checks count what the sections declare, which takes milliseconds for any
//! component. They do not prove that compiling it is cheap; the compiler process
//! has limits of its own for that.
//!
//! The memory that instances start with is an *image*: all bytes between the first and
//! the last that is not zero. A load makes several copies of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use wasmparser::{ConstExpr, Data, DataKind, Instance, Operator, Parser, Payload};

use super::error::LoadError;
use super::runtime::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use super::state::MAX_TABLE_ELEMENTS;

/// The most functions of a guest. The default guest has 2,400; an interpreter of a
/// large language has about 20,000.
const MAX_FUNCTIONS: u64 = 100_000;

/// The most data segments of a guest. A snapshot has at most 10,000.
const MAX_DATA_SEGMENTS: u64 = 50_000;

/// The most element segments of a guest.
const MAX_ELEMENT_SEGMENTS: u64 = 10_000;

/// The most modules, nested components and instances of components in a guest.
const MAX_PARTS: u64 = 256;

/// The deepest nesting of these. The usual tools nest two deep.
const MAX_DEPTH: u64 = 8;

/// The largest image that every guest may have, in bytes, however little memory it has.
/// All copies together take no more than compiling the code of the default guest.
const MIN_IMAGE: usize = 32 << 20;

/// The largest image of a guest with at most `memory` bytes of memory. A load holds up to
/// four copies at a time, three of them in the compiler, and so takes at most 1.5 times the
/// memory; as `prepare` ends, there are all the memory and one copy.
fn most_image(memory: usize) -> u64 {
    MIN_IMAGE.max(memory / 8 * 3) as u64
}

/// Refuses an image of more bytes than a guest with at most `memory` bytes of memory may
/// start with. `what` names the bytes.
pub(super) fn check_image(what: &str, bytes: u64, memory: usize) -> Result<(), LoadError> {
    let most = most_image(memory);
    if bytes > most {
        return Err(LoadError::Size(format!(
            "it has {bytes} bytes {what}, from the first to the last that is not zero; at most \
             {most} are allowed for a guest with {memory} bytes of memory"
        )));
    }
    Ok(())
}

/// What a component declares.
#[derive(Default)]
struct Counts {
    depth: u64,
    deepest: u64,
    parts: u64,
    functions: u64,
    data_segments: u64,
    element_segments: u64,
    core_instances: u64,
    memories: u64,
    memory_bytes: u64,
    tables: u64,
    table_elements: u64,
    /// The images of the memories of all modules that have ended.
    image_bytes: u64,
    /// The images of the memories of the present module: where they begin and end.
    images: HashMap<u32, (u64, u64)>,
}

/// Reads a component of at most `limit` bytes from a file.
///
/// # Errors
///
/// The outer error if the file cannot be read; the inner error if the component has
/// more than `limit` bytes.
pub fn read_component(path: &Path, limit: usize) -> io::Result<Result<Vec<u8>, LoadError>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.take((limit as u64).saturating_add(1))
        .read_to_end(&mut bytes)?;
    // A file may grow while it is read, and a device has no length.
    let length = length.max(bytes.len() as u64);
    Ok(refuse_larger(length, limit).map(|()| bytes))
}

/// Refuses a component of more than `limit` bytes.
pub(super) fn check_size(bytes: &[u8], limit: usize) -> Result<(), LoadError> {
    refuse_larger(bytes.len() as u64, limit)
}

fn refuse_larger(length: u64, limit: usize) -> Result<(), LoadError> {
    if length > limit as u64 {
        return Err(LoadError::Size(format!(
            "it has {length} bytes; at most {limit} are allowed"
        )));
    }
    Ok(())
}

/// Refuses a component that declares more than a guest may have, such as more than
/// `memory` bytes of memory.
pub(super) fn check_structure(bytes: &[u8], memory: usize) -> Result<(), LoadError> {
    let counts = Counts::of(bytes).map_err(|error| LoadError::Compile(error.to_string()))?;
    let limits = [
        ("levels of nesting", counts.deepest, MAX_DEPTH),
        ("modules, components and instances", counts.parts, MAX_PARTS),
        ("functions", counts.functions, MAX_FUNCTIONS),
        ("data segments", counts.data_segments, MAX_DATA_SEGMENTS),
        (
            "element segments",
            counts.element_segments,
            MAX_ELEMENT_SEGMENTS,
        ),
        (
            "core instances",
            counts.core_instances,
            MAX_CORE_INSTANCES.into(),
        ),
        ("memories", counts.memories, MAX_MEMORIES.into()),
        (
            "bytes of initial memory",
            counts.memory_bytes,
            memory as u64,
        ),
        ("tables", counts.tables, MAX_TABLES.into()),
        (
            "initial elements in tables",
            counts.table_elements,
            MAX_TABLE_ELEMENTS as u64,
        ),
    ];
    if let Some((what, found, most)) = limits.into_iter().find(|(_, found, most)| found > most) {
        return Err(LoadError::Size(format!(
            "it has {found} {what}; at most {most} are allowed"
        )));
    }
    check_image("of initial data", counts.image_bytes, memory)
}

impl Counts {
    fn of(bytes: &[u8]) -> wasmparser::Result<Self> {
        let mut counts = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            counts.add(payload?)?;
            // It is refused already; deeper nesting need not be read.
            if counts.deepest > MAX_DEPTH {
                break;
            }
        }
        Ok(counts)
    }

    fn add(&mut self, payload: Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                self.parts += 1;
                self.depth += 1;
                self.deepest = self.deepest.max(self.depth);
            }
            Payload::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                let images = self.images.drain().map(|(_, (start, end))| end - start);
                self.image_bytes = images.fold(self.image_bytes, u64::saturating_add);
            }
            Payload::ComponentInstanceSection(section) => {
                self.parts += u64::from(section.count());
            }
            Payload::InstanceSection(section) => {
                for instance in section {
                    // The other kind only names existing items.
                    if let Instance::Instantiate { .. } = instance? {
                        self.core_instances += 1;
                    }
                }
            }
            Payload::FunctionSection(section) => self.functions += u64::from(section.count()),
            Payload::DataSection(section) => {
                self.data_segments += u64::from(section.count());
                // With more, it is refused already.
                if self.data_segments <= MAX_DATA_SEGMENTS {
                    for data in section {
                        self.add_data(&data?);
                    }
                }
            }
            Payload::ElementSection(section) => {
                self.element_segments += u64::from(section.count());
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let memory = memory?;
                    let page = 1_u64
                        .checked_shl(memory.page_size_log2.unwrap_or(16))
                        .unwrap_or(u64::MAX);
                    self.memories += 1;
                    let bytes = memory.initial.saturating_mul(page);
                    self.memory_bytes = self.memory_bytes.saturating_add(bytes);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    self.tables += 1;
                    let elements = table?.ty.initial;
                    self.table_elements = self.table_elements.saturating_add(elements);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Counts {
    fn add_data(&mut self, data: &Data<'_>) {
        let size = data.data.len() as u64;
        let active = match &data.kind {
            DataKind::Passive => None,
            DataKind::Active {
                memory_index,
                offset_expr,
            } => constant(offset_expr).map(|start| (*memory_index, start)),
        };
        match active {
            Some((memory, start)) if size > 0 => {
                let end = start.saturating_add(size);
                let image = self.images.entry(memory).or_insert((start, end));
                *image = (image.0.min(start), image.1.max(end));
            }
            // It is copied when the guest starts or asks for it, and is no part of an image.
            _ => self.image_bytes = self.image_bytes.saturating_add(size),
        }
    }
}

/// The value of an expression, if it is a number.
fn constant(expression: &ConstExpr<'_>) -> Option<u64> {
    match expression.get_operators_reader().read().ok()? {
        Operator::I32Const { value } => Some(value.cast_unsigned().into()),
        Operator::I64Const { value } => Some(value.cast_unsigned()),
        _ => None,
    }
}

#[cfg(any(test, fuzzing))]
pub mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: usize = 1 << 20;

    /// The error for a component with this text, if it is refused.
    fn refusal(text: &str) -> Option<String> {
        let bytes = wat::parse_str(format!("(component {text})")).expect("a component");
        let error = check_structure(&bytes, MEMORY).err()?;
        assert!(matches!(error, LoadError::Size(_)), "{error:?}");
        Some(error.to_string())
    }

    /// Asserts that `most` of something are accepted, and one more is not.
    fn assert_limit(most: u64, what: &str, text: impl Fn(u64) -> String) {
        assert_eq!(refusal(&text(most)), None, "{most} {what}");
        let said = refusal(&text(most + 1)).expect("one more is refused");
        for word in [what, &(most + 1).to_string(), &most.to_string()] {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
    }

    fn repeated(piece: &str, times: u64) -> String {
        piece.repeat(usize::try_from(times).expect("few"))
    }

    #[test]
    fn the_declarations_of_modules_are_limited() {
        let module =
            |piece: &'static str| move |times| format!("(core module {})", repeated(piece, times));
        assert_limit(MAX_FUNCTIONS, "functions", module("(func)"));
        assert_limit(MAX_DATA_SEGMENTS, "data segments", module("(data \"\")"));
        let elements = module("(elem func)");
        assert_limit(MAX_ELEMENT_SEGMENTS, "element segments", elements);
        assert_limit(MAX_MEMORIES.into(), "memories", module("(memory 1)"));
        assert_limit(MAX_TABLES.into(), "tables", module("(table 1 funcref)"));
    }

    #[test]
    fn initial_memory_and_tables_are_limited() {
        let pages = (MEMORY >> 16) as u64;
        let memory = |pages| format!("(core module (memory {pages}))");
        assert_eq!(refusal(&memory(pages)), None);
        let said = refusal(&memory(pages + 1)).expect("refused");
        assert!(said.contains("1114112 bytes of initial memory"), "{said}");
        // Of all memories together, and however large the number is.
        let two = format!("{}{}", memory(pages / 2), memory(pages / 2 + 1));
        assert!(refusal(&two).is_some());
        let huge = "(core module (memory i64 0x1000000000000))";
        assert!(refusal(huge).is_some());
        let elements = |count| format!("(core module (table {count} funcref))");
        assert_limit(MAX_TABLE_ELEMENTS as u64, "elements", elements);
    }

    #[test]
    fn the_image_of_the_memory_is_limited() {
        let most = most_image(MEMORY);
        assert_eq!(most, 32 << 20);
        assert_eq!(most_image(512 << 20), 192 << 20);
        // Between two bytes, in two memories, and in two modules.
        let data =
            |memory: u32, at: u64| format!(r#"(data (memory {memory}) (i32.const {at}) "x")"#);
        let memories = "(memory 1) (memory 1)";
        let two =
            |second: u64| format!("(core module {memories} {}{})", data(0, 9), data(0, second));
        assert_eq!(refusal(&two(8 + most)), None);
        let said = refusal(&two(9 + most)).expect("refused");
        for word in ["33554433 bytes of initial data", "33554432"] {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
        let half = |memory| data(memory, 0) + &data(memory, most / 2);
        let both = format!("(core module {memories} {}{})", half(0), half(1));
        assert!(refusal(&both).is_some());
        let each = format!("(core module {memories} {})", half(0));
        assert_eq!(refusal(&each), None);
        assert!(refusal(&each.repeat(2)).is_some());
        let large = "x".repeat(usize::try_from(most).expect("it fits") + 1);
        assert!(refusal(&format!(r#"(core module (data "{large}"))"#)).is_some());
    }

    #[test]
    fn the_parts_of_a_component_are_limited() {
        let parts = |times| repeated("(core module)", times);
        assert_limit(MAX_PARTS, "modules, components and instances", parts);
        let instances = |times| {
            let instances = repeated("(core instance (instantiate $m))", times);
            format!("(core module $m) {instances}")
        };
        assert_limit(MAX_CORE_INSTANCES.into(), "core instances", instances);
        let nested = |times| format!("{}{}", repeated("(component", times), repeated(")", times));
        assert_limit(MAX_DEPTH, "levels of nesting", nested);
    }

    #[test]
    fn a_component_may_have_as_many_bytes_as_the_limit() {
        assert!(check_size(&[0; 100], 100).is_ok());
        let said = check_size(&[0; 101], 100)
            .expect_err("too large")
            .to_string();
        assert!(said.contains("101 bytes") && said.contains("100"), "{said}");
    }

    #[test]
    fn an_endless_file_is_not_read_to_its_end() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), [7; 100]).expect("written");
        let read = |limit| read_component(file.path(), limit).expect("readable");
        assert_eq!(read(100).expect("not too large"), [7; 100]);
        assert!(matches!(read(99), Err(LoadError::Size(_))));
        #[cfg(unix)]
        assert!(matches!(
            read_component(Path::new("/dev/zero"), 1000),
            Ok(Err(LoadError::Size(_)))
        ));
    }
}
