//! `cargo xtask build`: the daemon with its XDP program.

use std::{fs, io::BufReader, path::PathBuf, process::Stdio};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::Message;
use clap::Args;

use crate::{
    setup::{self, Purpose},
    workspace,
};

/// What `cargo xtask build` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Optimise.
    #[arg(long)]
    release: bool,
}

/// What a build leaves.
#[derive(Debug)]
pub(crate) struct Built {
    /// The daemon.
    pub(crate) binary: PathBuf,
    /// The BPF object that is in it.
    pub(crate) object: PathBuf,
}

/// The command.
///
/// # Errors
///
/// When the set-up is incomplete, the build fails or the object is not in the binary.
pub(crate) fn main(options: &Options) -> Result<()> {
    setup::ensure(&[Purpose::Build])?;
    let built = daemon(options.release)?;
    for (what, path) in [("binary", &built.binary), ("object", &built.object)] {
        println!("{what}  {}  {} bytes", path.display(), fs::metadata(path)?.len());
    }
    Ok(())
}

/// Builds the daemon and makes sure that the object is in it.
///
/// # Errors
///
/// When the build fails or the object is not in the binary.
pub(crate) fn daemon(release: bool) -> Result<Built> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--package", "evenkeel", "--bin", "evenkeel", "--message-format=json-render-diagnostics"]);
    cargo.args(release.then_some("--release"));
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cargo build")?;
    let stdout = child.stdout.take().context("the output of cargo build")?;
    let messages = Message::parse_stream(BufReader::new(stdout)).collect::<Result<Vec<_>, _>>();
    ensure!(child.wait()?.success(), "the daemon does not build");
    let built = outcome(&messages?)?;
    ensure_embedded(&built)?;
    Ok(built)
}

/// Builds the daemon with a newer layout of the tables beside the other one, for the test of an upgrade.
///
/// # Errors
///
/// When the build fails.
pub(crate) fn next_layout() -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--package", "evenkeel", "--features", "next-layout", "--bin", "evenkeel-next-layout"]);
    ensure!(cargo.status().context("cargo build")?.success(), "the daemon with a newer layout does not build");
    Ok(())
}

/// Finds the binary and the object in what cargo reports.
fn outcome(messages: &[Message]) -> Result<Built> {
    let (mut binary, mut object) = (None, None);
    for message in messages {
        match message {
            Message::CompilerArtifact(artifact) if artifact.target.name == "evenkeel" => {
                binary = artifact.executable.clone().or(binary);
            }
            Message::BuildScriptExecuted(script) => {
                let found = script.env.iter().find(|(name, _)| name == "EVENKEEL_OBJECT");
                object = found.map(|(_, path)| PathBuf::from(path)).or(object);
            }
            _ => {}
        }
    }
    let binary = binary.context("cargo built no binary `evenkeel`")?.into_std_path_buf();
    let Some(object) = object else {
        bail!(
            "the XDP program was not compiled; the build's warnings say why (`touch lb-userspace/build.rs` repeats them)"
        )
    };
    Ok(Built { binary, object })
}

/// A daemon that was linked without the object could not `run`.
fn ensure_embedded(built: &Built) -> Result<()> {
    let object = fs::read(&built.object).with_context(|| built.object.display().to_string())?;
    let binary = fs::read(&built.binary).with_context(|| built.binary.display().to_string())?;
    let embedded = !object.is_empty() && memchr::memmem::find(&binary, &object).is_some();
    ensure!(embedded, "{} does not contain the XDP program {}", built.binary.display(), built.object.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cargo prints, shortened to what must be there.
    const ARTIFACT: &str = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/lb-userspace#evenkeel@0.1.0",
        "manifest_path":"/w/lb-userspace/Cargo.toml","target":{"kind":["bin"],"crate_types":["bin"],"name":"evenkeel",
        "src_path":"/w/lb-userspace/src/main.rs","edition":"2024","doc":false,"doctest":false,"test":true},
        "profile":{"opt_level":"0","debuginfo":2,"debug_assertions":true,"overflow_checks":true,"test":false},
        "features":[],"filenames":["/w/target/debug/evenkeel"],"executable":"/w/target/debug/evenkeel","fresh":true}"#;

    fn script(env: &str) -> String {
        format!(
            r#"{{"reason":"build-script-executed","package_id":"path+file:///w/lb-userspace#evenkeel@0.1.0",
            "linked_libs":[],"linked_paths":[],"cfgs":[],"env":[{env}],"out_dir":"/w/out"}}"#
        )
    }

    fn messages(texts: &[&str]) -> Vec<Message> {
        let lines: Vec<_> = texts.iter().map(|text| text.replace('\n', " ")).collect();
        let stream = lines.join("\n");
        let messages: Vec<_> = Message::parse_stream(stream.as_bytes()).map(|message| message.expect("JSON")).collect();
        assert!(!messages.iter().any(|message| matches!(message, Message::TextLine(_))), "{messages:?}");
        messages
    }

    #[test]
    fn binary_and_object_are_found_whatever_else_is_reported() {
        let object = script(r#"["EVENKEEL_OBJECT","/w/out/evenkeel-xdp"]"#);
        let built = outcome(&messages(&[&object, &script(""), ARTIFACT])).expect("both are reported");
        assert_eq!(built.binary, PathBuf::from("/w/target/debug/evenkeel"));
        assert_eq!(built.object, PathBuf::from("/w/out/evenkeel-xdp"));
    }

    #[test]
    fn a_build_without_the_object_is_an_error() {
        let error = outcome(&messages(&[&script(""), ARTIFACT])).expect_err("there is no object");
        assert!(error.to_string().contains("XDP program was not compiled"), "{error}");
    }

    #[test]
    fn only_the_whole_object_counts_as_embedded() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let built = Built { binary: folder.path().join("binary"), object: folder.path().join("object") };
        for (binary, object, expected) in
            [("before OBJECT after", "OBJECT", true), ("before OBJECX after", "OBJECT", false), ("before", "", false)]
        {
            fs::write(&built.binary, binary).expect("the folder is ours");
            fs::write(&built.object, object).expect("the folder is ours");
            assert_eq!(ensure_embedded(&built).is_ok(), expected, "{binary:?} {object:?}");
        }
    }
}
