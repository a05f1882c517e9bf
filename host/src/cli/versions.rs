//! `fastsentiment versions`: the versions of a running server, as a table.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use http::admin::document::{Comparison, Entry, Listing, Name, Origin, Shown, Standing};
use reqwest::Method;

use super::admin_client::{Call, Client, ClientOptions, id};
use super::terminal;

/// Lists versions, or shows one.
#[derive(Args)]
pub(super) struct VersionsCommand {
    /// Show only this version, in detail: its digest, or the first 4 or more digits of it
    #[arg(value_name = "ID", value_parser = id)]
    id: Option<String>,

    #[command(flatten)]
    client: ClientOptions,
}

impl VersionsCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let client = Client::new(self.client)?;
        let now = SystemTime::now();
        match &self.id {
            None => client.run(Call::new(Method::GET, &["versions"]), |listing| {
                describe_listing(listing, now)
            }),
            Some(id) => client.run(Call::new(Method::GET, &["versions", id]), |entry| {
                describe_entry(entry, now)
            }),
        }
    }
}

/// A table of all versions, and details of those on probation, on trial or in quarantine.
fn describe_listing(listing: &Listing, now: SystemTime) -> String {
    let head = [
        "VERSION", "NAME", "GUEST", "MODEL", "STANDING", "SIZE", "ADDED", "TEXTS", "FAILURES",
        "ORIGIN",
    ];
    let row = |entry: &Entry| {
        [
            entry.name.revision_short.clone(),
            called(&entry.name),
            entry.name.short.clone(),
            entry.name.model_short.clone(),
            standing(entry.standing, entry.share),
            size(entry.size_bytes),
            ago(&entry.added, now),
            entry.texts.to_string(),
            entry.failures.to_string(),
            origin(&entry.origin),
        ]
    };
    let rows = listing.versions.iter().map(row);
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned))
        .chain(rows)
        .collect();
    let mut text = table(&rows);
    if let Some(fault) = &listing.configured_fault {
        let _ = writeln!(text, "the configured guest is not live: {fault}");
    }
    if let Some(probation) = &listing.probation {
        let _ = writeln!(
            text,
            "{} is on probation for another {:.0} s; its fallback is {}",
            listing.live.revision_short, probation.left_s, probation.fallback.revision_short
        );
    }
    if let Some(trial) = &listing.trial {
        let standing = standing(trial.standing, Some(trial.share));
        let _ = writeln!(
            text,
            "{} is on trial: {standing}",
            trial.name.revision_short
        );
        if let Some(comparison) = &trial.comparison {
            let _ = writeln!(text, "  {}", describe_comparison(comparison));
        }
    }
    for entry in listing
        .versions
        .iter()
        .filter(|entry| !entry.settings.is_empty())
    {
        let settings = describe_settings(&entry.settings);
        let _ = writeln!(text, "{} reads {settings}", entry.name.revision_short);
    }
    for entry in &listing.versions {
        if let Some(quarantine) = &entry.quarantine {
            let (short, since) = (&entry.name.revision_short, ago(&quarantine.since, now));
            let _ = writeln!(
                text,
                "{short} was quarantined {since}: {}",
                quarantine.reason
            );
        }
    }
    text
}

/// Everything that is known about one version.
fn describe_entry(entry: &Entry, now: SystemTime) -> String {
    let activated = entry.activated.as_deref();
    let mut lines = vec![
        ("revision", entry.name.revision.clone()),
        ("name", called(&entry.name)),
        ("guest", entry.name.guest.clone()),
        ("model", entry.name.model.clone()),
        ("standing", standing(entry.standing, entry.share)),
        ("size", size(entry.size_bytes)),
        (
            "added",
            format!("{} ({})", entry.added, ago(&entry.added, now)),
        ),
        (
            "last live",
            activated.map_or("never".to_owned(), |activated| {
                format!("{activated} ({})", ago(activated, now))
            }),
        ),
        ("origin", origin(&entry.origin)),
        ("model from", origin(&entry.model_origin)),
        ("settings", describe_settings(&entry.settings)),
        ("texts", entry.texts.to_string()),
        ("failures", entry.failures.to_string()),
    ];
    if let Some(quarantine) = &entry.quarantine {
        lines.push((
            "quarantine",
            format!("{} ({})", quarantine.reason, quarantine.since),
        ));
    }
    if let Some(comparison) = &entry.comparison {
        lines.push(("comparison", describe_comparison(comparison)));
    }
    let mut text = String::new();
    for (name, value) in lines {
        let _ = writeln!(text, "{name:<12}{value}");
    }
    text
}

