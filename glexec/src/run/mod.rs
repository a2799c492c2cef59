//! The walk: startup → request → configuration → caller → judge → account → plan → carry out.

mod answers;
mod caller;
mod execute;
mod mapping;
mod outputs;
mod proxy;
mod renew;
mod request;
mod settle;

use act::find_command::{LookupRights, Sought};
use act::leases::Lease;
use act::root::{Privilege, Root};
use act::threshold::{Inherited, Restore, threshold};
use contract::{Mode, Reason, Record, variables};
use decide::config::{Config, EpilogueRule};
use decide::plan::{Begin, Epilogue, Facts, Launch, Plan, Request};
use decide::refusal::{Refusal, powerless};
use decide::reporter::{Level, Reporter as _};
use decide::{epilogue_environment, plan, policy};
use nix::unistd::Uid;
use observe::accounts::{AccountFiles, Lookups};
use observe::config_file::{Etc, Source};
use outputs::Outputs;
use report::SiteReporter;

/// The setuid program: from the first breath to the one exit byte.
pub(crate) fn run() -> ! {
    // Whatever a bug does, nothing is printed from inside a privileged process.
    std::panic::set_hook(Box::new(|_| {
        system::kernel::exit_now(Reason::Internal.fault().exit_code())
    }));
    system::kernel::exit_now(match threshold() {
        Ok(born) => begun(born),
        Err(stop) => answers::refuse_without_rights(&stop),
    })
}

fn begun(born: Inherited) -> u8 {
    let Inherited { words, environment, restore, trouble, rights } = born;
    let outputs = Outputs::new(rights.as_ref().ok());
    let reporter = SiteReporter::new(outputs.early(), Uid::current().to_string());
    let walk = Walk { outputs: &outputs, reporter: &reporter, rights: &rights, restore: &restore };
    let request = request::request(words, environment);
    let done = request.and_then(|request| walk.go(request, trouble));
    done.unwrap_or_else(|stop| reporter.stopped(&stop))
}

/// One run, and what it works with.
struct Walk<'w> {
    outputs: &'w Outputs<'w>,
    reporter: &'w SiteReporter<'w>,
    rights: &'w Result<Privilege, Reason>,
    restore: &'w Restore,
}

