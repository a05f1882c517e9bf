//! Checks a component against the contract. Errors say what its author must change.

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentExternalKind, ComponentName, CustomSectionReader,
    KnownCustom, Parser, Payload,
};
use wasmtime::Store;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Lower, TypedFunc,
};
use wasmtime::error::Context as _;

use super::bindings::descriptor::Description;
use super::bindings::{DescribingPre, Error, Score, ServingPre};
use super::error::LoadError;
use super::output::one_line;
use super::runtime::Realm;
use super::state::State;
use predictor::RevisionName;

/// The interface that every guest must export.
const PREDICTOR: &str = "fastsentiment:predict/predictor@0.1.0";
/// Its function.
const PREDICT: &str = "predict";
/// The interface that a guest exports that describes itself.
const DESCRIPTOR: &str = "fastsentiment:predict/descriptor@0.1.0";
/// Its function.
const DESCRIBE: &str = "describe";
/// The interface that a guest exports that can refuse texts instead of truncating them.
const WHOLE_TEXTS: &str = "fastsentiment:predict/whole-texts@0.1.0";
/// Its function.
const PREDICT_WHOLE: &str = "predict-whole";
/// The function that a guest of the world `prepared-guest` exports.
pub(super) const PREPARE: &str = "prepare";

/// The package whose interface a guest reads its configuration through.
const CONFIG: &str = "wasi:config/";

/// The packages whose interfaces guests are given, with the versions that fit. Whether an
/// interface is in its package is for the linker to say.
const GIVEN: [(&str, &str); 8] = [
    ("wasi:cli", "0.2."),
    ("wasi:clocks", "0.2."),
    ("wasi:config", "0.2.0-rc.1"),
    ("wasi:filesystem", "0.2."),
    ("wasi:io", "0.2."),
    ("wasi:nn", "0.2.0-rc-2024-10-28"),
    ("wasi:random", "0.2."),
    ("wasi:sockets", "0.2."),
];

/// What a component says of itself in its sections.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct World {
    /// Its own name and version.
    pub(super) name: Option<RevisionName>,
    /// It is of the world `prepared-guest`, not of the world `guest`.
    pub(super) is_prepared: bool,
    /// It describes itself.
    pub(super) is_described: bool,
    /// It can refuse texts instead of truncating them.
    pub(super) is_whole: bool,
    /// It can read its configuration.
    pub(super) reads_configuration: bool,
}

/// Determines what a component uses, by the names of its imports and exports. This reads
/// sections only, so a component that is not a guest is refused before it is compiled.
pub(super) fn world(bytes: &[u8]) -> Result<World, LoadError> {
    if Parser::is_core_wasm(bytes) {
        return Err(LoadError::Contract(
            "it is a core module; build it as a component (target `wasm32-wasip2`)".to_owned(),
        ));
    }
    let names = Names::of(bytes).map_err(|error| LoadError::Compile(error.to_string()))?;
    if let Some(import) = &names.foreign_import {
        return Err(LoadError::Link(not_given(import)));
    }
    if names.is_asynchronous {
        return Err(LoadError::Link(
            "it uses asynchronous functions of the component model, which guests are not given; \
             with jco, `--backend-qjs-disable-async` builds JavaScript without them"
                .to_owned(),
        ));
    }
    let exports = |name: &str, kind, wanted| match kind {
        None => Ok(false),
        Some(found) if found == wanted => Ok(true),
        Some(_) if wanted == ComponentExternalKind::Func => Err(LoadError::Contract(format!(
            "its export `{name}` must be a function"
        ))),
        Some(_) => Err(LoadError::Contract(format!(
            "its export `{name}` must be an interface"
        ))),
    };
    let (function, interface) = (ComponentExternalKind::Func, ComponentExternalKind::Instance);
    if !exports(PREDICTOR, names.predictor, interface)? {
        return Err(LoadError::Contract(format!(
            "it must export the interface `{PREDICTOR}`; it exports {}",
            names.list()
        )));
    }
    let is_prepared = exports(PREPARE, names.prepare, function)?;
    if is_prepared && names.is_nested {
        return Err(LoadError::Prepare(
            "it has code in nested components, whose memory cannot be kept: build it without \
             `prepare`, for the world `guest`, or as one component"
                .to_owned(),
        ));
    }
    Ok(World {
        name: names.full_name(),
        is_prepared,
        is_described: exports(DESCRIPTOR, names.descriptor, interface)?,
        is_whole: exports(WHOLE_TEXTS, names.whole_texts, interface)?,
        reads_configuration: names.reads_configuration,
    })
}

