//! Checks a component against the contract. Errors say what its author must change.

use wasmparser::{ComponentExternalKind, Parser, Payload};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};
use wasmtime::error::Context as _;

use super::bindings::{Error, Score, ServingPre};
use super::error::LoadError;
use super::output::one_line;
use super::runtime::Realm;
use super::state::State;

/// The interface that every guest must export.
const PREDICTOR: &str = "fastsentiment:predict/predictor@0.1.0";
/// Its function.
const PREDICT: &str = "predict";
/// The function that a guest of the world `prepared-guest` exports.
pub(super) const PREPARE: &str = "prepare";

/// The worlds of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum World {
    /// The world `guest`.
    Plain,
    /// The world `prepared-guest`.
    Prepared,
}

/// Determines a component's world by the names of its exports. This reads sections
/// only, so a component that is not a guest is refused before it is compiled.
pub(super) fn world(bytes: &[u8]) -> Result<World, LoadError> {
    if Parser::is_core_wasm(bytes) {
        return Err(LoadError::Contract(
            "it is a core module; build it as a component (target `wasm32-wasip2`)".to_owned(),
        ));
    }
    let exports = Exports::of(bytes).map_err(|error| LoadError::Compile(error.to_string()))?;
    match exports.predictor {
        Some(ComponentExternalKind::Instance) => {}
        Some(_) => {
            return Err(LoadError::Contract(format!(
                "its export `{PREDICTOR}` must be an interface"
            )));
        }
        None => {
            return Err(LoadError::Contract(format!(
                "it must export the interface `{PREDICTOR}`; it exports {}",
                exports.list()
            )));
        }
    }
    match exports.prepare {
        None => Ok(World::Plain),
        Some(ComponentExternalKind::Func) => Ok(World::Prepared),
        Some(_) => Err(LoadError::Contract(format!(
            "its export `{PREPARE}` must be a function"
        ))),
    }
}

/// The exports of a component, without those of nested components. There may be
/// millions, so only some names are kept.
#[derive(Default)]
struct Exports {
    predictor: Option<ComponentExternalKind>,
    prepare: Option<ComponentExternalKind>,
    /// The first names, for the error message.
    names: Vec<String>,
    count: usize,
}

/// How many names of exports an error lists.
const LISTED_NAMES: usize = 8;
/// How much of each name an error shows, in bytes.
const LISTED_NAME: usize = 80;

impl Exports {
    fn of(bytes: &[u8]) -> wasmparser::Result<Self> {
        let mut exports = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        let export = export?;
                        exports.add(export.name.name, export.kind);
                    }
                }
                _ => {}
            }
        }
        Ok(exports)
    }

    fn add(&mut self, name: &str, kind: ComponentExternalKind) {
        match name {
            PREDICTOR => self.predictor = self.predictor.or(Some(kind)),
            PREPARE => self.prepare = self.prepare.or(Some(kind)),
            _ => {}
        }
        self.count += 1;
        if self.names.len() < LISTED_NAMES {
            self.names
                .push(format!("`{}`", one_line(name, LISTED_NAME)));
        }
    }

    fn list(&self) -> String {
        match self.count - self.names.len() {
            _ if self.count == 0 => "nothing".to_owned(),
            0 => self.names.join(", "),
            more => format!("{} and {more} more", self.names.join(", ")),
        }
    }
}

/// Links a component's imports to the host's functions.
pub(super) fn link(realm: &Realm, component: &Component) -> Result<InstancePre<State>, LoadError> {
    realm
        .linker
        .instantiate_pre(component)
        .map_err(|error| LoadError::Link(format!("the host does not provide an import: {error:#}")))
}

/// Checks the types of the exports, so that calls need not.
pub(super) fn bind(linked: InstancePre<State>) -> Result<ServingPre<State>, LoadError> {
    check_types(&linked)
        .and_then(|()| ServingPre::new(linked))
        .map_err(|error| LoadError::Contract(format!("an export has the wrong type: {error:#}")))
}

/// Compares types before `prepare` runs: the generated bindings find exports by
/// name, and compare types only when they make an instance.
fn check_types(linked: &InstancePre<State>) -> wasmtime::Result<()> {
    let engine = linked.engine();
    let component = linked.component().component_type();
    let interface = component.get_export(engine, PREDICTOR).map(|item| item.ty);
    let Some(ComponentItem::ComponentInstance(interface)) = interface else {
        return Err(wasmtime::format_err!("`{PREDICTOR}` is not an interface"));
    };
    let function = interface.get_export(engine, PREDICT).map(|item| item.ty);
    let Some(ComponentItem::ComponentFunc(function)) = function else {
        return Err(wasmtime::format_err!(
            "`{PREDICTOR}` has no function `{PREDICT}`"
        ));
    };
    function
        .typecheck::<(&[String],), (Result<Vec<Vec<Score>>, Error>,)>(&component.instance_type())
        .context(format!("`{PREDICT}`"))
}
