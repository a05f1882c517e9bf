//! Closed-loop load: each client sends its next request when it has the answer
//! to the last.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;

use crate::client::{Answer, Connection};
use crate::corpus::Rng;
use crate::process::{Server, machine_cpu};

/// The stack of a client's thread: it calls nothing deep.
pub(crate) const STACK: usize = 128 << 10;

/// Makes the requests of a client: many are prepared, some are new each time.
pub(crate) type Requests<'a> = dyn Fn(&mut Rng) -> Cow<'a, [u8]> + Sync + 'a;

/// What is done to a server.
pub(crate) struct Load<'a> {
    pub(crate) clients: usize,
    pub(crate) duration: Duration,
    /// How many texts each request holds.
    pub(crate) texts: usize,
    pub(crate) requests: &'a Requests<'a>,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Outcome {
    /// How many texts were answered, and how many of them the cache knew.
    pub(crate) texts: usize,
    pub(crate) hits: Option<usize>,
    /// How long each right answer took.
    pub(crate) latencies: Vec<Duration>,
    /// How often, and how long it took, by status or by what went wrong.
    pub(crate) errors: BTreeMap<String, Vec<Duration>>,
    pub(crate) spent: Spent,
}

/// What was used while something was measured, in seconds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) wall: f64,
    pub(crate) server: f64,
    pub(crate) client: f64,
    /// Other processes.
    pub(crate) others: f64,
}

impl Spent {
    /// The core-seconds that the server could have had.
    pub(crate) fn available(&self, cores: usize) -> f64 {
        cores as f64 * self.wall - self.client - self.others
    }
}

/// Reads all clocks, to be read again.
pub(crate) struct Clocks {
    wall: Instant,
    server: Duration,
    client: ProcessTime,
    machine: Duration,
}

impl Clocks {
    pub(crate) fn start(server: &Server) -> Self {
        Self {
            wall: Instant::now(),
            server: server.cpu(),
            client: ProcessTime::now(),
            machine: machine_cpu(),
        }
    }

    pub(crate) fn spent(&self, server: &Server) -> Spent {
        let client = self.client.elapsed().as_secs_f64();
        let used = server.cpu().saturating_sub(self.server).as_secs_f64();
        let machine = machine_cpu().saturating_sub(self.machine).as_secs_f64();
        Spent {
            wall: self.wall.elapsed().as_secs_f64(),
            server: used,
            client,
            others: (machine - used - client).max(0.0),
        }
    }
}

impl Outcome {
    /// Counts the answer to a request of `texts` texts.
    pub(crate) fn count(
        &mut self,
        answer: std::io::Result<Answer>,
        texts: usize,
        latency: Duration,
    ) {
        let error = match answer {
            Ok(answer) if answer.status == 200 && answer.predictions == texts => {
                self.texts += texts;
                if let Some(hits) = answer.hits {
                    *self.hits.get_or_insert_default() += hits;
                }
                self.latencies.push(latency);
                return;
            }
            Ok(answer) if answer.status == 200 => "wrong_answer".to_owned(),
            Ok(answer) => answer.status.to_string(),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => "no_answer_in_time".to_owned(),
                kind => format!("{kind:?}"),
            },
        };
        self.errors.entry(error).or_default().push(latency);
    }

    /// Adds what another client, or another round, has seen; not what was spent.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.texts += other.texts;
        if let Some(hits) = other.hits {
            *self.hits.get_or_insert_default() += hits;
        }
        self.latencies.extend(other.latencies);
        for (error, latencies) in other.errors {
            self.errors.entry(error).or_default().extend(latencies);
        }
    }

    pub(crate) fn texts_per_second(&self) -> f64 {
        self.texts as f64 / self.spent.wall
    }

    pub(crate) fn server_seconds_per_text(&self) -> f64 {
        self.spent.server / self.texts as f64
    }

    /// Texts for each core-second that the server could have had.
    pub(crate) fn texts_per_available(&self, cores: usize) -> f64 {
        self.texts as f64 / self.spent.available(cores)
    }

    /// How often each error occurred, in words; `None` without any.
    pub(crate) fn fault(&self) -> Option<String> {
        let counts: Vec<String> = self
            .errors
            .iter()
            .map(|(error, latencies)| format!("{error}: {}", latencies.len()))
            .collect();
        (!counts.is_empty()).then(|| counts.join(", "))
    }
}

impl Load<'_> {
    /// Runs the clients for the time that is given, and lets each finish its
    /// last request.
    pub(crate) fn run(&self, server: &Server) -> Outcome {
        let barrier = Barrier::new(self.clients + 1);
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients)
                .map(|_| {
                    std::thread::Builder::new()
                        .stack_size(STACK)
                        .spawn_scoped(scope, || {
                            barrier.wait();
                            self.client(server)
                        })
                        .unwrap()
                })
                .collect();
            let clocks = Clocks::start(server);
            barrier.wait();
            let mut all = Outcome::default();
            let seen: Vec<Outcome> = clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect();
            all.spent = clocks.spent(server);
            for outcome in seen {
                all.absorb(outcome);
            }
            all
        })
    }

    fn client(&self, server: &Server) -> Outcome {
        let mut rng = Rng::fresh();
        let mut connection = Connection::to(server.address);
        let mut outcome = Outcome::default();
        let start = Instant::now();
        while start.elapsed() < self.duration {
            let request = (self.requests)(&mut rng);
            let sent = Instant::now();
            let answer = connection.exchange(&request);
            let failed = answer.is_err();
            outcome.count(answer, self.texts, sent.elapsed());
            if failed {
                // A server that is gone must not turn its clients into a busy loop.
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        outcome
    }
}