impl Walk<'_> {
    /// threshold → request → caller → config → judge → account → plan → carry out.
    fn go(&self, request: Request, trouble: Option<Refusal>) -> Result<u8, Refusal> {
        if let Some(answer) = answers::answer(request.invocation.mode)? {
            return Ok(u8::from(!report::print(&answer)));
        }
        let orders = self.outputs.take_named(&request.invocation, self.reporter)?;
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        let (config, files) = self.config().inspect_err(|_| self.open_log_all_the_same())?;
        self.outputs.open_log(&config.log, self.reporter)?;
        self.tell_notices(&config, &request);
        act::needs_proc(config.linger && !config.log_only)?;
        if request.invocation.mode == Mode::Settle {
            return settle::settle(self, &config, &request.invocation.words);
        }
        if renew::is_asked_for(&request) {
            return self.renew(&config, files, &request);
        }
        let rehearsed = request.invocation.mode == Mode::Rehearse;
        let (plan, lease) = self.plan(&config, files, request)?;
        if rehearsed {
            self.could_begin(&config, &plan)?;
            self.reporter.rehearsed(&plan)?;
            let (uid, gid) = (plan.target.uid().as_raw(), plan.target.gid().as_raw());
            let target = plan.target.name().to_owned();
            self.reporter.status(&Record::Rehearsed { target, uid, gid, pool: plan.of_pool });
            return Ok(u8::from(!report::print(&report::rehearsal(&plan))));
        }
        let proxy = self.proxy(&plan)?;
        self.reporter.begin(&plan)?;
        execute::out(self, (&plan, proxy.as_deref()), orders, lease.as_ref())
    }

    /// Who asks before a job starts must not be told yes where the run itself would be told no.
    fn could_begin(&self, config: &Config, plan: &Plan) -> Result<(), Refusal> {
        let Launch::Linger(linger) = &plan.launch else { return Ok(()) };
        act::needs_dev_null()?;
        let owes = linger.state.is_some();
        if !owes && !plan.of_pool {
            return Ok(());
        }
        act::trial::of_plan(&self.root()?, plan, &config.state)
    }

    /// Root for as long as the value lives; in log-only mode what rights there are.
    fn root(&self) -> Result<Root, Refusal> {
        Root::as_far_as_there_is(self.rights)
    }

    /// The configuration, and the files of accounts. Without root's rights the configuration only
    /// counts where it asks for no more.
    fn config(&self) -> Result<(Config, AccountFiles), Refusal> {
        let root = self.root()?;
        let etc = Etc::open();
        let (source, files) = (Source::open(&etc), AccountFiles::read(&etc));
        // What a file says is read as its caller again.
        drop(root);
        let config = source.and_then(Source::into_config);
        let config = match (self.rights, config) {
            (Ok(_), Ok(config)) if config.log_only => {
                let detail =
                    "`log_only = true` and glexec is installed setuid root: undo one of them";
                Err(Refusal::configuration(Reason::ConfigMalformed, detail))
            }
            // Root by a user namespace of the caller's own: root's files are not root's there.
            (Ok(_), Err(stop))
                if stop.reason == Reason::ConfigUntrusted
                    && system::process::is_root_by_namespace() =>
            {
                let detail = stop.detail.unwrap_or_default();
                Err(powerless(Reason::UserNamespace).detail(detail))
            }
            (Ok(_), config) => config,
            (Err(_), Ok(config)) if config.log_only => Ok(config),
            (Err(reason), _) => Err(powerless(*reason)),
        };
        config.map(|config| (config, files))
    }

    /// What is wrong with a configuration is told where its own lines say, as far as they can be
    /// read. Where they cannot, or that log cannot be opened, syslog is left.
    fn open_log_all_the_same(&self) {
        let source = self.root().and_then(|_root| Source::open(&Etc::open()));
        if let Some(rule) = source.ok().and_then(|source| source.log_rule()) {
            let _ = self.outputs.open_log(&rule, self.reporter);
        }
    }

    fn tell_notices(&self, config: &Config, request: &Request) {
        let dropped = request.environ.dropped;
        if dropped > 0 {
            let text = format!("{dropped} malformed or doubled entries of the environment dropped");
            self.reporter.log(Level::Info, &text);
        }
        config.notices.iter().for_each(|notice| self.reporter.log(Level::Info, notice));
        if policy::admits_everybody(config) {
            self.reporter.log(Level::Warning, "a white list admits everybody (\"*\")");
        }
        if policy::believes_attributes(config) {
            let text = "VOMS attributes that nobody has verified may map (`lcmaps_voms_verification` is false)";
            self.reporter.log(Level::Warning, text);
        }
    }

    /// Who, as whom, what, where, and what is owed afterwards.
    fn plan(
        &self,
        config: &Config,
        files: AccountFiles,
        request: Request,
    ) -> Result<(Plan, Option<Lease>), Refusal> {
        let mut lookups = Lookups::new(self.rights.as_ref().ok(), files, config.account_source)?;
        let ids = caller::kernel_ids()?;
        let (caller, groups) = lookups.caller(ids, policy::asks_groups(config))?;
        self.reporter.know(caller.shown_name(), request.environ.get(variables::ID));
        let mapping::Mapping { granted, lease, of_pool, subject, by_token } =
            self.mapped(config, &request, (&caller, &groups), &mut lookups)?;
        let source = lookups.source();
        let text = format!("mapped to {}; accounts are looked up in {source}", granted.account);
        self.reporter.log(Level::Debug, &text);
        let target = lookups.target(&granted, config.min_target_uid)?;
        plan::verify_ids(&request.invocation, &target)?;
        let proxy = self.proxy_wanted(config, &request, (&target, by_token))?;
        let candidates = plan::candidates(&request, &config.path)?;
        let given = plan::given(config, &request.environ, caller.uid() == target.uid());
        let looker = match self.rights {
            Ok(privilege) if !config.log_only && plan::within(&given, &candidates) => {
                LookupRights::Caller(privilege.caller())
            }
            _ if config.log_only => LookupRights::Own,
            _ => LookupRights::Target(&target, &caller),
        };
        let account = plan::own_account(config, &caller, &target);
        let Begin { mut directories, within_given } =
            Begin::new(config, &request, account, of_pool, &given);
        let looked_at = (!within_given).then_some(directories.as_slice());
        let sought = Sought { commands: &candidates, directories: looked_at };
        // Root for what needs it, and for no longer: each scope ends with its statement.
        let root = self.root()?;
        let (command, closed) = act::find_command::find(&root, looker, sought)?;
        act::find_command::ways_are_open(&root, &target, &caller, &given)?;
        drop(root);
        directories.drain(..closed.min(directories.len()));
        let rule = config.epilogue.as_ref().filter(|_| config.linger && !config.log_only);
        let epilogue = rule.map(|rule| lookups.epilogue(|| self.root(), rule)).transpose()?;
        let exclusive = lease.is_some();
        let facts = Facts {
            caller,
            target,
            of_pool,
            exclusive,
            subject,
            proxy,
            command,
            directories,
            epilogue,
        };
        let plan = Plan::build(config, request, facts)?;
        if let Some(epilogue) = plan.epilogue() {
            self.try_epilogue(config, epilogue)?;
        }
        Ok((plan, lease))
    }

    /// That the epilogue can be started, before a payload is.
    fn try_epilogue(&self, config: &Config, epilogue: &Epilogue) -> Result<(), Refusal> {
        let root = self.root()?;
        let program = act::epilogue::open(epilogue)?;
        // With the payload's PATH it may look where others than root can hold up who looks.
        if config.epilogue.as_ref().is_some_and(EpilogueRule::is_apart) {
            let path = epilogue_environment::ROOTS_PATH;
            act::epilogue::finds_its_interpreter(&epilogue.path, &program, path)?;
        }
        act::epilogue::try_identity(&root, epilogue, &program)
    }
}
