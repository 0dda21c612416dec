//! What is installed for systemd: units that it takes without a word and that expose little, an installation that
//! keeps a host's configuration, maintainer scripts that do what they are for.
//!
//! No unit is started, no user made and no directory of the host touched: systemd-analyze reads files, `make install`
//! goes below a temporary folder, and the scripts find commands that only note how they were called.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Highest exposure that is accepted, in tenths: 15 is what `systemd-analyze security` shows as 1.5.
const EXPOSURE_MAX: u32 = 15;

/// What a host may add, in every combination.
const DROP_INS: [&[&str]; 8] = [
    &[],
    &["network"],
    &["gpu"],
    &["realtime"],
    &["network", "gpu"],
    &["network", "realtime"],
    &["gpu", "realtime"],
    &["network", "gpu", "realtime"],
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn analyze(arguments: &[&str], unit: &Path) -> Output {
    let mut command = Command::new("systemd-analyze");
    command
        .env("SYSTEMD_LOG_LEVEL", "info")
        .env("LC_ALL", "C.UTF-8")
        .args(arguments)
        .arg(unit)
        .output()
        .unwrap()
}

fn has_systemd_analyze() -> bool {
    let is_there = Command::new("systemd-analyze").arg("--version").output().is_ok();
    if !is_there {
        eprintln!("skipped: no systemd-analyze, which the package systemd has");
    }
    is_there
}

/// The unit with drop-ins, in a folder of its own, for the program that was built: a unit whose program is missing is
/// complained of.
fn unit(dir: &Path, drop_ins: &[&str]) -> PathBuf {
    let text = fs::read_to_string(repository().join("systemd/purkinje.service")).unwrap();
    let path = dir.join("purkinje.service");
    fs::write(&path, text.replace("/usr/bin/purkinje", env!("CARGO_BIN_EXE_purkinje"))).unwrap();
    let beside = dir.join("purkinje.service.d");
    fs::create_dir(&beside).unwrap();
    for name in drop_ins {
        let file = format!("{name}.conf");
        fs::copy(repository().join("systemd/drop-ins").join(&file), beside.join(&file)).unwrap();
    }
    path
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn systemd_has_nothing_to_say_about_the_unit_with_any_drop_ins() {
    if !has_systemd_analyze() {
        return;
    }
    for drop_ins in DROP_INS {
        let dir = tempfile::tempdir().unwrap();
        let output = analyze(&["verify", "--man=no"], &unit(dir.path(), drop_ins));
        assert!(
            output.status.success() && said(&output).is_empty(),
            "{drop_ins:?}: {}",
            said(&output)
        );
    }
}

#[test]
fn systemd_has_nothing_to_say_about_the_socket() {
    if !has_systemd_analyze() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // It looks for the service that the socket starts beside it.
    unit(dir.path(), &[]);
    let socket = dir.path().join("purkinje.socket");
    fs::copy(repository().join("systemd/purkinje.socket"), &socket).unwrap();
    let output = analyze(&["verify", "--man=no"], &socket);
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
}

#[test]
fn systemd_would_say_so_if_a_key_were_unknown() {
    if !has_systemd_analyze() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let unit = unit(dir.path(), &["gpu"]);
    let text = fs::read_to_string(&unit).unwrap().replace("WatchdogSec=", "WatchdogSeconds=");
    fs::write(&unit, text).unwrap();
    let output = analyze(&["verify", "--man=no"], &unit);
    assert!(said(&output).contains("WatchdogSeconds"), "{}", said(&output));
}

#[test]
fn the_unit_exposes_little_with_any_drop_ins() {
    if !has_systemd_analyze() {
        return;
    }
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    for drop_ins in DROP_INS {
        let dir = tempfile::tempdir().unwrap();
        let arguments = ["security", "--offline=true", "--no-pager", &threshold];
        let output = analyze(&arguments, &unit(dir.path(), drop_ins));
        let text = said(&output);
        let verdict = text.lines().last().unwrap_or_default();
        println!("{drop_ins:?}: {verdict}");
        assert!(output.status.success(), "{drop_ins:?}: {text}");
        assert!(verdict.contains("Overall exposure level"), "{text}");
    }
}

#[test]
fn a_drop_in_opens_what_it_says_and_the_unit_alone_does_not() {
    if !has_systemd_analyze() {
        return;
    }
    let opens = |drop_ins: &[&str], setting: &str| {
        let dir = tempfile::tempdir().unwrap();
        let output =
            analyze(&["security", "--offline=true", "--no-pager"], &unit(dir.path(), drop_ins));
        let text = said(&output);
        let line = text.lines().find(|line| line.contains(setting));
        line.unwrap_or_else(|| panic!("no {setting} in {text}")).contains('✗')
    };
    assert!(!opens(&[], "RestrictRealtime=") && opens(&["realtime"], "RestrictRealtime="));
    assert!(!opens(&[], "PrivateDevices=") && opens(&["gpu"], "PrivateDevices="));
}

#[test]
fn the_unit_runs_as_the_user_that_is_made_for_it() {
    let read = |name: &str| fs::read_to_string(repository().join("systemd").join(name)).unwrap();
    let (unit, users) = (read("purkinje.service"), read("purkinje.sysusers.conf"));
    let user = unit.lines().find_map(|line| line.strip_prefix("User=")).unwrap();
    assert!(users.lines().any(|line| line.starts_with(&format!("u {user} "))), "{users}");
    let files = read("purkinje.tmpfiles.conf");
    let owned = files.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    for line in owned {
        let fields: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            fields[3..5],
            ["root", user],
            "{line}: its own configuration is not its to write"
        );
    }
}

/// Every file below a folder, relative to it, sorted.
fn files(root: &Path) -> Vec<String> {
    let (mut open, mut found) = (vec![root.to_owned()], Vec::new());
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

fn install(root: &Path) {
    let output = Command::new("make")
        .current_dir(repository())
        .args(["--silent", "install", "PREFIX=/opt/purkinje"])
        .arg(format!("DESTDIR={}", root.display()))
        .arg(format!("BINARY={}", env!("CARGO_BIN_EXE_purkinje")))
        .env_remove("MAKEFLAGS")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn make_install_puts_everything_below_its_prefix_and_keeps_a_configuration() {
    let root = tempfile::tempdir().unwrap();
    install(root.path());
    let expected = [
        "etc/purkinje/purkinje.toml",
        "opt/purkinje/bin/purkinje",
        "opt/purkinje/lib/systemd/system/purkinje.service",
        "opt/purkinje/lib/systemd/system/purkinje.socket",
        "opt/purkinje/lib/sysusers.d/purkinje.conf",
        "opt/purkinje/lib/tmpfiles.d/purkinje.conf",
        "opt/purkinje/share/doc/purkinje/README.md",
        "opt/purkinje/share/purkinje/drop-ins/gpu.conf",
        "opt/purkinje/share/purkinje/drop-ins/network.conf",
        "opt/purkinje/share/purkinje/drop-ins/realtime.conf",
    ];
    assert_eq!(files(root.path()), expected);
    let unit = root.path().join("opt/purkinje/lib/systemd/system/purkinje.service");
    let text = fs::read_to_string(unit).unwrap();
    let commands = text.lines().filter(|line| line.starts_with("Exec"));
    for line in commands {
        assert!(line.contains("=/opt/purkinje/bin/purkinje "), "{line}");
    }
    let mode = |path: &str| root.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(
        [mode("opt/purkinje/bin/purkinje"), mode("etc/purkinje/purkinje.toml")],
        [0o755, 0o640]
    );

    let configuration = root.path().join("etc/purkinje/purkinje.toml");
    fs::write(&configuration, "terminal = \"off\"\n").unwrap();
    install(root.path());
    assert_eq!(fs::read_to_string(configuration).unwrap(), "terminal = \"off\"\n");
}

const SCRIPTS: [&str; 2] = ["postinst", "postrm"];

/// Runs a maintainer script where every command but the shell's own notes its call; returns the calls.
fn maintain(script: &str, arguments: &[&str], commands: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let stub = dir.path().join("stub");
    fs::write(&stub, format!("#!/bin/sh\necho \"${{0##*/}} $*\" >>{}\n", log.display())).unwrap();
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for command in commands {
        symlink(&stub, bin.join(command)).unwrap();
    }
    let output = Command::new("/bin/sh")
        .arg("-e")
        .arg(repository().join("systemd/debian").join(script))
        .args(arguments)
        .env_clear()
        .env("PATH", &bin)
        .output()
        .unwrap();
    assert!(output.status.success(), "{script} {arguments:?}: {}", said(&output));
    fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn maintainer_scripts_make_the_user_before_anything_and_remove_what_was_learned_on_purge_only() {
    for script in SCRIPTS {
        let path = repository().join("systemd/debian").join(script);
        let checked = Command::new("/bin/sh").arg("-n").arg(&path).output().unwrap();
        assert!(checked.status.success(), "{}", said(&checked));
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("\n#DEBHELPER#\n"),
            "{script}: the unit is started and stopped there"
        );
    }
    let commands = ["systemd-sysusers", "systemd-tmpfiles", "rm"];
    let configured = maintain("postinst", &["configure", ""], &commands);
    let expected = ["systemd-sysusers purkinje.conf", "systemd-tmpfiles --create purkinje.conf"];
    assert_eq!(configured, expected);
    assert!(maintain("postinst", &["abort-upgrade", "0.1.0"], &commands).is_empty());
    assert!(maintain("postrm", &["remove"], &commands).is_empty());
    assert!(maintain("postrm", &["upgrade", "0.2.0"], &commands).is_empty());
    let purged = maintain("postrm", &["purge"], &commands);
    assert_eq!(purged, ["rm -rf /var/lib/purkinje /var/cache/purkinje"]);
}