/// What people call a version; `-` if it has no name.
fn called(name: &Name) -> String {
    let name = name.name.as_deref().map(terminal::escape);
    name.map_or_else(|| "-".to_owned(), |name| name.to_string())
}

/// What a guest reads, in a line.
pub(super) fn describe_settings(settings: &Shown) -> String {
    if settings.is_empty() {
        return "none".to_owned();
    }
    let shown = settings.iter().map(|(key, value)| match value {
        Some(value) => format!("{}={}", terminal::escape(key), terminal::escape(value)),
        None => format!("{} (hidden)", terminal::escape(key)),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn describe_comparison(comparison: &Comparison) -> String {
    let Comparison {
        texts,
        failed,
        skipped,
        ..
    } = comparison;
    let agreed = match comparison.agreement {
        Some(agreement) => format!(
            "{} agree; score differences: mean {:.4}, largest {:.4}",
            percent(agreement),
            comparison.mean_difference,
            comparison.largest_difference
        ),
        None => "no result yet".to_owned(),
    };
    format!("{texts} texts compared, {agreed}; {failed} failed, {skipped} skipped")
}

/// Aligns rows in columns; the last column is not padded.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn standing(standing: Standing, share: Option<f64>) -> String {
    let name = match standing {
        Standing::Live => "live",
        Standing::Canary => "canary",
        Standing::Shadow => "shadow",
        Standing::Ready => "ready",
        Standing::Quarantined => "quarantined",
    };
    match share {
        Some(share) => format!("{name} {}", percent(share)),
        None => name.to_owned(),
    }
}

/// A ratio in percent, with at most two decimals and no trailing zeros.
pub(super) fn percent(ratio: f64) -> String {
    let text = format!("{:.2}", ratio * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::File { path } => path.clone(),
        Origin::Upload => "upload".to_owned(),
        Origin::Artifact { reference } => reference.clone(),
    }
}

pub(super) fn size(bytes: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let bytes_f = bytes as f64;
    match bytes {
        0..=1023 => format!("{bytes} B"),
        1024..=1_048_575 => format!("{:.1} KiB", bytes_f / 1024.0),
        _ => format!("{:.1} MiB", bytes_f / 1_048_576.0),
    }
}

/// How long ago a time was. A time that cannot be parsed, or that is in the future by this
/// machine's clock, is returned as it is.
fn ago(time: &str, now: SystemTime) -> String {
    let since = humantime::parse_rfc3339(time).ok();
    let Some(since) = since.and_then(|time| now.duration_since(time).ok()) else {
        return time.to_owned();
    };
    match since.as_secs() {
        seconds @ 0..=59 => format!("{seconds} s ago"),
        seconds @ 60..=3599 => format!("{} min ago", seconds / 60),
        seconds @ 3600..=86_399 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::{Duration, UNIX_EPOCH};

    fn name(digit: &str) -> serde_json::Value {
        json!({
            "guest": "9".repeat(64), "short": "9".repeat(12),
            "model": "e".repeat(64), "model_short": "e".repeat(12),
            "revision": digit.repeat(64), "revision_short": digit.repeat(12),
            "configuration": "0".repeat(64), "name": (digit == "b").then_some("neutral@1.2"),
        })
    }

    fn with(name: serde_json::Value, more: serde_json::Value) -> serde_json::Value {
        let mut all = name;
        let serde_json::Value::Object(more) = more else {
            unreachable!("an object");
        };
        all.as_object_mut().unwrap().extend(more);
        all
    }

    fn entry(digit: &str, more: serde_json::Value) -> serde_json::Value {
        let usual = json!({
            "standing": "ready", "share": null, "quarantine": null, "comparison": null,
            "origin": {"kind": "upload"}, "model_origin": {"kind": "file", "path": "model"},
            "size_bytes": 2_831_155,
            "added": "2027-01-15T07:57:00Z", "activated": null,
            "texts": 0, "failures": 0,
        });
        with(with(name(digit), usual), more)
    }

    const NOW: SystemTime = UNIX_EPOCH;

    fn now() -> SystemTime {
        NOW + Duration::from_secs(1_800_000_000)
    }

    fn comparison() -> serde_json::Value {
        json!({
            "texts": 512, "agreed": 504, "agreement": 0.984_375, "mean_difference": 0.0031,
            "largest_difference": 0.21, "failed": 1, "skipped": 3,
        })
    }

    #[test]
    fn the_table_lists_versions_and_their_states() {
        let listing = json!({
            "live": name("a"),
            "probation": {"left_s": 211.7, "fallback": name("c")},
            "configured_fault": "guest.wasm cannot be read",
            "trial": with(name("b"), json!({
                "standing": "shadow", "share": 0.125, "comparison": comparison(),
            })),
            "versions": [
                entry("b", json!({"standing": "shadow", "share": 0.125})),
                entry("a", json!({"standing": "live", "texts": 1204, "failures": 2})),
                entry("d", json!({
                    "standing": "quarantined", "size_bytes": 900,
                    "quarantine": {"reason": "5 calls failed", "since": "2027-01-15T06:00:00Z"},
                })),
                entry("c", json!({
                    "origin": {"kind": "file", "path": "guest.wasm"},
                    "added": "2027-01-13T00:00:00Z", "size_bytes": 2048,
                })),
            ],
        });
        let listing: Listing = serde_json::from_value(listing).unwrap();
        let expected = "\
VERSION       NAME         GUEST         MODEL         STANDING       SIZE     ADDED      TEXTS  FAILURES  ORIGIN
bbbbbbbbbbbb  neutral@1.2  999999999999  eeeeeeeeeeee  shadow 12.5 %  2.7 MiB  3 min ago  0      0         upload
aaaaaaaaaaaa  -            999999999999  eeeeeeeeeeee  live           2.7 MiB  3 min ago  1204   2         upload
dddddddddddd  -            999999999999  eeeeeeeeeeee  quarantined    900 B    3 min ago  0      0         upload
cccccccccccc  -            999999999999  eeeeeeeeeeee  ready          2.0 KiB  2 d ago    0      0         guest.wasm
the configured guest is not live: guest.wasm cannot be read
aaaaaaaaaaaa is on probation for another 212 s; its fallback is cccccccccccc
bbbbbbbbbbbb is on trial: shadow 12.5 %
  512 texts compared, 98.44 % agree; score differences: mean 0.0031, largest 0.2100; 1 failed, 3 skipped
dddddddddddd was quarantined 2 h ago: 5 calls failed
";
        assert_eq!(describe_listing(&listing, now()), expected);
    }

    #[test]
    fn one_version_is_described_in_full() {
        let shown = entry(
            "a",
            json!({"comparison": comparison(), "standing": "shadow"}),
        );
        let shown: Entry = serde_json::from_value(shown).unwrap();
        let text = describe_entry(&shown, now());
        for words in [
            "revision    aaaa",
            "guest       9999",
            "model from  model",
            "added       2027-01-15T07:57:00Z (3 min ago)",
            "last live   never",
            "comparison  512 texts compared, 98.44 % agree;",
        ] {
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn invalid_and_future_times_are_shown_as_they_are() {
        for time in ["soon", "2027-01-15T08:00:01Z"] {
            assert_eq!(ago(time, now()), time);
        }
        assert_eq!(ago("2027-01-15T08:00:00Z", now()), "0 s ago");
    }

    #[test]
    fn ratios_and_sizes_are_short() {
        for (ratio, text) in [
            (1.0, "100 %"),
            (0.1, "10 %"),
            (0.001, "0.1 %"),
            (0.0, "0 %"),
        ] {
            assert_eq!(percent(ratio), text);
        }
        for (bytes, text) in [(0, "0 B"), (1024, "1.0 KiB"), (67_108_864, "64.0 MiB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
