//! What is told: a line for each edit, a table by area, and what stays.

use crate::edits::Edit;
use crate::measure::Fate;

/// So many of a hundred real gaps have to be noticed.
const ENOUGH: usize = 95;

/// One edit.
pub(crate) fn line(edit: &Edit, fate: &Fate) -> String {
    let Edit { number, area, what, .. } = edit;
    match fate {
        Fate::Noticed(test) => format!("{number:>4} {area}: {what}\n     noticed by {test}"),
        Fate::Unnoticed if edit.stays.is_some() => {
            format!("{number:>4} {area}: {what}\n     hidden")
        }
        Fate::Unnoticed => format!("{number:>4} {area}: {what}\n     NOT NOTICED"),
    }
}

/// The table; whether enough was noticed.
pub(crate) fn show(fates: &[(&Edit, Fate)]) -> bool {
    let counts = |area: Option<&str>| {
        let of = fates.iter().filter(|(edit, _)| area.is_none_or(|area| edit.area == area));
        let real: Vec<_> = of.clone().filter(|(edit, _)| edit.stays.is_none()).collect();
        let noticed = real.iter().filter(|(_, fate)| matches!(fate, Fate::Noticed(_))).count();
        (of.count(), noticed, real.len())
    };
    let mut areas: Vec<&str> = Vec::new();
    for (edit, _) in fates {
        if !areas.contains(&edit.area.as_str()) {
            areas.push(&edit.area);
        }
    }
    println!("\n{:<16}{:>7}{:>9}{:>10}{:>8}", "area", "edits", "noticed", "survived", "hidden");
    for (name, area) in areas.iter().map(|area| (*area, Some(*area))).chain([("all", None)]) {
        let (edits, noticed, real) = counts(area);
        let (survived, hidden) = (real - noticed, edits - real);
        println!("{name:<16}{edits:>7}{noticed:>9}{survived:>10}{hidden:>8}");
    }
    let (_, noticed, real) = counts(None);
    println!("\n{noticed} of {real} real gaps were noticed; {ENOUGH} of 100 are wanted.");
    for (edit, fate) in fates {
        match (fate, &edit.stays) {
            (Fate::Unnoticed, None) => println!("survived: {} {}", edit.number, edit.what),
            (Fate::Unnoticed, Some(why)) => {
                println!("hidden: {} {}: {why}", edit.number, edit.what);
            }
            (Fate::Noticed(test), Some(_)) => {
                println!("noticed all the same: {} {} ({test})", edit.number, edit.what);
            }
            (Fate::Noticed(_), None) => {}
        }
    }
    noticed * 100 >= real * ENOUGH
}
