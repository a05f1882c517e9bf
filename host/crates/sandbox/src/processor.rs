//! The processors that guests are compiled for.
//!
//! By default, wasmtime uses every feature of the processor it runs on, and other
//! machines may not be able to run the code. But images contain compiled guests, and
//! clusters have machines of several kinds. So guests are compiled for what common
//! processors share; newer features would not make guests noticeably faster.

use wasmtime::Config;

/// Cranelift's name for the features of servers since 2013 (Haswell, Zen): AVX2, BMI2
/// and FMA. Its `x86-64-v3` lacks AVX itself.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
const COMMON: &str = "haswell";

/// Compiles for all common processors if this is one of them, and for this processor
/// otherwise.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
pub(super) fn compile_for_all(config: &mut Config) {
    // With a named target, wasmtime does not use the features of this processor. The
    // target is that of this machine, so it is always supported.
    if !is_common() || config.target("x86_64-unknown-linux-gnu").is_err() {
        return;
    }
    // SAFETY: the flag allows instructions that `is_common` has found in this
    // processor. An engine refuses to load code with instructions that its processor
    // lacks.
    #[expect(unsafe_code, reason = "wasmtime has no safe way to name processors")]
    unsafe {
        config.cranelift_flag_enable(COMMON);
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
fn is_common() -> bool {
    is_x86_feature_detected!("avx")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("cmpxchg16b")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("sse4.2")
}

/// Compiles for this processor.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")))]
pub(super) fn compile_for_all(_: &mut Config) {}

#[cfg(all(test, target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
mod tests {
    use wasmtime::Engine;
    use wasmtime::component::Component;

    use super::*;

    /// Loads `code` as on a processor with the features that `has` reports.
    fn load(code: &[u8], has: fn(&str) -> Option<bool>) -> wasmtime::Result<Component> {
        let mut config = Config::new();
        compile_for_all(&mut config);
        // SAFETY: the code is not run, and was compiled by this test.
        #[expect(unsafe_code, reason = "no code is run")]
        unsafe {
            config.detect_host_feature(has);
            Component::deserialize(&Engine::new(&config)?, code)
        }
    }

    #[test]
    fn code_runs_on_older_processors() {
        if !is_common() {
            eprintln!("SKIPPED: this processor lacks a feature that guests are compiled for");
            return;
        }
        let mut config = Config::new();
        compile_for_all(&mut config);
        let engine = Engine::new(&config).expect("an engine");
        let code = engine
            .precompile_component(b"\0asm\x0d\0\x01\0")
            .expect("an empty component");
        let haswell = |name: &str| Some(!name.starts_with("avx512") && !name.contains("vnni"));
        load(&code, haswell).expect("every common processor has it");
        let older = |name: &str| Some(!name.starts_with("avx"));
        let refused = load(&code, older).expect_err("it lacks AVX");
        assert!(format!("{refused:#}").contains("avx"), "{refused:#}");
    }
}
