//! Servers that follow one rollout file, a real registry, and the commands around them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use testing::registry::RegistryServer;

use crate::admin::swapping::{Said, command, on};
use crate::harness::{example_path, fixture, guest_path};
use crate::push::{keys, pushed, sign};
use crate::server_process::ServerProcess;

/// A directory as the kubelet mounts a `ConfigMap`: what is in it changes by one link.
struct Mounted {
    dir: TempDir,
    /// How often it has changed.
    changes: u32,
}

impl Mounted {
    fn with(content: &str) -> Self {
        let dir = TempDir::new().unwrap();
        symlink("..data/rollout.toml", dir.path().join("rollout.toml")).unwrap();
        let mut mounted = Self { dir, changes: 0 };
        mounted.change(content);
        mounted
    }

    fn change(&mut self, content: &str) {
        self.changes += 1;
        let name = format!("..2026_{}", self.changes);
        let dir = self.dir.path().join(&name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("rollout.toml"), content).unwrap();
        let link = self.dir.path().join("..data_tmp");
        symlink(&name, &link).unwrap();
        fs::rename(&link, self.dir.path().join("..data")).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("rollout.toml")
    }

    fn server(&self, state: &Path) -> ServerProcess {
        let (file, state) = (self.file(), state.to_str().unwrap().to_owned());
        let options = ["--state", &state, "--rollout", file.to_str().unwrap()];
        ServerProcess::with(&fixture("tiny-bert"), &options)
    }
}

/// `fastsentiment status` of several servers.
fn status(servers: &[&ServerProcess], arguments: &[&str]) -> Said {
    let mut asked = command(&[&["status"], arguments].concat());
    for server in servers {
        asked.args(["--admin", &server.admin_url("/")]);
    }
    asked.output().unwrap().into()
}

/// Waits until all follow a generation.
#[track_caller]
fn wait_for(servers: &[&ServerProcess], generation: u64) -> String {
    let generation = generation.to_string();
    let said = status(servers, &["--wait", "120s", "--generation", &generation]);
    let logs: Vec<_> = servers.iter().map(|server| server.log()).collect();
    assert_eq!(said.code, Some(0), "{said:?}\n{}", logs.join("\n"));
    said.stdout
}

