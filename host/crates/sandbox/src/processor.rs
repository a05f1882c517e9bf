//! Which processors the code of guests is compiled for.
//!
//! Left to itself, wasmtime compiles for all that the machine has, and what one
//! machine has compiled is of no use to another. But images hold compiled guests,
//! and clusters have machines of several kinds. What newer processors could do
//! beyond this is not what guests spend their time with.

use wasmtime::Config;

/// Cranelift's name of what servers have had since 2013 (Haswell, Zen): AVX2,
/// BMI2 and FMA. Its `x86-64-v3` lacks AVX itself.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
const COMMON: &str = "haswell";

/// Has code compiled for processors of every kind that is in use, if this one
/// is one of them; otherwise for this one.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
pub(super) fn compile_for_all(config: &mut Config) {
    // With a target that is named, nothing of this machine is looked at. It is the
    // machine's own, so that it is known.
    if !is_common() || config.target("x86_64-unknown-linux-gnu").is_err() {
        return;
    }
    // SAFETY: these flags name instructions. An engine refuses at its start to
    // run code with any that the processor lacks.
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

/// Other machines compile for themselves.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")))]
pub(super) fn compile_for_all(_: &mut Config) {}

#[cfg(all(test, target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
mod tests {
    use wasmtime::Engine;
    use wasmtime::component::Component;

    use super::*;

    /// What an engine can do with `code` on a processor that has what `has` says.
    fn revived(code: &[u8], has: fn(&str) -> Option<bool>) -> wasmtime::Result<Component> {
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
    fn what_one_machine_compiles_is_good_for_an_older_one() {
        if !is_common() {
            eprintln!("SKIPPED: this processor is older than what is compiled for");
            return;
        }
        let mut config = Config::new();
        compile_for_all(&mut config);
        let engine = Engine::new(&config).expect("an engine");
        let code = engine
            .precompile_component(b"\0asm\x0d\0\x01\0")
            .expect("an empty component");
        let haswell = |name: &str| Some(!name.starts_with("avx512") && !name.contains("vnni"));
        revived(&code, haswell).expect("what every server has");
        let older = |name: &str| Some(!name.starts_with("avx"));
        let refused = revived(&code, older).expect_err("it lacks something");
        assert!(format!("{refused:#}").contains("avx"), "{refused:#}");
    }
}
