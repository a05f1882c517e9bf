//! What is written is read, what a former release has written is read, and nothing
//! else is.

use super::*;

/// The model of this server.
const MODEL: Digest = Digest([7; 32]);

fn present(guest: Digest) -> Revision {
    Revision::new(guest, MODEL, Revision::NO_CONFIGURATION)
}

fn revision(number: u8) -> Arc<Revision> {
    Arc::new(present(Digest([number; 32])))
}

fn full() -> Record {
    let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
    let kept = |number, origin, activated| KeptRevision {
        revision: revision(number),
        origin,
        added: at(1_700_000_000_123),
        activated,
    };
    Record {
        configured: Some(Configured {
            revision: revision(1),
            refused: Some("it has no `predict`".to_owned()),
        }),
        history: vec![revision(1), revision(0xab)],
        revisions: vec![
            kept(1, Origin::File("a \"b\"/ü.wasm".into()), Some(at(5))),
            kept(0xab, Origin::Upload, None),
        ],
        quarantine: vec![Quarantined {
            revision: revision(9),
            reason: "5 of its calls have failed:\n\"trap\"".to_owned(),
            since: at(6),
        }],
        trial: Some(KeptTrial {
            revision: revision(0xab),
            kind: TrialKind::Shadow,
            share: Share::new(0.1).unwrap(),
        }),
        standby: Some(revision(1)),
    }
}

/// A model that was uploaded to this server.
const KEPT: Digest = Digest([8; 32]);

fn parse(json: &[u8]) -> Result<Record, String> {
    let models = KnownModels {
        configured: MODEL,
        kept: vec![KEPT],
    };
    Record::parse(json, &models)
}

#[test]
fn what_was_written_is_read() {
    for record in [Record::default(), full()] {
        assert_eq!(parse(&record.to_json().unwrap()), Ok(record));
    }
}

/// As a release wrote it that knew a revision by its guest alone.
#[test]
fn a_document_of_the_former_format_is_read() {
    assert_eq!(parse(include_bytes!("format_1.json")), Ok(full()));
}

/// By a release that knew no probation and no refusals.
#[test]
fn a_former_document_with_fewer_fields_is_read() {
    let json = include_bytes!("format_1.json");
    let mut json: serde_json::Value = serde_json::from_slice(json).unwrap();
    let fields = json.as_object_mut().unwrap();
    assert!(fields.remove("refused").is_some() && fields.remove("standby").is_some());
    let read = parse(json.to_string().as_bytes()).unwrap();
    assert_eq!(read.standby, None);
    assert_eq!(read.configured.unwrap().refused, None);
    assert_eq!(read.history, full().history);
}

#[test]
fn a_revision_whose_model_is_gone_gets_the_configured_one() {
    let guest = Digest([5; 32]);
    let of = |model, configuration: u8| {
        let value = Some(configuration.to_string());
        let set = Configuration::NONE.with([("margin".to_owned(), value)]);
        let revision = Revision::new(guest, model, set.unwrap());
        Arc::new(revision.named("lexicon@1.2".parse().ok()))
    };
    let gone = Digest([3; 32]);
    let before = Record {
        configured: Some(Configured {
            revision: of(gone, 4),
            refused: None,
        }),
        history: vec![of(gone, 4), of(KEPT, 4)],
        quarantine: vec![Quarantined {
            revision: of(gone, 4),
            reason: "it failed with that model".to_owned(),
            since: SystemTime::UNIX_EPOCH,
        }],
        ..Record::default()
    };
    let read = parse(&before.to_json().unwrap()).unwrap();
    assert_eq!(read.history, [of(MODEL, 4), of(KEPT, 4)]);
    // The configured model has changed, and nothing is known against the new one.
    assert_eq!(read.configured, before.configured);
    assert_eq!(read.quarantine, before.quarantine);
    let name = read.history[0].name().map(ToString::to_string);
    assert_eq!(name.as_deref(), Some("lexicon@1.2"));
}

#[test]
fn a_document_cut_at_any_byte_is_not_read() {
    let json = full().to_json().unwrap();
    for end in 0..json.len() {
        assert!(parse(&json[..end]).is_err(), "{end}");
    }
}

#[test]
fn what_makes_no_sense_is_not_read() {
    let json = String::from_utf8(full().to_json().unwrap()).unwrap();
    let wrong = [
        ("\"format\": 2", "\"format\": 1"),
        ("\"format\": 2", "\"format\": 3"),
        ("0101", "01"),
        ("abab", "xyab"),
        ("0.1", "1.5"),
        ("0.1", "0"),
        ("shadow", "light"),
        ("\"history\"", "\"story\""),
        ("1700000000123", "18446744073709551616"),
        ("1700000000123", "-1"),
    ];
    for (old, new) in wrong {
        assert!(json.contains(old), "{old} is not in: {json}");
        let changed = json.replacen(old, new, 1);
        assert!(parse(changed.as_bytes()).is_err(), "{new}");
    }
}
