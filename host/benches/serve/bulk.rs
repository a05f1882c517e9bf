//! How near bulk requests come to ONNX Runtime on all cores: `predict --file`, and
//! lines of JSON over HTTP. Both are held against its texts a second, by the clock.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use inference::Library;

use crate::corpus::{Corpus, Lengths};
use crate::figures::spread;
use crate::pace::Pace;
use crate::process::{Server, binary};
use crate::raw::Raw;
use crate::settings::{NamedModel, Settings};

/// The rows of the shorter of two files. Its time is taken off that of the longer
/// one, so that what is left is without the start.
const FEW: usize = 512;

pub(crate) fn run(settings: &Settings) -> Vec<String> {
    // ONNX Runtime has one environment in a process.
    let library = Library::open(Some(&settings.library)).unwrap();
    let models = settings.models.iter();
    models
        .filter_map(|model| measure(settings, &library, model))
        .collect()
}

fn measure(settings: &Settings, library: &Library, model: &NamedModel) -> Option<String> {
    let corpus = Corpus::of(&model.dir);
    let mut raw = Raw::open(library, model, settings.cores);
    let work = raw.table(model, &corpus, Lengths::Mixed, settings.slice() * 6);
    let server = Server::start(settings, &model.dir, &["--cache-mib", "0"]);
    let folder = tempfile::tempdir().unwrap();
    let texts = if settings.quick { 2_000 } else { 10_000 };
    let (mut per_second, mut over_raw) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
    let mut pace = Pace::new(settings.cores);
    for _ in 0..settings.rounds {
        let compared = pace.compare(|pace| {
            let few = file(settings, model, folder.path(), &corpus, FEW);
            let more = file(settings, model, folder.path(), &corpus, FEW + texts);
            pace.look();
            let raw = raw.all_cores(&work, settings.slice()).texts_per_second;
            pace.look();
            let lines = over_http(&server, &corpus.texts(Lengths::Mixed, texts));
            [raw, texts as f64 / (more - few), texts as f64 / lines]
        });
        let Some(rates) = compared else { continue };
        let raw = rates[0];
        for (at, rate) in rates.into_iter().enumerate() {
            per_second[at].push(rate);
            over_raw[at].push(rate / raw);
        }
    }
    for (at, name) in ["raw", "file", "ndjson"].into_iter().enumerate() {
        let figure = |what: &str| model.figure(&format!("bulk_{name}_{what}"));
        spread(&figure("texts_per_s"), &per_second[at]);
        if at > 0 {
            spread(&figure("throughput_over_raw"), &over_raw[at]);
        }
    }
    pace.print(&model.figure("bulk_pace"));
    let unsteady = per_second[0].is_empty();
    unsteady.then(|| format!("{}: the machine was never steady", model.name))
}

/// Has `predict --file` score so many rows; how many seconds it takes.
fn file(
    settings: &Settings,
    model: &NamedModel,
    folder: &Path,
    corpus: &Corpus,
    rows: usize,
) -> f64 {
    let (from, to) = (folder.join("texts.csv"), folder.join("scored.csv"));
    // These texts hold nothing that CSV would quote.
    let texts = corpus.texts(Lengths::Mixed, rows).join("\n");
    std::fs::write(&from, format!("text\n{texts}\n")).unwrap();
    let mut command = binary("predict", settings, &model.dir);
    command.args(["--log", "warn", "--cache-mib", "0", "--file"]);
    command.arg(&from).arg("--out").arg(&to);
    let start = Instant::now();
    assert!(command.stderr(Stdio::null()).status().unwrap().success());
    let took = start.elapsed().as_secs_f64();
    let scored = std::fs::read_to_string(&to).unwrap();
    assert_eq!(scored.lines().count(), rows + 1);
    took
}

/// Sends lines of JSON and reads the answer; how many seconds it takes.
fn over_http(server: &Server, texts: &[String]) -> f64 {
    let body = format!("\"{}\"\n", texts.join("\"\n\""));
    let head = format!(
        "POST /predict HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\
         Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let start = Instant::now();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let mut sender = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        sender.write_all(head.as_bytes()).unwrap();
        sender.write_all(body.as_bytes()).unwrap();
    });
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    sending.join().unwrap();
    let took = start.elapsed().as_secs_f64();
    assert_eq!(answer.matches("{\"predictions\":").count(), texts.len());
    took
}