/// How many labels it answers with: the guests and models here differ in that.
pub(crate) async fn labels(server: &ServerProcess) -> usize {
    let answer = server.post(&["Is it?".to_owned()]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["predictions"][0].as_array().unwrap().len()
}

#[tokio::test]
async fn a_fleet_follows_one_file_and_needs_the_registry_only_for_what_is_new() {
    let dir = TempDir::new().unwrap();
    let registry = RegistryServer::start(dir.path(), "");
    let address = registry.address.clone();
    let push = |name: &str, option: &str, path: &Path| {
        let reference = format!("oci://{address}/{name}:v1");
        let plain = ["--registry-plain-http", &address];
        let path = [option, path.to_str().unwrap()];
        pushed(&[&[reference.as_str()][..], &plain, &path].concat())
            .trim_end()
            .to_owned()
    };
    let lexicon = push("lexicon", "--guest", &example_path("lexicon"));
    let guest = push("guest", "--guest", guest_path());
    let model = push("model", "--model", &fixture("tiny-distilbert-5"));
    let content = |generation: u64, guest: &str, rest: &str| {
        format!(
            "generation = {generation}\n[live]\nguest = \"{guest}\"\n{rest}\n\
             [pull]\nspread_seconds = 1\nplain_http = [\"{address}\"]\n"
        )
    };
    let mut file = Mounted::with(&content(1, &lexicon, ""));
    let states: Vec<_> = (0..3)
        .map(|at| dir.path().join(format!("state{at}")))
        .collect();
    let mut servers: Vec<_> = states.iter().map(|state| file.server(state)).collect();
    {
        let all: Vec<_> = servers.iter().collect();
        let said = wait_for(&all, 1);
        assert!(said.ends_with("3 of 3 in sync at generation 1\n"), "{said}");
        for server in &all {
            // At their start already.
            assert!(server.greeting.contains(&lexicon), "{}", server.greeting);
            assert_eq!(labels(server).await, 2);
        }
        // Another guest and another model, with a canary beside them.
        let canary = format!("model = \"{model}\"\n[canary]\nshare = 0.5\nguest = \"{lexicon}\"");
        file.change(&content(2, &guest, &canary));
        wait_for(&all, 2);
        let texts: Vec<_> = (0..40).map(|at| format!("text {at}")).collect();
        let mut answers = Vec::new();
        for server in &all {
            let predictions = server.predict(&texts).await;
            let count = |prediction: &Value| prediction.as_array().unwrap().len();
            answers.push(predictions.iter().map(count).collect::<Vec<_>>());
        }
        // Every server gives one text to the same revision.
        assert!(answers.iter().all(|of_one| *of_one == answers[0]));
        assert!(
            answers[0].contains(&2) && answers[0].contains(&5),
            "{answers:?}"
        );
        file.change(&content(3, &guest, &format!("model = \"{model}\"")));
        wait_for(&all, 3);
        assert_eq!(labels(all[0]).await, 5);
    }

    // Without the registry, what is known is still found, after restarts too.
    drop(registry);
    drop(servers.pop());
    let restarted = file.server(&states[2]);
    assert_eq!(labels(&restarted).await, 5);
    servers.push(restarted);
    let all: Vec<_> = servers.iter().collect();
    wait_for(&all, 3);
    file.change(&content(4, &lexicon, ""));
    wait_for(&all, 4);

    // What is not known leaves what serves, and is said.
    let unknown = format!("oci://{address}/other@sha256:{}", "0".repeat(64));
    file.change(&content(5, &unknown, ""));
    let said = status(&all, &["--wait", "5s", "--generation", "5"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        said.stdout.contains("0 of 3 in sync at generation 5"),
        "{said:?}"
    );
    assert!(said.stdout.contains("cannot be reached"), "{said:?}");
    for server in &all {
        assert_eq!(labels(server).await, 2);
    }
    // A new one serves what its image brings.
    let newcomer = file.server(&dir.path().join("new"));
    assert_eq!(labels(&newcomer).await, 2);
    assert_eq!(status(&[&newcomer], &[]).code, Some(3));
    assert!(
        newcomer.log().contains("cannot be reached"),
        "{}",
        newcomer.log()
    );
}

#[tokio::test]
async fn what_nobody_trusted_has_signed_is_refused_at_verify() {
    let dir = TempDir::new().unwrap();
    let registry = RegistryServer::start(dir.path(), "");
    let address = registry.address.as_str();
    let reference = format!("oci://{address}/guest:v1");
    let guest = dir.path().join("lexicon.wasm");
    fs::copy(example_path("lexicon"), &guest).unwrap();
    let (plain, path) = (["--registry-plain-http", address], guest.to_str().unwrap());
    let pushed = pushed(&[&[reference.as_str(), "--guest", path][..], &plain].concat());
    let [private, public] = keys(dir.path(), "mine");
    let content = |generation: u64, guest: &str| {
        format!(
            "generation = {generation}\n[live]\nguest = \"{guest}\"\n[pull]\nspread_seconds = 0\nplain_http = \
             [\"{address}\"]\n[trust]\nkeys = [\"{}\"]\n",
            public.display()
        )
    };
    let mut file = Mounted::with(&content(1, pushed.trim_end()));
    let server = file.server(&dir.path().join("state"));
    let said = status(&[&server], &[]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.stdout.contains("live: verify: ") && said.stdout.contains("no signature"));
    // What is configured came with the program.
    assert_eq!(labels(&server).await, 2);
    file.change(&content(2, path));
    let said = status(&[&server], &["--wait", "3s", "--generation", "2"]);
    assert!(
        said.stdout.contains("lexicon.wasm is not trusted"),
        "{said:?}"
    );
    // It is signed later than it is declared.
    sign(&guest, &private);
    wait_for(&[&server], 2);
    let said = status(&[&server], &["--json"]);
    let document: Value = serde_json::from_str(&said.stdout).unwrap();
    let live = &document[0]["status"]["rollout"]["declared"][0];
    assert_eq!(live["signed_by"][0], public.to_str().unwrap());
}

#[tokio::test]
async fn commands_override_a_file_only_if_they_say_so() {
    let dir = TempDir::new().unwrap();
    let lexicon = example_path("lexicon");
    let content = format!(
        "generation = 1\n[live]\nguest = \"{}\"\n",
        lexicon.display()
    );
    let mut file = Mounted::with(&content);
    let server = file.server(&dir.path().join("state"));
    wait_for(&[&server], 1);
    let guest = guest_path().to_str().unwrap();
    let said = on(&server, &["swap", guest]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.stderr.contains("rollout.toml decides"), "{said:?}");
    let said = on(&server, &["swap", guest, "--override"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = on(&server, &["status"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.stdout.contains("Degraded, overridden"), "{said:?}");
    let said = on(&server, &["reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    wait_for(&[&server], 1);

    // What a change would be, before it is made.
    let next = dir.path().join("next.toml");
    fs::write(
        &next,
        "generation = 2\n[live]\nguest = \"oci://registry.example/g:v1\"\n",
    )
    .unwrap();
    let path = next.to_str().unwrap();
    for arguments in [["rollout", "check", path], ["rollout", "plan", path]] {
        let said = on(&server, &arguments);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains("has no digest"), "{said:?}");
    }
    fs::write(&next, "generation = 2\n").unwrap();
    let said = on(&server, &["rollout", "check", path]);
    assert_eq!(
        said.stdout,
        "generation 2\nlive: guest that of --guest, model that of --model\n"
    );
    let said = on(&server, &["rollout", "plan", path]);
    let expected = format!(
        "generation: 1 -> 2\nlive: guest {}, model that of --model -> guest that of --guest, \
         model that of --model\n",
        lexicon.display()
    );
    assert_eq!((said.code, said.stdout), (Some(0), expected));
    file.change("generation = 2\n");
    wait_for(&[&server], 2);
}

#[tokio::test]
async fn a_server_that_is_killed_at_any_step_goes_on_from_there() {
    let dir = TempDir::new().unwrap();
    let registry = RegistryServer::start(dir.path(), "");
    let address = registry.address.as_str();
    let push = |name: &str, option: &str, path: &Path| {
        let reference = format!("oci://{address}/{name}:v1");
        let path = [option, path.to_str().unwrap()];
        let plain = ["--registry-plain-http", address];
        let line = pushed(&[&[reference.as_str()][..], &plain, &path].concat());
        line.trim_end().to_owned()
    };
    let models = ["tiny-distilbert-5", "tiny-multilabel", "tiny-roberta"];
    let models = models.map(|name| push(name, "--model", &fixture(name)));
    let content = |generation: u64, model: &str| {
        format!(
            "generation = {generation}\n[live]\nmodel = \"{model}\"\n\
             [pull]\nspread_seconds = 0\nplain_http = [\"{address}\"]\n"
        )
    };
    let mut file = Mounted::with("generation = 1\n");
    let state = dir.path().join("state");
    let mut generation = 1;
    // From before it is read to after it is live.
    for milliseconds in [100, 400, 600, 800, 1200, 2000] {
        let server = file.server(&state);
        wait_for(&[&server], generation);
        generation += 1;
        let model = &models[usize::try_from(generation).unwrap() % models.len()];
        file.change(&content(generation, model));
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        // Killed.
        drop(server);
    }
    let server = file.server(&state);
    let said = wait_for(&[&server], generation);
    assert!(said.contains("1 of 1 in sync"), "{said}");
    labels(&server).await;
    // Nothing is left of what was cut off.
    for entry in fs::read_dir(state.join("models")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert_eq!(name.len(), 64, "{name}");
    }
}