/// Whether a name is that of an interface that guests are given. Other imports are left to
/// the linker.
fn is_given(import: &str) -> bool {
    let Some((package, rest)) = import.split_once('/') else {
        return true;
    };
    let version = rest.split_once('@').map_or("", |(_, version)| version);
    let mut given = GIVEN.iter();
    given.any(|(name, fits)| *name == package && version.starts_with(fits))
}

/// Why a component cannot import something, and what to do about it.
fn not_given(import: &str) -> String {
    let given = GIVEN.map(|(name, version)| format!("`{name}@{version}`"));
    let given = given.join(", ").replace(".`", ".x`");
    let hint = if import.starts_with("wasi:http/") {
        "; a guest has no network, and `componentize-js -d http fetch-event` builds JavaScript \
         without it"
    } else {
        ""
    };
    format!("the host does not provide its import `{import}`; guests are given {given}{hint}")
}

/// The names of a component's imports and exports, without those of nested components. There may be
/// millions, so only some names are kept.
#[derive(Default)]
struct Names {
    predictor: Option<ComponentExternalKind>,
    descriptor: Option<ComponentExternalKind>,
    whole_texts: Option<ComponentExternalKind>,
    prepare: Option<ComponentExternalKind>,
    reads_configuration: bool,
    is_asynchronous: bool,
    /// It has modules in nested components.
    is_nested: bool,
    name: Option<String>,
    version: Option<String>,
    /// The first import that guests are not given.
    foreign_import: Option<String>,
    /// The first names, for the error message.
    listed: Vec<String>,
    count: usize,
}

/// How many names of exports an error lists.
const LISTED_NAMES: usize = 8;
/// How much of each name an error shows, in bytes.
const LISTED_NAME: usize = 80;

impl Names {
    fn of(bytes: &[u8]) -> wasmparser::Result<Self> {
        let mut exports = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ModuleSection { .. } => {
                    exports.is_nested |= depth > 0;
                    depth += 1;
                }
                Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        let name = import?.name.name;
                        exports.reads_configuration |= name.starts_with(CONFIG);
                        if exports.foreign_import.is_none() && !is_given(name) {
                            exports.foreign_import = Some(one_line(name, LISTED_NAME));
                        }
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        let export = export?;
                        exports.add(export.name.name, export.kind);
                    }
                }
                Payload::ComponentCanonicalSection(section) => {
                    for function in section {
                        exports.is_asynchronous |= is_asynchronous(&function?);
                    }
                }
                Payload::CustomSection(section) if depth == 0 => exports.note(&section),
                _ => {}
            }
        }
        Ok(exports)
    }

    /// Reads a name or a version, as `wasm-tools metadata` writes them.
    fn note(&mut self, section: &CustomSectionReader) {
        match section.as_known() {
            KnownCustom::ComponentName(mut names) => {
                if let Some(Ok(ComponentName::Component { name, .. })) = names.next() {
                    self.name = Some(name.to_owned());
                }
            }
            _ if section.name() == "version" => {
                self.version = String::from_utf8(section.data().to_owned()).ok();
            }
            _ => {}
        }
    }

    /// The component's name with its version; none if that is not fit to be shown.
    fn full_name(&self) -> Option<RevisionName> {
        let name = self.name.as_ref()?;
        match &self.version {
            Some(version) => format!("{name}@{version}").parse().ok(),
            None => name.parse().ok(),
        }
    }

    fn add(&mut self, name: &str, kind: ComponentExternalKind) {
        match name {
            PREDICTOR => self.predictor = self.predictor.or(Some(kind)),
            DESCRIPTOR => self.descriptor = self.descriptor.or(Some(kind)),
            WHOLE_TEXTS => self.whole_texts = self.whole_texts.or(Some(kind)),
            PREPARE => self.prepare = self.prepare.or(Some(kind)),
            _ => {}
        }
        self.count += 1;
        if self.listed.len() < LISTED_NAMES {
            self.listed
                .push(format!("`{}`", one_line(name, LISTED_NAME)));
        }
    }

    fn list(&self) -> String {
        match self.count - self.listed.len() {
            _ if self.count == 0 => "nothing".to_owned(),
            0 => self.listed.join(", "),
            more => format!("{} and {more} more", self.listed.join(", ")),
        }
    }
}

