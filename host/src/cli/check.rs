//! `fastsentiment check`.

use std::io::Write;
use std::process::ExitCode;

use fastsentiment::app::App;
use fastsentiment::cache;

use super::options::LoadOptions;
use super::{loaded, predict, runtime};

/// Loads everything that `serve` would load, predicts once, and says what was
/// found.
pub(super) fn run(options: LoadOptions) -> anyhow::Result<ExitCode> {
    let mut config = options.resolve()?;
    // Redis is tried by itself, and what is asked once is worth no cache.
    let redis = std::mem::take(&mut config.cache).redis;
    let runtime = runtime()?;
    let redis = runtime.block_on(reach(redis));
    let app = App::load(&config, &prometheus::Registry::new(), runtime.handle())?;
    let text = "What a wonderful day.".to_owned();
    let answer = runtime.block_on(predict::answer(app.service(), vec![text]))?;
    let version = app.version();
    writeln!(
        std::io::stdout(),
        "onnxruntime  {}\n\
         model        {} ({})\n\
         guest        {} ({}, {})\n\
         artefacts    {}\n\
         workers      {}, with {} thread(s) for each inference\n\
         compiler     at most {} MiB of memory\n\
         batches      {}; a short text takes {:.2} ms alone, {:.2} ms with others\n\
         redis        {redis}\n\
         answer       {answer}",
        app.onnxruntime().display(),
        config.model.display(),
        version.model.short(),
        config.guest.display(),
        version.guest.short(),
        loaded(app.compiled()),
        match &config.artifacts {
            Some(dir) => dir.display().to_string(),
            None => "not kept".to_owned(),
        },
        config.workers,
        config.threads,
        config.compiler.limits().memory >> 20,
        match app.batch_tokens() {
            1 => "of one text".to_owned(),
            tokens => format!("of up to {tokens} tokens"),
        },
        app.calibration().alone.as_secs_f64() * 1e3,
        app.calibration().together.as_secs_f64() * 1e3,
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Whether Redis can be used, in words. A server starts without it.
async fn reach(redis: Option<cache::RedisOptions>) -> String {
    let Some(redis) = redis else {
        return "not used".to_owned();
    };
    match redis.reach().await {
        Ok(()) => format!("{} answers", redis.address),
        Err(reason) => format!("{} can not be used: {reason}", redis.address),
    }
}
