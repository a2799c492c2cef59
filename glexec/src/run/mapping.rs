//! Whom the caller is mapped to: by row, by credential, or to an account of a pool.

use super::Walk;
use act::gridmapdir::{Gridmapdir, Wanted};
use act::leases::{self, Lease};
use act::state::StateDir;
use contract::{Mode, Reason, variables};
use decide::config::Config;
use decide::credential::{self, Credential, Presented};
use decide::facts::Caller;
use decide::gridmapdir::lease_name;
use decide::plan::Request;
use decide::policy::{self, Grant, Granted, TargetGroups};
use decide::refusal::Refusal;
use decide::reporter::{Level, Reporter as _};
use nix::unistd::Uid;
use observe::accounts::Lookups;
use observe::credential::{Rules, SiteFiles};
use observe::lcmaps;
use std::ffi::CString;

/// Whom the mapping has given, before the account is looked up.
pub(super) struct Mapping {
    pub(super) granted: Granted,
    /// Where the account is this run's alone.
    pub(super) lease: Option<Lease>,
    /// Whether it is one of a pool's.
    pub(super) of_pool: bool,
    /// The subject of the caller's credential.
    pub(super) subject: Option<String>,
    /// Whether that is a token; `None` where there is none.
    pub(super) by_token: Option<bool>,
}

