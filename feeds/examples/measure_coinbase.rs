#![allow(clippy::all, clippy::pedantic, clippy::unwrap_used, missing_docs)]
#[path = "../tests/coinbase_support/mod.rs"]
mod coinbase_support;
use coinbase_support::*;
use purkinje_feeds::protocol::{self, Message};
use std::time::Instant;
fn main() {
    for rec in [ADVANCED, EXCHANGE] {
        let frames = rec.frames().unwrap();
        let p = protocol::of(rec.venue).unwrap();
        // leave out snapshots
        let small: Vec<_> = frames.iter().filter(|f| f.1.len() < 20_000 && !f.1.starts_with(br#"{"type":"snapshot"#)).cloned().collect();
        let big: Vec<_> = frames.iter().filter(|f| f.1.len() >= 20_000).cloned().collect();
        let bytes: usize = small.iter().map(|f| f.1.len()).sum();
        for depth_only in [false, true] {
            let small: Vec<_> = small.iter().filter(|f| !depth_only || f.1.windows(9).take(40).any(|w| w == b"\"l2_data\"" || w == b"\"l2update")).collect();
            if small.is_empty() { continue }
            let bytes: usize = small.iter().map(|f| f.1.len()).sum();
            let mut best = f64::MAX; let mut n = 0u64; let mut lv = 0u64;
            for _ in 0..30 {
                n = 0; lv = 0;
                let t = Instant::now();
                for f in &small {
                    p.decode(&f.1, &mut |m| { n += 1; if let Message::Book(b) = m { for l in b.levels { lv += l.filter(|x| x.is_ok()).count() as u64; } } }).unwrap();
                }
                best = best.min(t.elapsed().as_nanos() as f64);
            }
            println!("{} depth_only={depth_only} decode+levels: {} frames {} B/frame {} levels: {:.0} ns/frame", rec.file, small.len(), bytes/small.len(), lv, best / small.len() as f64);
        }
        let mut best = f64::MAX; let mut bestd = f64::MAX; let mut nd=0; let mut bigt = f64::MAX;
        for _ in 0..10 {
            let mut feed = rec.feed();
            let mut el = 0u128; let mut eld=0u128; nd=0; let mut tb=0;
            for f in &frames {
                let t = Instant::now();
                feed.session.on_frame(f.0, &f.1, &mut feed.out);
                let e = t.elapsed().as_nanos();
                feed.out.clear();
                if f.1.len() < 20_000 { el += e; let head=&f.1[..f.1.len().min(60)]; if head.windows(9).any(|w| w == b"\"l2_data\"" || w == b"\"l2update") { eld += e; nd+=1; } } else { tb += e; }
            }
            best = best.min(el as f64 / small.len() as f64); bestd=bestd.min(eld as f64/ nd as f64); bigt=bigt.min(tb as f64);
        }
        println!("{} session: {:.0} ns/frame (all small, {} B), {:.0} ns/frame depth ({nd}); {} big frames {} B in {:.1} ms", rec.file, best, bytes/small.len(), bestd, big.len(), big.iter().map(|f| f.1.len()).sum::<usize>(), bigt/1e6);
    }
}
