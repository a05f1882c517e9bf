//! What is read from manifests, and what is refused.

use serde_json::{Value, json};

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn layer(media_type: &str, title: Option<&str>) -> Value {
    let annotations = title.map(|title| json!({ TITLE: title }));
    json!({"mediaType": media_type, "digest": DIGEST, "size": 7, "annotations": annotations})
}

fn manifest(layers: &[Value]) -> Vec<u8> {
    let config = layer(EMPTY_CONFIG, None);
    let document = json!({"schemaVersion": 2, "config": config, "layers": layers});
    serde_json::to_vec(&document).unwrap()
}

fn model_of(titles: &[&str]) -> Result<Vec<Blob>, Fault> {
    let layers: Vec<_> = titles
        .iter()
        .map(|title| layer("x/y", Some(title)))
        .collect();
    Sort::Model.files(&manifest(&layers))
}

#[test]
fn a_guest_is_one_layer_of_each_type_that_tools_use() {
    for media_type in WASM_LAYERS {
        let files = Sort::Guest.files(&manifest(&[layer(media_type, Some("any/../name"))]));
        let [file] = files.unwrap().try_into().unwrap();
        assert_eq!((file.name.as_str(), file.size), (GUEST, 7));
        assert_eq!(file.digest, Digest::EMPTY);
    }
    let of = |layers: &[Value]| Sort::Guest.files(&manifest(layers)).unwrap_err();
    let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
    assert_eq!(of(&[layer(tar, None)]), Fault::MediaType(tar.into()));
    assert_eq!(of(&[]), Fault::Layers(0));
    let wasm = layer(WASM_LAYER, None);
    assert_eq!(of(&[wasm.clone(), wasm]), Fault::Layers(2));
}

#[test]
fn a_model_is_a_layer_for_each_file() {
    let files = model_of(&["config.json", "model.onnx", "vocab süß.txt"]).unwrap();
    let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["config.json", "model.onnx", "vocab süß.txt"]);
}

#[test]
fn a_file_name_cannot_lead_out_of_the_directory() {
    let long = "x".repeat(256);
    for name in [
        "",
        ".",
        "..",
        "../x",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:x",
        ".hidden",
        ".manifest.json",
        "a\0b",
        "a\nb",
        "a\u{202e}b",
        &long,
    ] {
        assert!(matches!(model_of(&[name]), Err(Fault::Name(_))), "{name:?}");
    }
}

#[test]
fn two_files_cannot_have_one_name() {
    let error = model_of(&["a", "b", "A"]).unwrap_err();
    assert_eq!(error, Fault::Duplicate("A".into()));
}

#[test]
fn what_is_not_one_file_for_each_layer_is_refused() {
    let of = |layers: &[Value]| Sort::Model.files(&manifest(layers)).unwrap_err();
    assert_eq!(of(&[layer("x/y", None)]), Fault::NoName);
    let mut packed = layer("x/y", Some("onnx"));
    packed["annotations"][UNPACK] = "true".into();
    assert_eq!(of(&[packed]), Fault::Packed("onnx".into()));
    let most = MOST_FILES;
    assert_eq!(of(&[]), Fault::Files { given: 0, most });
    let many = vec![layer("x/y", Some("a")); 100_000];
    let given = 100_000;
    assert_eq!(of(&many), Fault::Files { given, most });
}

#[test]
fn sizes_and_digests_that_are_none_are_refused() {
    for (key, value) in [
        ("size", json!(-1)),
        ("size", json!(1.5)),
        ("size", json!(1e300)),
        ("size", json!("7")),
        ("size", Value::Null),
        ("digest", Value::Null),
    ] {
        let mut wrong = layer(WASM_LAYER, None);
        wrong[key] = value.clone();
        let error = Sort::Guest.files(&manifest(&[wrong])).unwrap_err();
        assert!(
            matches!(error, Fault::Manifest(_)),
            "{key} {value}: {error}"
        );
    }
    // One more than fits into 64 bits.
    let text = String::from_utf8(manifest(&[layer(WASM_LAYER, None)])).unwrap();
    let text = text.replace("\"size\":7", "\"size\":18446744073709551616");
    let error = Sort::Guest.files(text.as_bytes()).unwrap_err();
    assert!(matches!(error, Fault::Manifest(_)), "{error}");
    let mut sha512 = layer(WASM_LAYER, None);
    sha512["digest"] = "sha512:abc".into();
    let error = Sort::Guest.files(&manifest(&[sha512])).unwrap_err();
    assert_eq!(error, Fault::LayerDigest("sha512:abc".into()));
}

#[test]
fn an_index_is_refused_even_if_it_is_a_manifest_as_well() {
    let both = json!({"schemaVersion": 2, "manifests": [], "layers": [layer(WASM_LAYER, None)]});
    let named = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "layers": []});
    for document in [both, named] {
        let bytes = serde_json::to_vec(&document).unwrap();
        assert_eq!(Sort::Guest.files(&bytes), Err(Fault::Index), "{document}");
    }
}

#[test]
fn other_documents_are_refused() {
    for text in [
        "",
        "<html>",
        "[]",
        "{}",
        "null",
        r#"{"schemaVersion":1,"layers":[]}"#,
    ] {
        let error = Sort::Guest.files(text.as_bytes()).unwrap_err();
        assert!(matches!(error, Fault::Manifest(_)), "{text}: {error}");
    }
}
