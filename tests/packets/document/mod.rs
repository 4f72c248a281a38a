//! The manual's table of what happens to each kind of packet in each mode, made from what the data path does with them.

mod scenes;
mod told;

use std::{fmt::Write as _, fs, path::Path};

use crate::{
    case::{Step, case},
    in_kernel::InKernel,
    in_memory::InMemory,
    machine::{Machine, ROOMY},
    outer::Outer,
    runner::Run,
    translated::Translation,
    way::Way,
};
use lb_common::abi::Mode;
use scenes::{SCENES, Scene, Staged};

/// The modes, each with the ways that are one to the reader.
fn modes() -> [(&'static str, Vec<Way>); 5] {
    let tunnels = |mode| Outer::all(mode).map(Way::Tunnel).to_vec();
    let translation = |mode| vec![Way::Translation(Translation { mode, port: 8080 })];
    [
        ("dsr-l2", vec![Way::Link]),
        ("ipip", tunnels(Mode::Ipip)),
        ("gue", tunnels(Mode::Gue)),
        ("nat", translation(Mode::Nat)),
        ("full-nat", translation(Mode::FullNat)),
    ]
}

/// What becomes of the last packet of a scene, which is checked to the byte.
fn told(machine: &mut impl Machine, staged: &Staged, way: Way) -> String {
    let services: Vec<_> = staged.services.iter().cloned().map(|service| way.of(service)).collect();
    let mut run = Run::begin(machine, &case("", &services, []));
    let mut seen = Vec::new();
    for step in &staged.before {
        match step {
            Step::Packet(frame, _) => seen = run.packet(frame).expect("the books").bytes,
            step => run.step(step).expect("a step"),
        }
    }
    if let Some(between) = &staged.between {
        run.packet(&between(&seen, way)).expect("the books");
    }
    let frame = (staged.last)(&seen, way);
    let outcome = run.packet(&frame).expect("the books");
    told::tell(&frame, &outcome, way, staged.slot)
}

/// A cell: families and ways that agree are told once.
fn cell(memory: &mut InMemory, kernel: &mut Option<InKernel>, scene: &Scene, ways: &[Way]) -> String {
    let mut families = Vec::new();
    for (name, v6) in [("IPv4", false), ("IPv6", true)] {
        let Some(staged) = (scene.stage)(v6) else { continue };
        let mut texts = ways.iter().map(|way| {
            let text = told(memory, &staged, *way);
            if let Some(kernel) = kernel {
                assert_eq!(told(kernel, &staged, *way), text, "the machines agree on: {}, {way:?}", scene.packet);
            }
            text
        });
        let text = texts.next().expect("a way");
        assert!(texts.all(|other| other == text), "the ways of a mode agree on: {}, {ways:?}", scene.packet);
        families.push((name, text));
    }
    match &families[..] {
        [(_, one), (_, other)] if one != other => format!("IPv4: {one}; IPv6: {other}"),
        [(_, text), ..] => text.clone(),
        [] => panic!("{} is of no family", scene.packet),
    }
}

fn document() -> String {
    let mut memory = InMemory::new(ROOMY);
    let mut kernel = InKernel::new(ROOMY);
    let mut text = include_str!("introduction.md").to_owned();
    let mut chapter = "";
    for scene in SCENES {
        if scene.chapter != chapter {
            chapter = scene.chapter;
            let _ = write!(
                text,
                "\n## {chapter}\n\n| Packet | dsr-l2 | ipip | gue | nat | full-nat |\n|---|---|---|---|---|---|\n"
            );
        }
        let cells = modes().map(|(_, ways)| cell(&mut memory, &mut kernel, scene, &ways));
        let _ = writeln!(text, "| {} | {} |", scene.packet, cells.join(" | "));
    }
    text
}

#[test]
fn the_manuals_table_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/packets.md");
    let text = document();
    if std::env::var_os("EVENKEEL_WRITE_DOCS").is_some() {
        fs::write(&path, &text).expect("it can be written");
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    let remedy = "run EVENKEEL_WRITE_DOCS=1 cargo test -p evenkeel-tests --test packets document";
    let differs = text.lines().zip(stored.lines()).find(|(new, old)| new != old);
    assert!(stored == text, "docs/packets.md is out of date: {remedy}\nthe first line that differs: {differs:#?}");
}
