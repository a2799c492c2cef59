//! Keys that the design knows and that change nothing in this version. What somebody could rely
//! on is refused, the rest is told in a notice; nothing is ignored in silence.

use super::LogDestination;
use super::convert::Bad;
use super::keys::{Method, RawGlexec, RawMapping, SwitchBy};

/// A key, whether the file asks for it, and what is to be said of it.
type Row = (&'static str, bool, &'static str);

/// [`Row`]s for keys of which presence alone counts.
macro_rules! given {
    ($raw:ident, $why:expr, $($key:ident)+) => { [$((stringify!($key), $raw.$key.is_some(), $why)),+] };
}

/// What is not there yet in `[glexec]`.
pub(super) fn refuse(raw: &RawGlexec) -> Result<(), Bad> {
    if raw.use_lcas {
        let why = "LCAS is gone; use the LCMAPS ban plug-in or `banned` in [mapping]";
        return Err(Bad::new("use_lcas", why));
    }
    let lcmaps = given!(raw, "mapping by LCMAPS",
        lcmaps_db_file lcmaps_log_file lcmaps_debug_level lcmaps_log_level
        lcmaps_get_account_policy lcmaps_verify_account_policy lcmaps_voms_verification);
    let switch = raw.user_identity_switch_by == Some(SwitchBy::Lcmaps);
    let proxy = raw.create_target_proxy == Some(true);
    let keyless = !raw.omission_private_key_white_list.is_empty();
    let values = [
        ("user_identity_switch_by", switch, "the switch by LCMAPS"),
        ("create_target_proxy", proxy, "a proxy for the payload"),
        ("omission_private_key_white_list", keyless, "mapping by credential"),
    ];
    first(lcmaps.into_iter().chain(values))
}

/// What is not there yet in `[mapping]`.
pub(super) fn refuse_mapping(raw: &RawMapping) -> Result<(), Bad> {
    for method in raw.methods.iter().flatten() {
        let word = match method {
            Method::Static | Method::Pool => continue,
            Method::Gridmap => "gridmap",
            Method::Lcmaps => "lcmaps",
            Method::Token => "token",
        };
        let why =
            format!("\"{word}\" is not there yet (work to come); write [\"static\"] or [\"pool\"]");
        return Err(Bad::new("methods", why));
    }
    first(given!(raw, "this way of mapping", gridmap lcmaps token).into_iter())
}

fn first(mut rows: impl Iterator<Item = Row>) -> Result<(), Bad> {
    let Some((key, _, what)) = rows.find(|(_, asked, _)| *asked) else {
        return Ok(());
    };
    let why = format!("{what} is not there yet (work to come); remove the key");
    Err(Bad::new(key, why))
}

/// Notices for what is right and has no effect.
pub(super) fn idle(raw: &RawGlexec) -> impl Iterator<Item = String> {
    let no_epilogue = raw.epilogue.is_none();
    let no_file = raw.log_destination != Some(LogDestination::File);
    let locks = given!(raw, "there is no proxy to lock",
        lock_mechanism input_lock_mechanism target_lock_mechanism);
    let lcas = given!(raw, "LCAS is gone and `use_lcas` is false",
        lcas_db_file lcas_log_file lcas_debug_level lcas_log_level);
    let epilogue = given!(raw, "there is no `epilogue`",
        epilogue_user epilogue_group epilogue_timeout);
    let file = given!(raw, "`log_destination` is not \"file\"", log_file);
    let epilogue = epilogue.into_iter().filter(move |_| no_epilogue);
    let file = file.into_iter().filter(move |_| no_file);
    let rows = locks.into_iter().chain(lcas).chain(epilogue).chain(file);
    let given = rows.filter(|(_, given, _)| *given);
    given.map(|(key, _, why)| format!("`{key}` has no effect: {why}"))
}
