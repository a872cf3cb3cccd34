//! What the documents say about the source is still so: every point of the protocol is argued for, every file
//! that is named is there.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of the points in `src/sync.rs`, in order.
fn points() -> Vec<String> {
    let source = text("src/sync.rs");
    let (_, rest) = source.split_once("pub enum Point {").expect("the points are there");
    let (body, _) = rest.split_once("\n}").expect("the list ends");
    let lines = body.lines().map(str::trim);
    lines.filter(|line| !line.starts_with(['/', '#'])).flat_map(names_in).collect()
}

/// Words that can be names, each as often as it occurs.
fn names_in(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Files of the library.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of the project") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn every_point_is_argued_for() {
    let points = points();
    assert!(points.len() > 20, "the list was not understood: {points:?}");
    let argued: Vec<String> = names_in(&text("docs/memory-model.md")).collect();
    let missing: Vec<_> = points.iter().filter(|point| !argued.contains(point)).collect();
    assert!(missing.is_empty(), "docs/memory-model.md says nothing about {missing:?}");
}

/// A point that no model fails without would be only a name.
#[test]
fn every_point_has_a_model_that_fails_without_it() {
    let mut files = Vec::new();
    sources(&root().join("loom-tests/tests"), &mut files);
    let twins: Vec<String> = files
        .iter()
        .map(|file| fs::read_to_string(file).expect("source"))
        .filter_map(|source| Some(source.split_once("broken_twins! {")?.1.to_owned()))
        .flat_map(|twins| names_in(&twins).collect::<Vec<_>>())
        .collect();
    let points = points();
    let missing: Vec<_> = points.iter().filter(|point| !twins.contains(point)).collect();
    assert!(missing.is_empty(), "loom-tests has no broken twin without {missing:?}");
}

#[test]
fn there_are_no_seqcst_accesses() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    assert!(files.len() > 20, "{files:?}");
    for file in files {
        for line in fs::read_to_string(&file).expect("source").lines() {
            let code = line.split("//").next().unwrap_or_default();
            let allowed = !code.contains("Ordering::SeqCst") || code.contains("fence(");
            assert!(allowed, "{}: docs/memory-model.md says fences only: {line}", file.display());
        }
    }
}

#[test]
fn files_that_are_named_are_there() {
    let mut named = 0;
    for document in
        ["README.md", "docs/protocol.md", "docs/memory-model.md", "docs/verification.md"]
    {
        let document_text = text(document);
        let quoted = document_text.split('`').skip(1).step_by(2);
        let files = quoted.filter(|name| {
            let in_project = ["src/", "tests/", "model/", "fuzz/", "docs/", "loom-tests/"];
            in_project.iter().any(|start| name.starts_with(start)) && !name.contains(['*', ' '])
        });
        for file in files {
            assert!(root().join(file).exists(), "{document} names {file}");
            named += 1;
        }
    }
    assert!(named > 40, "the documents were not understood: {named} files");
}

#[test]
fn every_test_is_said_to_check_something() {
    let document = text("docs/verification.md");
    let mut missing = Vec::new();
    for folder in ["tests", "loom-tests/tests"] {
        for entry in fs::read_dir(root().join(folder)).expect("a directory of the project") {
            let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
            if name.ends_with(".rs") && !document.contains(&name) {
                missing.push(name);
            }
        }
    }
    assert!(missing.is_empty(), "docs/verification.md says nothing of {missing:?}");
}