impl Walk<'_> {
    /// White lists, bans, credential, mapping, in this order.
    pub(super) fn mapped(
        &self,
        config: &Config,
        request: &Request,
        (caller, groups): (&Caller, &[String]),
        lookups: &mut Lookups<'_>,
    ) -> Result<Mapping, Refusal> {
        policy::admit(config, caller, groups)?;
        let rehearsed = request.invocation.mode == Mode::Rehearse;
        let credential = self.credential(config, request, (caller, rehearsed))?;
        let wanted = request.environ.get(variables::TARGET_USER).map(String::from_utf8_lossy);
        let wanted = wanted.as_deref();
        let grant = policy::map(config, caller, groups, wanted, credential.as_ref())?;
        let of_pool = matches!(grant, Grant::Pool(_));
        let (granted, lease) = match (&grant, &credential) {
            (Grant::ByLcmaps, Some(credential)) => {
                let granted = self.by_lcmaps(config, lookups, (caller, credential))?;
                policy::pick(std::slice::from_ref(&granted.account), wanted)?;
                (granted, None)
            }
            _ => self.granted(config, (lookups, grant), (caller.uid(), rehearsed))?,
        };
        let by_token = credential.as_ref().map(|credential| credential.by_token);
        let subject = credential.map(|credential| credential.subject);
        Ok(Mapping { granted, lease, of_pool, subject, by_token })
    }

    /// The credential that the caller presents, where one counts.
    fn credential(
        &self,
        config: &Config,
        request: &Request,
        (caller, rehearsed): (&Caller, bool),
    ) -> Result<Option<Credential>, Refusal> {
        let presented = credential::presented(config, &request.environ);
        let Some(Presented { variable, path, by_token }) = presented else {
            // Who asks before a job starts has no credential yet, and must be told of what would
            // end the run of everybody who has one.
            if rehearsed {
                self.sites_files_are_good(config)?;
            }
            return Ok(None);
        };
        let Some(rules) = Rules::of(&config.mapping, by_token) else { return Ok(None) };
        let path = CString::new(path).map_err(|_| {
            let sentence = format!("{variable} is no path: it has a NUL in it");
            Refusal::new(Reason::Credential, sentence)
        })?;
        let root = self.root()?;
        let files = SiteFiles::open(&root, rules);
        drop(root);
        let whose = (caller.uid(), policy::may_omit_key(config, caller));
        let credential = files?.read(self.rights.as_ref().ok(), (&path, variable), whose);
        let credential = credential.map_err(|stop| credential::in_file(stop, &path))?;
        credential.notes.iter().for_each(|note| self.reporter.log(Level::Warning, note));
        let (subject, until) = (&credential.subject, credential.until);
        let text = format!("the credential of {subject} is good until {until} s after 1970");
        self.reporter.log(Level::Info, &text);
        Ok(Some(credential))
    }

    /// That what every credential is mapped by can be used.
    fn sites_files_are_good(&self, config: &Config) -> Result<(), Refusal> {
        let (mapping, privilege) = (&config.mapping, self.rights.as_ref().ok());
        let rules = [false, true].map(|by_token| Rules::of(mapping, by_token));
        let leases = rules.iter().flatten().find_map(|rules| rules.gridmap());
        let leases = leases.and_then(|rule| rule.gridmapdir.as_ref());
        leases.map_or(Ok(()), |path| Gridmapdir::open(&self.root()?, path).map(drop))?;
        for rules in rules.into_iter().flatten() {
            let files = SiteFiles::open(&self.root()?, rules);
            files?.are_good(privilege)?;
        }
        let asked = mapping.lcmaps.as_ref().zip(mapping.credential.as_ref());
        asked.map_or(Ok(()), |asked| lcmaps::try_it(privilege, asked))
    }

    /// The account and the groups that LCMAPS gives.
    fn by_lcmaps(
        &self,
        config: &Config,
        lookups: &mut Lookups<'_>,
        (caller, credential): (&Caller, &Credential),
    ) -> Result<Granted, Refusal> {
        let rules = config.mapping.lcmaps.as_ref().zip(config.mapping.credential.as_ref());
        let rules = rules.ok_or_else(|| Refusal::mapping("there is no rule for LCMAPS"))?;
        let without_key = policy::may_omit_key(config, caller);
        let mapped = lcmaps::map(self.rights.as_ref().ok(), rules, &credential.pem, without_key)?;
        mapped.notes.iter().for_each(|note| self.reporter.log(Level::Warning, note));
        let groups = TargetGroups::Ids(mapped.gid, mapped.groups);
        Ok(Granted { account: lookups.name_of(mapped.uid)?, groups })
    }

    /// One account: the one that was granted, the one of the pool that is free longest, or the
    /// subject's.
    fn granted(
        &self,
        config: &Config,
        (lookups, grant): (&mut Lookups<'_>, Grant),
        (caller, rehearsed): (Uid, bool),
    ) -> Result<(Granted, Option<Lease>), Refusal> {
        let accounts = match grant {
            Grant::Account(granted) => return Ok((granted, None)),
            Grant::Leased { pool, subject } => {
                let take = !rehearsed && !config.log_only;
                let account = self.leased(config, lookups, (&pool, &subject), take)?;
                return Ok((Granted::of(account), None));
            }
            Grant::Pool(accounts) => accounts,
            Grant::ByLcmaps => return Err(Refusal::mapping("LCMAPS maps credentials only")),
        };
        let uids = lookups.uids(&accounts)?;
        let missing = uids.iter().filter(|uid| uid.is_none()).count();
        if missing > 0 {
            let text = format!("{missing} of {} pool accounts do not exist here", uids.len());
            self.reporter.log(Level::Warning, &text);
        }
        if missing == uids.len() {
            return Err(policy::no_account_exists(&accounts));
        }
        let root = &self.root()?;
        let directory = StateDir::open(root, &config.state)?;
        let (at, lease) = if rehearsed {
            (leases::peek(root, &directory, &uids)?, None)
        } else {
            let taken = leases::take(root, &directory, &config.state, &uids, caller)?;
            (taken.0, Some(taken.1))
        };
        let account = accounts.name(at).unwrap_or_default();
        Ok((Granted::of(account), lease))
    }

    /// The account of a gridmapdir that the subject has or gets.
    fn leased(
        &self,
        config: &Config,
        lookups: &mut Lookups<'_>,
        (pool, subject): (&str, &str),
        take: bool,
    ) -> Result<String, Refusal> {
        let directory = config.mapping.gridmap.as_ref().and_then(|rule| rule.gridmapdir.as_ref());
        let directory = directory.ok_or_else(|| {
            let what =
                format!("{subject} is mapped to the pool .{pool}, and there is no `gridmapdir`");
            Refusal::mapping(what)
        })?;
        let lease = lease_name(subject).ok_or_else(|| {
            let sentence = "the subject of your credential is too long for an account of a pool";
            Refusal::new(Reason::NoMapping, sentence).hint("ask the site for an account by name")
        })?;
        let root = self.root()?;
        let opened = Gridmapdir::open(&root, directory);
        drop(root);
        let wanted = Wanted { subject, lease: &lease, pool, take };
        opened?.account(&|| self.root(), &wanted, &mut |name| {
            Ok(lookups.missing(&[name.to_owned()])?.is_empty())
        })
    }
}
