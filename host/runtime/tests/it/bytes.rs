//! Hostile bytes: whatever a component's file holds, loading it ends in an answer, and the next load works.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use landfall_runtime::{Binding, Grants, Limits, LoadError, Policy};
use tokio::time::timeout;

use crate::fixture::{Fixture, Place};

/// Files made from good ones.
const FILES: u64 = 1_000;

/// A load of a small file takes milliseconds; one that takes this long hangs.
const HANGS: Duration = Duration::from_secs(30);

/// Numbers that follow from a seed: xorshift.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// One of the ways in which a file goes wrong, once or a few times.
fn mutate(good: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        let end = (at + numbers.below(64)).min(bytes.len());
        match numbers.below(7) {
            0 => bytes[at] = u8::try_from(numbers.below(256)).unwrap(),
            1 => bytes[at] ^= 1 << numbers.below(8),
            2 => bytes.truncate(at.max(1)),
            3 => bytes[at..end].fill(0xff),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let from = numbers.below(other.len());
                bytes.splice(at.., other[from..].iter().copied());
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

#[tokio::test]
async fn hostile_bytes_are_answered_and_never_panic_or_hang() {
    let place = Place::new();
    let policy = Fixture::policy();
    let other = Fixture::new("runbook")
        .answering("effect")
        .import("log", "landfall:plugin/log", "write")
        .body(
            "run",
            "(call $log (i32.const 2) (i32.const 0) (i32.const 9)) i32.const 2048",
        )
        .component();
    let good = policy.component();
    let directory = policy.write(&place.plugins());
    let mut loaded = 0;
    for seed in 1..=FILES {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        fs::write(directory.join("it.wasm"), mutate(&good, &other, &mut numbers)).unwrap();
        let answer = timeout(HANGS, place.runtime.load(&directory)).await;
        match answer.unwrap_or_else(|_| panic!("seed {seed} hangs")) {
            Err(LoadError::Host(text)) => panic!("seed {seed}: {text}"),
            Err(error) => assert!(error.code().starts_with("LF04"), "seed {seed}: {error}"),
            Ok(plugin) => {
                loaded += 1;
                let (grants, limits) = (Grants::default(), Limits::default());
                let binding = Binding::new(&place.runtime, plugin, "test", Arc::default(), grants, limits).unwrap();
                // Whatever it answers.
                let call = Policy::new(binding).unwrap();
                assert!(timeout(HANGS, call.choices()).await.is_ok(), "seed {seed} hangs");
            }
        }
    }
    assert!(
        loaded < FILES / 2,
        "{loaded} of {FILES} did no harm: the mutations are too weak"
    );
    policy.write(&directory);
    place.runtime.load(&directory).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_cut_off_anywhere_is_refused() {
    let place = Place::new();
    let policy = Fixture::policy();
    let good = policy.component();
    let directory = policy.write(&place.plugins());
    // Every length would take long and say no more.
    for end in (0..good.len()).step_by(37).chain(good.len() - 9..good.len()) {
        fs::write(directory.join("it.wasm"), &good[..end]).unwrap();
        let error = place.runtime.load(&directory).await.unwrap_err();
        let known = ["LF0404", "LF0405", "LF0406", "LF0409"];
        assert!(known.contains(&error.code()), "cut at {end}: {error}");
    }
}
