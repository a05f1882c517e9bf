//! Chooses what a server begins with: the revision that was live when the last server ended,
//! the configured guest, or, if that cannot be served, the fallback guest.
//!
//! A revision that is not trusted yet is on probation from the first request on, and another
//! one stands by for it.
//!
//! A file that changed while no server ran counts like one that changes while a server
//! runs.

mod candidates;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;

use super::candidate::revision;
use super::control::Revisions;
use super::desired::fetch::Installed;
use super::order::Order;
use super::registry::{Entry, Registry};
use super::state::{Configured, Keeper, KnownModels, Record, StateError, Store};
use super::{
    ConfigurationFileError, Loader, Metrics, Model, Options, Origin, Refusal, RevisionError, now,
    quarantine, watch,
};
use candidates::{Candidates, First};
use predictor::{ModelCard, Revision, Scorer};
use rollout::{Demotion, Rollout, Trust};

/// How often to check whether the live revision is trusted by now.
const NOTICE: Duration = Duration::from_secs(1);

/// Why there is no revision to begin with.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configured guest's file cannot be read.
    #[error("the guest {path} can not be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// The configured guest cannot be served.
    #[error("{path}: {refusal}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Which step failed, and why.
        refusal: Refusal,
    },
    /// The configured guest could not be tried, for a passing reason.
    #[error("{path} could not be loaded: {reason}")]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// What was lacking.
        reason: String,
    },
    /// The configuration of the configured guest cannot be read.
    #[error(transparent)]
    Configuration(#[from] ConfigurationFileError),
    /// The state directory is not safe.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The revision that a server begins with.
pub struct Beginning {
    installed: Installed,
    options: Options,
    record: Record,
    first: First,
    /// Its fallback, if it is to be on probation.
    standby: Option<First>,
    /// Why the configured guest is not served, if the reason may pass.
    obstacle: Option<String>,
}

impl Beginning {
    /// Chooses the first revision, and loads it: the one that was live at the end, if the
    /// configured guest's file and the configured `model` are as they were then; the configured
    /// guest with that model, if they are not, or if there is no state. If that cannot be
    /// served, the other one is tried, then those that were live before, and then the fallback
    /// guest. If the revision is not trusted yet, its fallback is loaded as well.
    ///
    /// With a rollout file, what that declares live is tried before all of these, and then
    /// what it declares trusted. This waits for artifacts to be pulled, and must be called on a
    /// thread of a runtime that may block.
    ///
    /// # Errors
    ///
    /// If none can be served: what is wrong with the configured guest. If other users can
    /// write to the state directory.
    pub fn choose(
        loader: Arc<dyn Loader>,
        model: Model,
        options: Options,
    ) -> Result<Self, StartError> {
        let store = match &options.state {
            Some(dir) => Store::open(dir)?.map(Arc::new),
            None => None,
        };
        let installed = Installed {
            loader,
            store,
            guest: options.guest.clone(),
            configuration: options.configuration.clone(),
            model: Arc::new(model),
            max_bytes: options.max_bytes,
            max_model_bytes: options.max_model_bytes,
        };
        let record = installed.store.as_ref().and_then(|store| {
            store.read(&KnownModels {
                configured: installed.model.digest,
                kept: store.models().digests(),
            })
        });
        let mut record = record.unwrap_or_default();
        let candidates = Candidates {
            installed: &installed,
            options: &options,
        };
        if let Some((first, standby)) = candidates.declared(&record) {
            record.configured = None;
            return Ok(Self {
                installed,
                options,
                record,
                first,
                standby,
                obstacle: None,
            });
        }
        let read = candidates.read_configured();
        let configured = read
            .as_ref()
            .ok()
            .map(|(component, configuration)| revision(component, configuration, &installed.model));
        let followed = configured.as_ref().filter(|_| options.rollout.is_none());
        let order = Order::of(&record, followed);
        if configured.is_some() && configured.as_ref() != record.file() {
            record.configured = configured.clone().map(|revision| Configured {
                revision,
                refused: None,
            });
        }
        let mut obstacle = read.as_ref().err().map(ToString::to_string);
        // A quarantined guest is the last resort.
        let known_bad = configured.as_ref();
        let known_bad = known_bad.filter(|revision| record.quarantined(revision).is_some());
        let before = candidates.kept(&order.before);
        let before = before.or_else(|| candidates.fallback(Some(known_bad?)));
        let first = match before {
            Some(found) => {
                match &read {
                    Err(error) => not_served(error, &found),
                    Ok(_) => passed_over(&record, &found),
                }
                found
            }
            None => match candidates.configured(read) {
                Ok(found) => {
                    served_at_last(&mut record);
                    found
                }
                Err(error) => {
                    if let StartError::Unavailable { .. } = error {
                        // Not settled: the file is tried again while the server runs.
                        record.configured = None;
                        obstacle = Some(error.to_string());
                    }
                    refused(&mut record, &error);
                    let instead = candidates.kept(&order.after);
                    let instead = instead.or_else(|| candidates.fallback(configured.as_deref()));
                    let Some(found) = instead else {
                        return Err(error);
                    };
                    not_served(&error, &found);
                    found
                }
            },
        };
        let standby = candidates.standby(&record, first.revision(), || None);
        if options.rollout.is_some() {
            // What is declared is wanted, and nothing else.
            (record.configured, obstacle) = (None, None);
        }
        Ok(Self {
            installed,
            options,
            record,
            first,
            standby,
            obstacle,
        })
    }

    /// The revision that is live once the registry has started.
    pub fn revision(&self) -> &Arc<Revision> {
        self.first.loaded.scorer.revision()
    }

    /// What the directory of its model says of it.
    pub fn card(&self) -> &Arc<ModelCard> {
        &self.first.loaded.card
    }

    /// Where its guest came from.
    pub fn origin(&self) -> &Origin {
        let mut known = self.record.revisions.iter();
        let kept = known.find(|kept| self.first.is_kept && kept.revision == *self.revision());
        kept.map_or(&self.first.origin, |kept| &kept.origin)
    }

    /// What a rollout has to begin with: the revision, or its fallback.
    pub fn scorer(&self) -> &Arc<dyn Scorer> {
        let begins = self.standby.as_ref().unwrap_or(&self.first);
        &begins.loaded.scorer
    }

    /// Whether it had to be compiled.
    pub fn compiled(&self) -> bool {
        self.first.loaded.compiled
    }
}

impl Revisions {
    /// Starts the registry. `rollout` must have begun with [`Beginning::scorer`], and not have
    /// been asked anything yet; `demotions` is its receiver. Background tasks run on
    /// `runtime`.
    ///
    /// # Errors
    ///
    /// If no thread can be started to watch the configured guest's file.
    pub fn start(
        beginning: Beginning,
        rollout: Arc<Rollout>,
        mut demotions: UnboundedReceiver<Demotion>,
        metrics: Metrics,
        runtime: &Handle,
    ) -> std::io::Result<Arc<Self>> {
        let Beginning {
            options, record, ..
        } = beginning;
        let entry = |first: First| {
            let revision = Arc::clone(first.revision());
            let mut kept = record.revisions.iter();
            let kept = kept.find(|kept| kept.revision == revision);
            let entry = Entry {
                origin: kept.map_or(first.origin, |kept| kept.origin.clone()),
                added: kept.map_or_else(now, |kept| kept.added),
                activated: kept.and_then(|kept| kept.activated),
                scorer: first.loaded.scorer,
                card: first.loaded.card,
                component: first.component.clone(),
                model: first.model,
            };
            (
                entry,
                (!first.is_kept).then_some((revision, first.component)),
            )
        };
        let (first, component) = entry(beginning.first);
        let standby = beginning.standby.map(entry);
        if let Some((standby, _)) = &standby {
            rollout.activate(Arc::clone(&first.scorer), Trust::OnProbation);
            tracing::info!(
                guest = first.revision().guest().short(),
                revision = first.revision().short(),
                standby = standby.revision().short(),
                "the revision is on probation, since it was not trusted before the start"
            );
        }
        let installed = beginning.installed;
        let models = models(installed.store.as_deref(), &installed.model);
        let mut registry = Registry::new(first, models, record, options.keep);
        registry.obstacle = beginning.obstacle;
        let keeper = installed.store.clone().and_then(Keeper::start);
        let (watch, desired) = (options.watch, options.rollout.clone());
        let revisions = Arc::new(Self {
            loader: Arc::clone(&installed.loader),
            rollout,
            options,
            metrics,
            loading: tokio::sync::Mutex::default(),
            registry: Mutex::new(registry),
            store: installed.store.clone(),
            keeper,
            conditions: Mutex::default(),
        });
        {
            let mut registry = revisions.registry();
            if let Some((standby, component)) = standby {
                registry.add(standby);
                revisions.settle(&mut registry, component);
            }
            revisions.settle(&mut registry, component);
        }
        let weak = Arc::downgrade(&revisions);
        runtime.spawn(Self::restore(weak.clone()));
        runtime.spawn(async move {
            loop {
                let told = tokio::time::timeout(NOTICE, demotions.recv()).await;
                let Some(revisions) = weak.upgrade() else {
                    return;
                };
                match told {
                    Ok(Some(demotion)) => revisions.demoted(&demotion),
                    Ok(None) => return,
                    Err(_) => revisions.notice_trust(),
                }
            }
        });
        if let Some(desired) = desired {
            if let Some(path) = desired.path() {
                watch::follow(&desired, path)?;
            }
            let revisions = Arc::downgrade(&revisions);
            runtime.spawn(Self::reconcile(revisions, desired, installed));
        } else if watch {
            watch::start(&revisions, runtime)?;
        }
        Ok(revisions)
    }
}

/// The models that a server begins with.
fn models(store: Option<&Store>, configured: &Arc<Model>) -> Vec<Arc<Model>> {
    let uploads = store.map(|store| {
        let models = store.models().digests().into_iter();
        models.map(|digest| Arc::new(store.model(digest)))
    });
    let mut models: Vec<_> = uploads.into_iter().flatten().collect();
    models.push(Arc::clone(configured));
    models
}

fn not_served(error: &StartError, instead: &First) {
    tracing::error!(
        "THE CONFIGURED GUEST IS NOT SERVED: {error}; the version {} is served instead",
        instead.revision().short()
    );
}

/// Logs why a readable configured guest is not served, if it cannot be.
fn passed_over(record: &Record, instead: &First) {
    let Some(Configured { revision, refused }) = &record.configured else {
        return;
    };
    let quarantine = record.quarantined(revision);
    let [configured, instead] = [revision, instead.revision()].map(|of| of.short());
    if let Some(entry) = quarantine {
        tracing::error!(
            "THE CONFIGURED GUEST IS NOT SERVED: {configured} is quarantined ({}); the version \
             {instead} is served instead",
            entry.reason
        );
    } else if let Some(reason) = refused {
        tracing::error!(
            "THE CONFIGURED GUEST IS NOT SERVED: {configured} was refused when it was deployed, \
             and is not tried again before that changes, or SIGHUP: {reason}; the version \
             {instead} is served instead"
        );
    }
}

/// Records that the configured guest is served after all.
fn served_at_last(record: &mut Record) {
    let Some(configured) = &mut record.configured else {
        return;
    };
    configured.refused = None;
    let revision = Arc::clone(&configured.revision);
    if let Some(entry) = record.quarantined(&revision) {
        tracing::error!(
            "THE CONFIGURED GUEST {} IS SERVED ALTHOUGH IT IS QUARANTINED ({}): no other version \
             can be",
            revision.short(),
            entry.reason
        );
    }
}

/// Records why the configured guest cannot be served, if that is certain.
fn refused(record: &mut Record, error: &StartError) {
    if let (StartError::Refused { refusal, .. }, Some(configured)) = (error, &mut record.configured)
    {
        let mut reason = RevisionError::from(refusal.clone()).to_string();
        quarantine::cut(&mut reason);
        configured.refused = Some(reason);
    }
}