/// Whether a component that has such a function must be run asynchronously.
fn is_asynchronous(function: &CanonicalFunction) -> bool {
    match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
            options.contains(&CanonicalOption::Async)
        }
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => false,
        _ => true,
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
    check_type::<(&[String],), (Result<Vec<Vec<Score>>, Error>,)>(&linked, PREDICTOR, PREDICT)
        .and_then(|()| ServingPre::new(linked))
        .map_err(|error| wrong_type(&error))
}

/// Like [`bind`], for a guest that describes itself.
pub(super) fn bind_descriptor(
    linked: InstancePre<State>,
) -> Result<DescribingPre<State>, LoadError> {
    check_type::<(), (Result<Description, String>,)>(&linked, DESCRIPTOR, DESCRIBE)
        .and_then(|()| DescribingPre::new(linked))
        .map_err(|error| wrong_type(&error))
}

/// The function of a guest that can refuse texts.
pub(super) struct WholeTexts {
    linked: InstancePre<State>,
    function: ComponentExportIndex,
}

/// What the function takes and gives.
pub(super) type PredictWhole<'a> = TypedFunc<(&'a [String],), (Result<Vec<Vec<Score>>, Error>,)>;

/// Like [`bind`], for a guest that can refuse texts instead of truncating them.
pub(super) fn bind_whole_texts(linked: InstancePre<State>) -> Result<WholeTexts, LoadError> {
    check_type::<(&[String],), (Result<Vec<Vec<Score>>, Error>,)>(
        &linked,
        WHOLE_TEXTS,
        PREDICT_WHOLE,
    )
    .map_err(|error| wrong_type(&error))?;
    let component = linked.component();
    let interface = component.get_export_index(None, WHOLE_TEXTS);
    let function = component.get_export_index(interface.as_ref(), PREDICT_WHOLE);
    let function = function.ok_or_else(|| {
        LoadError::Contract(format!("`{WHOLE_TEXTS}` has no function `{PREDICT_WHOLE}`"))
    })?;
    Ok(WholeTexts { linked, function })
}

impl WholeTexts {
    /// The function of a fresh instance.
    pub(super) async fn instantiate<'a>(
        &self,
        store: &mut Store<State>,
    ) -> wasmtime::Result<PredictWhole<'a>> {
        let instance = self.linked.instantiate_async(&mut *store).await?;
        instance.get_typed_func(&mut *store, self.function)
    }
}

fn wrong_type(error: &wasmtime::Error) -> LoadError {
    LoadError::Contract(format!("an export has the wrong type: {error:#}"))
}

/// Compares types before `prepare` runs: the generated bindings find exports by
/// name, and compare types only when they make an instance.
fn check_type<P, R>(
    linked: &InstancePre<State>,
    interface_name: &str,
    function_name: &str,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let engine = linked.engine();
    let component = linked.component().component_type();
    let interface = component.get_export(engine, interface_name);
    let Some(ComponentItem::ComponentInstance(interface)) = interface.map(|item| item.ty) else {
        return Err(wasmtime::format_err!(
            "`{interface_name}` is not an interface"
        ));
    };
    let function = interface.get_export(engine, function_name);
    let Some(ComponentItem::ComponentFunc(function)) = function.map(|item| item.ty) else {
        return Err(wasmtime::format_err!(
            "`{interface_name}` has no function `{function_name}`"
        ));
    };
    function
        .typecheck::<P, R>(&component.instance_type())
        .context(format!("`{function_name}`"))
}
