//! The setuid program's allocator, as the allocator of a program. No threads of a test harness: the
//! first thread that asks has the arena, and here that is the one in which the tests are.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use system::kernel::Arena;

#[global_allocator]
static ARENA: Arena = Arena;

/// So many bytes are more than the arena has.
const MORE: usize = 2 << 20;

fn what_does_not_fit_any_more_comes_from_elsewhere_and_stays_as_it_was() {
    let pieces: Vec<Vec<u8>> = (0..=255u8).map(|n| vec![n; MORE / 256]).collect();
    let large = vec![7u8; MORE];
    for (n, piece) in pieces.iter().enumerate() {
        assert!(piece.iter().all(|byte| usize::from(*byte) == n), "piece {n}");
    }
    assert!(large.iter().all(|byte| *byte == 7));
}

fn memory_goes_from_thread_to_thread() {
    let here = vec![1u8; 1000];
    let there = std::thread::spawn(move || {
        let mut grown = here;
        grown.extend(vec![2u8; 5000]);
        grown
    });
    let mut back = there.join().unwrap();
    back.extend([3u8; 5000]);
    assert_eq!(back, [vec![1u8; 1000], vec![2u8; 5000], vec![3u8; 5000]].concat());
}

fn every_alignment_is_kept() {
    #[repr(align(64))]
    struct Wide([u8; 3]);
    #[repr(align(8192))]
    struct Page(u8);
    for n in 0..100u8 {
        let (odd, wide, page) = (Box::new(n), Box::new(Wide([n; 3])), Box::new(Page(n)));
        assert_eq!(std::ptr::from_ref(&*wide).addr() % 64, 0);
        assert_eq!(std::ptr::from_ref(&*page).addr() % 8192, 0);
        assert_eq!((*odd, wide.0, page.0), (n, [n; 3], n));
    }
}

/// What is done to one of eight vectors.
#[derive(Debug, Clone, Copy)]
enum Step {
    Drop,
    Truncate(usize),
    Shrink(usize),
    Extend(usize),
}

fn vectors_that_grow_shrink_and_go_in_any_order_keep_what_is_in_them() {
    let size = || 1..3000usize;
    let step = prop_oneof![
        Just(Step::Drop),
        size().prop_map(Step::Truncate),
        size().prop_map(Step::Shrink),
        size().prop_map(Step::Extend),
    ];
    let steps = proptest::collection::vec((0..8usize, step), 1..200);
    let config = Config { failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&steps, |steps| keeps_what_is_in_them(&steps)).unwrap();
}

fn keeps_what_is_in_them(steps: &[(usize, Step)]) -> Result<(), TestCaseError> {
    let mut held: [Vec<u32>; 8] = std::array::from_fn(|_| Vec::new());
    let mut lengths = [0usize; 8];
    let value = |slot: usize, at: usize| u32::try_from(slot * 1_000_000 + at).unwrap();
    for (slot, step) in steps {
        let vector = &mut held[*slot];
        match step {
            Step::Drop => *vector = Vec::new(),
            Step::Truncate(size) => vector.truncate(*size),
            Step::Shrink(size) => {
                vector.truncate(*size);
                vector.shrink_to_fit();
            }
            Step::Extend(size) => {
                vector.extend((vector.len()..vector.len() + size).map(|at| value(*slot, at)));
            }
        }
        lengths[*slot] = vector.len();
        for (slot, vector) in held.iter().enumerate() {
            prop_assert_eq!(vector.len(), lengths[slot]);
            let all = vector.iter().enumerate().all(|(at, found)| *found == value(slot, at));
            prop_assert!(all);
        }
    }
    Ok(())
}

fn what_is_asked_for_last_and_given_back_is_given_away_again() {
    let first = Box::new(1u8);
    assert!(Arena::holds(&*first), "the arena is in use");
    let at = std::ptr::from_ref(&*first).addr();
    drop(first);
    let second = Box::new(2u8);
    assert_eq!(std::ptr::from_ref(&*second).addr(), at);
    // The last one grows where it is.
    let mut text = Vec::with_capacity(10);
    text.push(0u8);
    let at = text.as_ptr().addr();
    text.extend([1; 1000]);
    assert_eq!(text.as_ptr().addr(), at);
}

fn main() {
    // Who lists the tests of the workspace gets a name.
    if std::env::args().any(|word| word == "--list") {
        println!("arena: test");
        return;
    }
    what_is_asked_for_last_and_given_back_is_given_away_again();
    every_alignment_is_kept();
    memory_goes_from_thread_to_thread();
    vectors_that_grow_shrink_and_go_in_any_order_keep_what_is_in_them();
    what_does_not_fit_any_more_comes_from_elsewhere_and_stays_as_it_was();
    assert!(!Arena::holds(&*Box::new([0u8; 1 << 20])), "it is full");
    println!("test result: ok. 6 passed");
}
