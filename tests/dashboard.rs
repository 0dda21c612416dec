//! The dashboard in a real browser, against the real program: it moves, it halts, it complains of nothing, and it fits.
//!
//! Skipped, saying so, where Chromium is not installed. DASHBOARD_SCREENSHOTS names a folder to leave pictures in.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{fs, path::Path, process::Command};

use support::{
    browser::Browser,
    http::{Served, command},
    wait_until,
};

const TOKEN: &str = "a-token-of-some-length";

/// Sizes and schemes that the page must fit: desktop, wall, tablet and phone.
const LOOKS: [(&str, u32, u32, &str); 6] = [
    ("desktop-light", 1440, 900, "light"),
    ("desktop-dark", 1440, 900, "dark"),
    ("wall-dark", 1920, 1080, "dark"),
    ("tablet-light", 820, 1180, "light"),
    ("phone-light", 390, 844, "light"),
    ("phone-dark", 390, 844, "dark"),
];

fn served() -> Served {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("token"), TOKEN).unwrap();
    let sets = ["http.address=127.0.0.1:0", "http.token_file=token", "report.warmup_s=1"];
    let command = command(dir.path(), &sets);
    Served::run(dir, command)
}

/// Leaves a picture where somebody wants one.
fn picture(browser: &mut Browser, name: &str) {
    let Some(folder) = std::env::var_os("DASHBOARD_SCREENSHOTS") else { return };
    let (base64, png) = (browser.screenshot(), Path::new(&folder).join(format!("{name}.png")));
    let text = Path::new(&folder).join(format!("{name}.base64"));
    fs::write(&text, base64).unwrap();
    let decoded = Command::new("base64").arg("-d").arg(&text).output().unwrap();
    fs::write(png, decoded.stdout).unwrap();
    fs::remove_file(text).unwrap();
}

#[test]
fn the_page_moves_halts_by_keyboard_and_complains_of_nothing() {
    let Some(mut browser) = Browser::start() else { return };
    let served = served();
    served.wait_ready();
    browser.look(1440, 900, "light");
    browser.open(&format!("http://{}/", served.addr));
    browser.wait("document.getElementById('state').textContent === 'READY'");
    browser.wait("document.querySelectorAll('#signals tr').length === 6");
    let cycles = "Number(document.getElementById('count-cycles').textContent.replaceAll(',', ''))";
    let before = browser.evaluate(cycles).as_f64().unwrap();
    browser.wait(&format!("{cycles} > {before} + 20"));
    browser.wait("document.querySelector('td.confidence').textContent.startsWith('0.')");
    browser.wait("[...document.querySelectorAll('#bids td')].filter((td) => Number(td.textContent) > 0).length === 20");
    browser.wait("document.querySelectorAll('#members tr').length > 4");
    browser.wait("document.querySelectorAll('#connections li[data-is=good]').length === 1");
    browser.wait("document.getElementById('p50').textContent !== '–'");
    browser.wait("document.querySelector('.population b').textContent.endsWith('Hz')");

    // Another book is shown when its instrument is picked.
    browser.evaluate("document.querySelectorAll('.pick')[2].focus()");
    browser.press("Enter", "\r");
    browser.wait("document.getElementById('book-name').textContent.endsWith('SIMC')");
    browser.wait("document.querySelectorAll('.pick')[2].getAttribute('aria-pressed') === 'true'");
    browser.wait("Number(document.querySelector('#bids td').textContent) > 0");
    assert_eq!(browser.complaints(), [] as [String; 0]);

    // The kill switch: a wrong token is told, the right one halts.
    browser.evaluate("document.getElementById('halt').focus()");
    browser.press("Enter", "\r");
    browser.wait("document.activeElement.id === 'token'");
    browser.type_text("wrong");
    browser.press("Enter", "\r");
    browser.wait("document.getElementById('ask-error').textContent.includes('http.token_file')");
    assert_eq!(served.metric("purkinje_halted"), 0.0);
    // The refusal, and nothing else, is in the log.
    let complaints = browser.complaints();
    assert!(complaints.len() == 1 && complaints[0].contains("401"), "{complaints:?}");
    browser.evaluate("document.getElementById('token').select()");
    browser.type_text(TOKEN);
    browser.press("Enter", "\r");
    browser.wait("document.getElementById('state').textContent === 'HALTED'");
    wait_until("the halt", || served.metric("purkinje_halted") == 1.0);
    browser.wait(
        "[...document.querySelectorAll('.chip')].every((chip) => chip.textContent === 'HOLD')",
    );
    picture(&mut browser, "halted");
    browser.evaluate("document.getElementById('halt').click()");
    browser.wait("document.activeElement.id === 'ask-yes'");
    browser.press("Enter", "\r");
    browser.wait("document.getElementById('state').textContent === 'READY'");
    assert_eq!(browser.complaints(), [] as [String; 0]);
}

#[test]
fn the_page_fits_every_screen_and_nothing_is_cut_off() {
    let Some(mut browser) = Browser::start() else { return };
    let served = served();
    served.wait_ready();
    browser.open(&format!("http://{}/", served.addr));
    browser.wait("document.getElementById('state')?.textContent === 'READY'");
    served.wait_cycles(if std::env::var_os("DASHBOARD_SCREENSHOTS").is_some() { 600 } else { 20 });
    for (name, width, height, scheme) in LOOKS {
        browser.look(width, height, scheme);
        browser.wait(&format!("window.innerWidth === {width}"));
        let overflow = "document.documentElement.scrollWidth - window.innerWidth";
        browser.wait(&format!("{overflow} <= 0"));
        // No cell is wider than its panel.
        let wide = browser.evaluate(
            "[...document.querySelectorAll('.panel')].filter((p) => [...p.querySelectorAll('td, th, li, b')].some((c) => \
             getComputedStyle(c).display !== 'none' && !c.closest('.hidden') && c.getBoundingClientRect().right > \
             p.getBoundingClientRect().right + 1)).map((p) => p.className).join()",
        );
        assert_eq!(wide, "", "{name}");
        served.wait_cycles(25);
        picture(&mut browser, name);
    }
    assert_eq!(browser.complaints(), [] as [String; 0]);
}
