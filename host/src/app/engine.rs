//! What runs models here, as far as it decides scores.

use inference::Library;

/// Names the engine for the cache: servers whose names are equal give a text the same
/// scores and may share them.
///
/// The kind of processor is part of it: 8-bit models are multiplied by whatever
/// instructions it has, some of which saturate where others do not.
pub(super) fn name(library: &Library) -> String {
    format!("onnxruntime {} {}", library.version(), processor())
}

/// The instructions that ONNX Runtime multiplies 8-bit integers with.
#[cfg(target_arch = "x86_64")]
fn processor() -> &'static str {
    if is_x86_feature_detected!("avx512vnni") {
        "avx512vnni"
    } else if is_x86_feature_detected!("avxvnni") {
        "avxvnni"
    } else if is_x86_feature_detected!("avx512bw") {
        "avx512bw"
    } else if is_x86_feature_detected!("avx2") {
        "avx2"
    } else {
        "sse"
    }
}

/// The instructions that ONNX Runtime multiplies 8-bit integers with.
#[cfg(target_arch = "aarch64")]
fn processor() -> &'static str {
    use std::arch::is_aarch64_feature_detected;
    if is_aarch64_feature_detected!("i8mm") {
        "i8mm"
    } else if is_aarch64_feature_detected!("dotprod") {
        "dotprod"
    } else {
        "neon"
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn processor() -> &'static str {
    std::env::consts::ARCH
}
