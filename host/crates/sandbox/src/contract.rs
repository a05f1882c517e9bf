//! Checking a component against the contract, with an error that says what its
//! author has to change.

use wasmparser::{ComponentExternalKind, Parser, Payload};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};
use wasmtime::error::Context as _;

use super::bindings::{Error, Score, ServingPre};
use super::error::LoadError;
use super::output::fit;
use super::runtime::Realm;
use super::state::State;

/// The interface that every guest exports.
const PREDICTOR: &str = "fastsentiment:predict/predictor@0.1.0";
/// Its function.
const PREDICT: &str = "predict";
/// The function that some guests export.
pub(super) const PREPARE: &str = "prepare";

/// The worlds of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum World {
    /// The world `guest`.
    Plain,
    /// The world `prepared-guest`.
    Prepared,
}

/// Finds out which world a component belongs to, by the names of its exports.
/// This takes no time, so that what can not be a guest is never compiled.
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
                "it exports `{PREDICTOR}`, but not as an interface"
            )));
        }
        None => {
            return Err(LoadError::Contract(format!(
                "it must export the interface `{PREDICTOR}`; it exports {}",
                exports.told()
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

/// The exports of the component itself, not of what it is made of, as far as they
/// are of interest: there may be millions.
#[derive(Default)]
struct Exports {
    predictor: Option<ComponentExternalKind>,
    prepare: Option<ComponentExternalKind>,
    /// The first of all names, to be told.
    names: Vec<String>,
    count: usize,
}

/// How many names of exports are told, and how much of each, in bytes.
const TOLD_NAMES: usize = 8;
const TOLD_NAME: usize = 80;

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
        if self.names.len() < TOLD_NAMES {
            self.names.push(format!("`{}`", fit(name, TOLD_NAME)));
        }
    }

    fn told(&self) -> String {
        match self.count - self.names.len() {
            _ if self.count == 0 => "nothing".to_owned(),
            0 => self.names.join(", "),
            more => format!("{} and {more} more", self.names.join(", ")),
        }
    }
}

/// Connects a component's imports to what the host provides.
pub(super) fn link(realm: &Realm, component: &Component) -> Result<InstancePre<State>, LoadError> {
    realm
        .linker
        .instantiate_pre(component)
        .map_err(|error| LoadError::Link(format!("an import can not be met: {error:#}")))
}

/// Checks the types of the exports, once and for all.
pub(super) fn bind(linked: InstancePre<State>) -> Result<ServingPre<State>, LoadError> {
    check_types(&linked)
        .and_then(|()| ServingPre::new(linked))
        .map_err(|error| LoadError::Contract(format!("an export has the wrong type: {error:#}")))
}

/// The generated bindings look exports up by name; their types they compare
/// only in an instance, which for a guest means after it was prepared.
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
