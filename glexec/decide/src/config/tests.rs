//! What a site may write, what comes of it, and what it is told where it went wrong.

use super::keys::{KEYS, Key, There, Unset};
use super::*;
use proptest::prelude::*;

fn toml(text: &str) -> Result<Config, Malformed> {
    Config::parse(text.as_bytes(), Syntax::Toml)
}

fn original(text: &str) -> Result<Config, Malformed> {
    Config::parse(text.as_bytes(), Syntax::Original)
}

/// What stands in `[glexec]`, in TOML.
fn glexec(key_value: &str) -> Result<Config, Malformed> {
    toml(&format!("[glexec]\n{key_value}\n"))
}

#[track_caller]
fn refused(result: Result<Config, Malformed>, parts: &[&str]) {
    let malformed = result.expect_err("must be refused");
    for part in parts {
        assert!(malformed.sentence.contains(part), "{part:?} is not in {malformed:?}");
    }
    assert!(!malformed.sentence.chars().any(char::is_control), "{malformed:?}");
}

#[track_caller]
fn refused_at(result: Result<Config, Malformed>, place: (usize, usize), parts: &[&str]) {
    let found = result.as_ref().map_err(|m| (m.line, m.column)).expect_err("must be refused");
    assert_eq!(found, place, "{result:?}");
    refused(result, parts);
}

fn defaults() -> Config {
    Config {
        linger: true,
        user_white_list: vec![],
        group_white_list: vec![],
        preserve: vec![],
        job_environment: JobEnvironment::Listed,
        epilogue: None,
        log: LogRule {
            destination: LogDestination::Syslog,
            file: None,
            level: 3,
            facility: 3,
            silent: false,
        },
        path: "/usr/local/bin:/usr/bin:/bin".to_owned(),
        working_directory: WorkingDirectory::Home,
        min_target_uid: 100,
        stragglers: Stragglers::Kill,
        kill_grace: Duration::from_secs(10),
        term_grace: None,
        terminal: Terminal::Detach,
        log_only: false,
        keep_descriptors: false,
        suspend_with_caller: false,
        account_source: AccountSource::Auto,
        state: StateRule { directory: "/var/lib/glexec".to_owned(), sync: false, most_runs: 512 },
        cgroups: CgroupRule::default(),
        job_variables: vec![],
        hand_over: vec![],
        create_target_proxy: true,
        remove_target_proxy: true,
        mapping: Mapping::default(),
        notices: vec![],
    }
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn an_empty_file_is_the_defaults_in_both_syntaxes() {
    for text in ["", "\n", "# nothing\n", "[glexec]\n"] {
        assert_eq!(toml(text), Ok(defaults()), "{text:?}");
        assert_eq!(original(text), Ok(defaults()), "{text:?}");
    }
    assert_eq!(toml("[glexec]\n[mapping]\n"), Ok(defaults()));
}

const FULL_TOML: &str = r#"
[glexec]
linger = true
user_white_list = ["pilot", ".ops", "cms*", "*", "root"]
group_white_list = [".grid"]
preserve_env_variables = ["SSL_CLIENT_CERT", "_CONDOR_*"]
user_identity_switch_by = "glexec"
epilogue = "/usr/libexec/site/clean up"
epilogue_user = "cleaner"
epilogue_group = "cleaners"
epilogue_timeout = 60
create_target_proxy = false
omission_private_key_white_list = []
log_destination = "file"
log_file = "/var/log/glexec/glexec.log"
log_level = 5
syslog_facility = "LOG_LOCAL1"
silent_logging = true
use_lcas = false
path = "/bin"
working_directory = "caller"
min_target_uid = 1000
stragglers = "ignore"
kill_grace = 0
term_grace = 30
terminal = "share"
log_only = false
keep_descriptors = true
suspend_with_caller = true
state_sync = true
state_dir = "/var/glexec"
max_runs_per_caller = 7
account_source = "files"
payload_cgroup = "auto"
supervisor_cgroup = "/glexec"
epilogue_environment = "own"
epilogue_failure = "report"
epilogue_output = "log"
job_variables = ["SLURM_JOB_ID", "_x"]
hand_over = ["_CONDOR_SCRATCH_DIR"]
remove_target_proxy = false
"#;

const FULL_ORIGINAL: &str = "
[GLExec]
  linger =yes   # stay
user_white_list = pilot, .ops ,cms*,*,root,
group_white_list=.grid
Preserve_Env_Variables = SSL_CLIENT_CERT, _CONDOR_*
user_identity_switch_by = GLExec
epilogue = \"/usr/libexec/site/clean up\" ; quoted
epilogue_user = cleaner
epilogue_group = 'cleaners'
epilogue_timeout = 60
create_target_proxy = no
omission_private_key_white_list =
log_destination = FILE
log_file = /var/log/glexec/glexec.log
log_level = 5
syslog_facility = log_local1
silent_logging = Yes
use_lcas = no
path = /bin
working_directory = caller
min_target_uid = 1000
stragglers = ignore
kill_grace = 0
term_grace = 30
terminal = share
log_only = no
keep_descriptors = yes
suspend_with_caller = yes
state_sync = yes
state_dir = /var/glexec
max_runs_per_caller = 7
account_source = files
payload_cgroup = auto
supervisor_cgroup = /glexec
epilogue_environment = own
epilogue_failure = report
epilogue_output = log
job_variables = SLURM_JOB_ID, _x
hand_over = _CONDOR_SCRATCH_DIR
remove_target_proxy = no
";

fn full() -> Config {
    Config {
        user_white_list: vec![
            Listed::Name("pilot".to_owned()),
            Listed::Pool("ops".to_owned()),
            Listed::Pool("cms".to_owned()),
            Listed::Everybody,
            Listed::Name("root".to_owned()),
        ],
        group_white_list: vec![Listed::Pool("grid".to_owned())],
        preserve: vec![
            Kept::Name("SSL_CLIENT_CERT".to_owned()),
            Kept::Prefix("_CONDOR_".to_owned()),
        ],
        epilogue: Some(EpilogueRule {
            path: "/usr/libexec/site/clean up".to_owned(),
            user: Some("cleaner".to_owned()),
            group: Some("cleaners".to_owned()),
            timeout: Duration::from_secs(60),
            environment: EpilogueEnvironment::Own,
            failure: EpilogueFailure::Report,
            output: EpilogueOutput::Log,
        }),
        log: LogRule {
            destination: LogDestination::File,
            file: Some("/var/log/glexec/glexec.log".to_owned()),
            level: 5,
            facility: 17,
            silent: true,
        },
        path: "/bin".to_owned(),
        working_directory: WorkingDirectory::Caller,
        min_target_uid: 1000,
        stragglers: Stragglers::Ignore,
        kill_grace: Duration::ZERO,
        term_grace: Some(Duration::from_secs(30)),
        terminal: Terminal::Share,
        keep_descriptors: true,
        suspend_with_caller: true,
        account_source: AccountSource::Files,
        state: StateRule { directory: "/var/glexec".to_owned(), sync: true, most_runs: 7 },
        cgroups: CgroupRule { supervisor: Some("/glexec".to_owned()), payload: true },
        job_variables: texts(&["SLURM_JOB_ID", "_x"]),
        hand_over: texts(&["_CONDOR_SCRATCH_DIR"]),
        create_target_proxy: false,
        remove_target_proxy: false,
        ..defaults()
    }
}

#[test]
fn both_syntaxes_say_the_same() {
    assert_eq!(toml(FULL_TOML), Ok(full()));
    assert_eq!(original(FULL_ORIGINAL), Ok(full()));
    assert_eq!(original(&FULL_ORIGINAL.replace('\n', "\r\n")), Ok(full()));
}

#[test]
fn the_originals_syntax_has_lines_of_who_becomes_whom() {
    let text = "[Mapping]\n@Grid = a , b  # two\n[lcmaps]\nx = y\n[glexec]\nlinger = yes\n[mapping]\npilot = \"p[08-09]\"\n";
    let Config { mapping, notices, .. } = original(text).unwrap();
    let expected = Mapping {
        methods: vec![Means::Lines],
        rows: vec![StaticRow {
            at: 0,
            caller: RowCaller::Group("Grid".to_owned()),
            accounts: texts(&["a", "b"]),
            groups: None,
        }],
        pools: vec![PoolRow {
            at: 1,
            caller: RowCaller::User("pilot".to_owned()),
            accounts: series(("p", ""), 2, (8, 9)),
        }],
        ..Mapping::default()
    };
    assert_eq!(mapping, expected);
    assert_eq!(notices, ["line 3: the section [lcmaps] is ignored"]);
    for (line, parts) in [
        ("pilot", &["3:1"][..]),
        ("pilot =", &["3:", "pilot"]),
        ("pilot = @grid", &["3:9", "callers only"]),
        ("pilot = a,,b", &["3:9", "empty"]),
        ("pilot = p[9-1]", &["3:9", "no series"]),
        ("pilot = p[1-2], a", &["3:9", "`p1, a`"]),
        ("@ = a", &["3:5", "empty"]),
        ("first = b", &["3:9", "line 2 already"]),
        ("banned = mallory", &["3:10", "/etc/glexec.toml"]),
        ("pi*lot = a", &["3:10", "pi*lot"]),
    ] {
        let bad = original(&format!("[mapping]\nfirst = a\n{line}\nlast = z\n")).unwrap_err();
        let told = format!("{}:{}: {}", bad.line, bad.column, bad.sentence);
        assert!(parts.iter().all(|part| told.contains(part)), "{line}: {told}");
        assert!(!told.contains("[["), "no word of the other syntax: {told}");
    }
    let bad = original("[glexec]\nlinger = no\n[mapping]\na = b\nc = d[1-2]\n").unwrap_err();
    assert!(bad.line == 5 && bad.sentence.contains("linger"), "{bad:?}");
}

#[test]
fn an_epilogue_without_more_is_as_in_the_original() {
    let rule = EpilogueRule {
        path: "/a/b".to_owned(),
        user: None,
        group: None,
        timeout: Duration::from_secs(300),
        environment: EpilogueEnvironment::Payload,
        failure: EpilogueFailure::Fail,
        output: EpilogueOutput::Null,
    };
    let expected = Config { epilogue: Some(rule), ..defaults() };
    assert_eq!(glexec("epilogue = \"/a/b\""), Ok(expected.clone()));
    assert_eq!(original("[glexec]\nepilogue = /a/b"), Ok(expected));
}

#[test]
fn static_rows_are_kept_in_order() {
    let text = r#"
        [mapping]
        methods = ["static"]
        banned = ["/DC=org/CN=Mallory", "mallory"]
        [[mapping.static]]
        caller = "pilot"
        account = "pool001"
        [[mapping.static]]
        caller = "@grid"
        accounts = ["a", "b"]
        groups = ["g1", "g2"]
    "#;
    let expected = Mapping {
        banned: texts(&["/DC=org/CN=Mallory", "mallory"]),
        rows: vec![
            StaticRow {
                at: 0,
                caller: RowCaller::User("pilot".to_owned()),
                accounts: texts(&["pool001"]),
                groups: None,
            },
            StaticRow {
                at: 1,
                caller: RowCaller::Group("grid".to_owned()),
                accounts: texts(&["a", "b"]),
                groups: Some(texts(&["g1", "g2"])),
            },
        ],
        ..Mapping::default()
    };
    assert_eq!(toml(text).map(|config| config.mapping), Ok(expected));
}

fn series((prefix, suffix): (&str, &str), width: usize, (first, last): (usize, usize)) -> Accounts {
    Accounts::Series { prefix: prefix.to_owned(), suffix: suffix.to_owned(), width, first, last }
}

#[test]
fn pool_rows_are_series_or_lists() {
    let pools = |accounts: &str| {
        let row = format!("[[mapping.pool]]\ncaller = \"@g\"\naccounts = {accounts}\n");
        toml(&format!("[mapping]\nmethods = [\"static\", \"pool\"]\n{row}"))
    };
    let config = pools("\"p[08-11]x\"").unwrap().mapping;
    assert_eq!(config.methods, [Means::Static, Means::Pool]);
    let row = PoolRow {
        at: 0,
        caller: RowCaller::Group("g".to_owned()),
        accounts: series(("p", "x"), 2, (8, 11)),
    };
    assert_eq!(row.accounts.names().collect::<Vec<_>>(), ["p08x", "p09x", "p10x", "p11x"]);
    assert_eq!((row.accounts.count(), row.accounts.name(4)), (4, None));
    assert_eq!(config.pools, [row]);
    let names = |text: &str| {
        let accounts = &pools(text).unwrap().mapping.pools[0].accounts;
        (accounts.count(), accounts.names().collect::<Vec<_>>())
    };
    assert_eq!(names("[\"a\", \"b\"]"), (2, texts(&["a", "b"])));
    assert_eq!(names("\"one\""), (1, texts(&["one"])));
    for bad in [
        "\"p[8-11]\"",
        "\"p[11-08]\"",
        "\"p[]\"",
        "\"p[1-\"",
        "\"p[a-b]\"",
        "\"p[00000-99999]\"",
        "[]",
        "\"\"",
        "[\"a:b\"]",
        "\"p[01-02]/\"",
        "7",
    ] {
        assert!(pools(bad).is_err(), "{bad}");
    }
    refused(toml("[[mapping.pool]]\naccounts = \"a\"\n"), &["needs a `caller`"]);
    refused(glexec("linger = false\n[mapping]\nmethods = [\"pool\"]"), &["`linger = false`"]);
}

#[test]
fn a_row_that_is_wrong_is_told_with_its_place() {
    let first = "[[mapping.static]]\ncaller = \"a\"\naccount = \"b\"\n[[mapping.static]]\n";
    let cases = [
        ("account = \"x\"", (4, 1), "each [[mapping.static]] needs one"),
        ("caller = \"c\"", (4, 1), "needs it, or `accounts`"),
        ("caller = \"c\"\naccounts = []", (6, 12), "the list is empty"),
        ("caller = \"c\"\naccount = \"x\"\naccounts = [\"y\"]", (7, 12), "keep one of them"),
        ("caller = \"c\"\naccount = \"@x\"", (6, 11), "for callers only"),
        ("caller = \"c:d\"\naccount = \"x\"", (5, 10), "`c:d`"),
        ("caller = \"@\"\naccount = \"x\"", (5, 10), "it is empty"),
        ("caller = \"c\"\naccount = \"x\"\ngroups = [\"-g\"]", (7, 11), "begins with `-`"),
        ("caller = \"c\"\nacount = \"x\"", (6, 1), "unknown key `acount`; did you mean `account`?"),
        ("caller = 1\naccount = \"x\"", (5, 10), "`caller`: invalid type"),
        ("caller = \"c\"\naccounts = \"pool[001-064]\"", (6, 12), "`accounts`: invalid type"),
    ];
    for (row, place, part) in cases {
        refused_at(toml(&format!("{first}{row}\n")), place, &[part]);
    }
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    refused_at(glexec("lingr = true"), (2, 1), &["unknown key `lingr`; did you mean `linger`?"]);
    let cases = [
        ("[glexec]\nusr_white_list = []", "did you mean `user_white_list`?"),
        ("[glexec]\nEpilogue = \"/x\"", "did you mean `epilogue`?"),
        ("[glexec]\nzzz = 1", "unknown key `zzz`; the known ones are in docs/configuration.md"),
        ("[glexec]\n\"a\\nb`, expected `c`\" = 1", "unknown key `a\\nb`, expected `c``"),
        ("linger = true", "unknown key `linger`; here are known `glexec`, `mapping`"),
        ("[glexc]", "did you mean `glexec`?"),
        ("[mapping]\nmethod = []", "did you mean `methods`?"),
        ("glexec.lingr = true", "did you mean `linger`?"),
    ];
    for (text, part) in cases {
        refused(toml(text), &[part]);
    }
}

#[test]
fn a_wrong_type_names_the_key_and_its_place() {
    let cases = [
        ("[glexec]\nlinger = \"yes\"", (2, 10), "`linger`: invalid type: string"),
        ("[glexec]\nlinger = true\nuser_white_list = [\n \"ä\", 3]", (4, 7), "`user_white_list`: "),
        ("[glexec]\nuser_white_list = \"a, b\"", (2, 19), "`user_white_list`: "),
        ("[glexec]\nlog_level = \"3\"", (2, 13), "`log_level`: "),
        ("[glexec]\nlog_level = 3.5", (2, 13), "`log_level`: "),
        ("[glexec]\nkill_grace = 99999999999999999999", (2, 14), "`kill_grace`: "),
        (
            "[glexec]\nstragglers = \"Kill\"",
            (2, 14),
            "unknown word `Kill`, expected \"kill\" or \"ignore\"",
        ),
        ("[glexec]\nterminal = 1", (2, 12), "`terminal`: "),
        ("[glexec]\nlock_mechanism = \"none\"", (2, 18), "`lock_mechanism`: unknown word `none`"),
        ("[glexec]\nepilogue = 2026-01-01", (2, 12), "`epilogue`: "),
        ("[glexec]\nstragglers = \"a\\nb\"", (2, 14), "unknown word `a\\nb`"),
    ];
    for (text, place, part) in cases {
        refused_at(toml(text), place, &[part]);
    }
}

#[test]
fn a_table_is_a_table_and_no_list_by_position() {
    let cases = [
        ("glexec = 3", (1, 10), "`glexec`: invalid type: integer `3`, expected a table"),
        ("glexec = [true, []]", (1, 10), "`glexec`: invalid type: list, expected a table"),
        ("[[glexec]]\nlinger = true", (1, 1), "expected a table"),
        ("[mapping]\nstatic = [[\"a\", \"b\"]]", (2, 11), "`static`: invalid type: list"),
        ("[mapping]\nstatic = { caller = \"a\" }", (2, 10), "`static`: "),
        ("[mapping]\nmethods = \"static\"", (2, 11), "`methods`: "),
        ("[mapping]\nmethods = [\"ldap\"]", (2, 12), "`methods`: unknown word `ldap`"),
    ];
    for (text, place, part) in cases {
        refused_at(toml(text), place, &[part]);
    }
}

#[test]
fn what_is_no_text_or_no_toml_is_refused_with_its_place() {
    let cases: [(&[u8], (usize, usize), &str); 12] = [
        (b"[glexec]\nlinger = \xff", (2, 10), "no UTF-8"),
        (
            "# ä\n[glexec]\n# äö".as_bytes().split_at("# ä\n[glexec]\n# äö".len() - 1).0,
            (3, 4),
            "no UTF-8",
        ),
        (b"[glexec]\n# a\0b", (2, 4), "control character 0x00"),
        (b"[glexec]\n\x1b[31m", (2, 1), "control character 0x1b"),
        ("\u{feff}[glexec]\n".as_bytes(), (1, 1), "byte order mark"),
        (b"[glexec]\nlinger true", (2, 8), "not TOML: "),
        (b"[glexec]\nlinger = true\nlinger = true", (3, 1), "`linger` stands in line 2 already, and again in line 3; keep one"),
        (b"[glexec]\n\n[mapping]\n[glexec]", (4, 2), "`glexec` stands in line 1 already, and again in line 4"),
        (b"[[mapping.static]]\ncaller = \"a\"\n[[mapping.static]]\ncaller = \"a\"\ncaller = \"b\"", (5, 1), "`caller` stands in line 4 already, and again in line 5"),
        (b"mapping = { a = 1, a = 2 }", (1, 20), "`a` stands there twice; keep one"),
        (b"[glexec", (1, 8), "not TOML: "),
        (b"[glexec]\nlinger = yes", (2, 10), "not TOML: "),
    ];
    for (bytes, place, part) in cases {
        refused_at(Config::parse(bytes, Syntax::Toml), place, &[part]);
    }
    for (bytes, place, part) in &cases[..5] {
        refused_at(Config::parse(bytes, Syntax::Original), *place, &[part]);
    }
}

#[test]
fn depth_does_not_end_in_a_stack_overflow() {
    let deep = [
        format!("[glexec]\nlcas_db_file = {}", "[".repeat(30_000)),
        format!("[glexec]\nlcas_db_file = {}", "{a=".repeat(20_000)),
        format!("[glexec]\nlcas_db_file{} = 1", ".a".repeat(30_000)),
        format!("[glexec.lcas_db_file{}]\nx = 1", ".a".repeat(30_000)),
    ];
    for text in deep {
        assert!(toml(&text).is_err(), "{}", &text[..40]);
    }
}

#[test]
fn what_is_not_there_yet_is_refused_and_never_ignored() {
    let switch = ["`user_identity_switch_by`", "write \"glexec\"", "lcmaps_posix_enf"];
    refused_at(glexec("user_identity_switch_by = \"lcmaps\""), (2, 27), &switch);
    refused_at(original("[glexec]\nuser_identity_switch_by = lcmaps"), (2, 27), &switch);
    refused(glexec("use_lcas = true"), &["`use_lcas`", "ban plug-in", "`banned`"]);
    refused(original("[glexec]\nuse_lcas = yes"), &["`use_lcas`", "ban plug-in", "`banned`"]);
    refused(toml("[mapping]\nmethods = []"), &["`methods`"]);
}

#[test]
fn what_maps_by_credential_is_named_whole() {
    let text =
        |rest: &str| format!("[mapping]\nmethods = [\"gridmap\"]\n[mapping.gridmap]\n{rest}\n");
    let both = "grid_mapfile = \"/g\"\nca_dir = \"/c\"";
    let rule = GridmapRule { grid_mapfile: "/g".to_owned(), gridmapdir: None, ban_file: None };
    let credential = Some(CredentialRule { ca_dir: "/c".to_owned(), accept: vec!["rfc3820"] });
    let mapping = toml(&text(both)).map(|config| config.mapping);
    let expected = Mapping {
        methods: vec![Means::Gridmap],
        credential,
        gridmap: Some(rule),
        ..Mapping::default()
    };
    assert_eq!(mapping, Ok(expected));
    for (rest, parts) in [
        ("grid_mapfile = \"/g\"", &["`ca_dir`", "needs"][..]),
        ("ca_dir = \"/c\"", &["`grid_mapfile`", "needs"]),
        ("accept = [\"plain\"]", &["`grid_mapfile`"]),
        ("gridmapdir = \"relative\"", &["`grid_mapfile`"]),
        ("", &["`methods`", "[mapping.gridmap]"]),
    ] {
        refused(toml(&text(rest)), parts);
    }
    for (rest, parts) in [
        ("gridmapdir = \"relative\"", &["`gridmapdir`", "absolute"][..]),
        ("ban_file = \"/a/../b\"", &["`ban_file`", "canonical"]),
        ("accept = []", &["`accept`"]),
        ("accept = [\"legacy\"]", &["`accept`", "not there yet"]),
        ("accept = [\"all\"]", &["`accept`", "all"]),
        ("groupmapfile = \"/x\"", &["`groupmapfile`", "VOMS", "\"lcmaps\" in `methods`"]),
        ("vomsdir = \"/x\"", &["`vomsdir`", "LCMAPS"]),
    ] {
        refused(toml(&text(&format!("{both}\n{rest}"))), parts);
    }
    let keyless = |config: Config| config.mapping.without_key;
    let tomcat = vec![Listed::Name("tomcat".to_owned())];
    assert_eq!(
        glexec("omission_private_key_white_list = [\"tomcat\"]").map(keyless),
        Ok(tomcat.clone())
    );
    let old = original("[glexec]\nomission_private_key_white_list = tomcat\n[mapping]\na = b\n");
    assert_eq!(old.map(keyless), Ok(tomcat));
}

#[test]
fn an_issuer_of_tokens_has_keys_and_an_audience() {
    let row =
        "[[mapping.token]]\nissuer = \"https://i.example/\"\nkeys = \"/k\"\naudience = [\"a\"]\n";
    let text = |mapping: &str, rows: &str| {
        format!("[mapping]\nmethods = [\"token\"]\n{mapping}\n{rows}\n")
    };
    let mapfile = "token_mapfile = \"/m\"";
    let rule = toml(&text(mapfile, row)).map(|config| config.mapping.token);
    let issuer = IssuerRow {
        issuer: "https://i.example/".to_owned(),
        keys: "/k".to_owned(),
        audiences: texts(&["a"]),
        scopes: texts(&["compute.create"]),
    };
    let expected = TokenRule { issuers: vec![issuer], mapfile: "/m".to_owned(), skew: 60 };
    assert_eq!(rule, Ok(Some(expected)));
    let rest = "token_clock_skew = 0\n";
    let own = format!("{row}scope = []\n");
    let rule = toml(&text(&format!("{rest}{mapfile}"), &own)).expect("is good").mapping.token;
    assert!(rule.is_some_and(|rule| rule.skew == 0 && rule.issuers[0].scopes.is_empty()));
    let idle = toml(&text(mapfile, row).replace("\"token\"]", "\"static\"]")).expect("is good");
    assert_eq!(idle.mapping.token, None);
    for (mapping, rows, parts) in [
        ("", row, &["`methods`", "`token_mapfile`"][..]),
        (mapfile, "", &["`methods`", "[[mapping.token]]"]),
        ("token_mapfile = \"m\"", row, &["`token_mapfile`", "absolute"]),
        (&format!("{mapfile}\ntoken_clock_skew = 601"), row, &["`token_clock_skew`", "600"]),
        (mapfile, &row.replace("issuer =", "scope = []\n#"), &["`issuer`", "missing"]),
        (mapfile, &row.replace("keys =", "scope = []\n#"), &["`keys`", "missing"]),
        (mapfile, &row.replace("audience =", "scope = []\n#"), &["`audience`", "needs one"]),
        (mapfile, &row.replace("[\"a\"]", "[]"), &["`audience`", "needs one"]),
        (mapfile, &row.replace("[\"a\"]", "[\"a b\"]"), &["`audience`", "no word"]),
        (mapfile, &row.replace("example/", "example,/"), &["`issuer`", "comma"]),
        (mapfile, &row.replace("\"/k\"", "\"k\""), &["`keys`", "absolute"]),
        (mapfile, &format!("{row}algorithm = \"none\"\n"), &["unknown key `algorithm`"]),
        ("token_mapfile = \"/m\"\n[mapping.token]\nissuer = \"x\"", "", &["`token`", "table"]),
    ] {
        refused(toml(&text(mapping, rows)), parts);
    }
    let banned = |word: &str| toml(&format!("[mapping]\nbanned = [\"{word}\"]\n"));
    assert!(banned("https://i.example/,mallory").is_ok());
    assert!(banned("https://i.example/").is_err());
}

#[test]
fn what_has_no_effect_is_told() {
    let text = "lock_mechanism = \"fcntl\"\ninput_lock_mechanism = \"flock\"\ntarget_lock_mechanism = \"disabled\"\n\
        lcas_db_file = \"/x\"\nlcas_log_file = \"/x\"\nlcas_debug_level = 0\nlcas_log_level = 1\n\
        epilogue_user = \"a\"\nepilogue_group = \"b\"\nepilogue_timeout = 0\nlog_file = \"relative\"\n";
    let config = glexec(text).expect("is good");
    assert_eq!(config.notices.len(), 11);
    for (line, notice) in text.lines().zip(&config.notices) {
        let key = line.split(' ').next().expect("a key");
        assert!(notice.starts_with(&format!("`{key}` has no effect: ")), "{notice}");
    }
    assert_eq!(Config { notices: vec![], ..config }, defaults());
}

#[test]
fn values_out_of_range_are_refused() {
    let epilogue = "epilogue = \"/e\"\n";
    let cases = [
        ("max_runs_per_caller = 0".to_owned(), "`max_runs_per_caller`: 0 is not in 1 to 1000000"),
        ("max_runs_per_caller = 1000001".to_owned(), "`max_runs_per_caller`"),
        ("state_dir = \"var/lib\"".to_owned(), "`state_dir`: `var/lib` is no canonical path"),
        ("kill_grace = -1".to_owned(), "-1 is not in 0 to 604800 s (7 days)"),
        ("kill_grace = 604801".to_owned(), "7 days"),
        ("term_grace = 0".to_owned(), "0 is not in 1 to 604800 s"),
        ("term_grace = 604801".to_owned(), "7 days"),
        (
            format!("{epilogue}epilogue_timeout = 0"),
            "`epilogue_timeout`: 0 is not in 1 to 604800 s",
        ),
        ("epilogue_timeout = 604801".to_owned(), "7 days"),
        (format!("{epilogue}linger = false"), "`linger = false`"),
        (format!("{epilogue}log_only = true"), "`log_only = true`"),
        (
            format!("{epilogue}user_identity_switch_by = \"lcmaps\"\nepilogue_user = \"a\""),
            "`user_identity_switch_by`",
        ),
        ("min_target_uid = 0".to_owned(), "root is never a target"),
        ("min_target_uid = 4294967295".to_owned(), "`min_target_uid`"),
        ("min_target_uid = -5".to_owned(), "`min_target_uid`"),
        ("log_level = 6".to_owned(), "`log_level`: 6 is not in 0 to 5"),
        ("log_level = -1".to_owned(), "`log_level`"),
        ("log_level = 256".to_owned(), "`log_level`"),
        ("log_destination = \"file\"".to_owned(), "needs a `log_file`"),
        (
            "log_destination = \"file\"\nlog_file = \"x\"".to_owned(),
            "`log_file`: `x` is no canonical path",
        ),
        ("syslog_facility = \"LOG_LOCAL8\"".to_owned(), "`syslog_facility`"),
        ("job_variables = [\"A\", \"B\", \"A\"]".to_owned(), "twice"),
        (
            format!("job_variables = {:?}", (0..33).map(|n| format!("V{n}")).collect::<Vec<_>>()),
            "33 names",
        ),
    ];
    for (text, part) in cases {
        refused(glexec(&text), &[part]);
    }
    let edge =
        "kill_grace = 604800\nterm_grace = 604800\nmin_target_uid = 4294967294\nlog_level = 0";
    assert_eq!(glexec(edge).map(|c| (c.min_target_uid, c.log.level)), Ok((u32::MAX - 1, 0)));
    assert!(glexec("min_target_uid = 1").is_ok());
}

#[test]
fn an_epilogue_is_absolute_and_canonical_by_its_text() {
    let long = format!("/{}", "x".repeat(4095));
    let bad = [
        "",
        "x",
        "./x",
        "/",
        "//",
        "/x/",
        "//x",
        "/x//y",
        "/./x",
        "/x/.",
        "/x/..",
        "/../x",
        "/x/../y",
        "/x\\u0007",
        "/x\\n",
        &long,
    ];
    for path in bad {
        refused(glexec(&format!("epilogue = \"{path}\"")), &["`epilogue`", "no canonical path"]);
    }
    for path in ["/x", "/x/...", "/x/.y", "/usr/libexec/ä b"] {
        assert!(glexec(&format!("epilogue = \"{path}\"")).is_ok(), "{path}");
    }
}

#[test]
fn every_directory_of_the_path_is_absolute() {
    for path in ["", ":", "bin", "/bin:", ":/bin", "/bin::/usr/bin", "/bin:.", "/bin\\u0001"] {
        refused(glexec(&format!("path = \"{path}\"")), &["`path`"]);
    }
    assert!(glexec("path = \"/bin:/opt/a b\"").is_ok());
}

#[test]
fn names_never_kept_cannot_be_asked_for() {
    let bad = [
        "LD_PRELOAD",
        "LD_*",
        "MALLOC_*",
        "MALLOC_ARENA_MAX",
        "GLIBC_TUNABLES",
        "GLIBC_*",
        "GCONV_PATH",
        "LOCPATH",
        "NLSPATH",
        "BASH_ENV",
        "BASH_*",
        "ENV",
        "SHELLOPTS",
        "BASHOPTS",
        "BASH_FUNC_ls%%",
        "PS4",
        "IFS",
        "CDPATH",
        "PYTHONPATH",
        "PYTHON*",
        "PYTHON_*",
        "PERL5LIB",
        "PERL5_*",
        "PERLLIB",
        "RUBYOPT",
        "NODE_OPTIONS",
        "NODE_*",
        "JAVA_TOOL_OPTIONS",
        "JAVA_*",
        "GLEXEC_EPILOG_TARGET_RC",
        "GLEXEC_EPILOG_*",
        "GLEXEC_*",
        "P*",
        "X*",
        "*",
        "",
        "_*x",
        "A=B",
        "A B",
        "A*_*",
        "ä",
    ];
    for name in bad {
        refused(
            glexec(&format!("preserve_env_variables = [\"{name}\"]")),
            &["`preserve_env_variables`", name],
        );
    }
    let good = "HOME, CONDOR_INHERIT, CONDOR_CONFIG, _CONDOR_EXECUTE, _CONDOR_LOG, SSL_CLIENT_CERT, yes, no, SLURM_*, ENV_*";
    let config = original(&format!("[glexec]\npreserve_env_variables = {good}")).expect("is good");
    assert_eq!(config.preserve.len(), 10);
    assert!(config.preserve.contains(&Kept::Name("no".to_owned())));
}

#[test]
fn white_lists_hold_names_pools_and_stars() {
    let long = "x".repeat(257);
    for entry in [
        "", ".", ".*", "a*b", ".a*", "a:b", "a/b", "-a", "@a", "a b", "a,b", "**", "a\\nb", ".-a",
        &long,
    ] {
        for key in ["user_white_list", "group_white_list"] {
            refused(glexec(&format!("{key} = [\"{entry}\"]")), &["no name of an account or group"]);
        }
    }
    for key in ["epilogue_user", "epilogue_group"] {
        for name in ["", "*", "a:b", "-x", "@x", "/x"] {
            refused(glexec(&format!("{key} = \"{name}\"")), &[key, "no name"]);
        }
    }
    for name in ["", "@g", "a b", "/DC=x\\n"] {
        refused(toml(&format!("[mapping]\nbanned = [\"{name}\"]")), &["`banned`"]);
    }
}

#[test]
fn job_variables_are_plain() {
    let long = "x".repeat(65);
    for name in ["", "1A", "A-B", "A B", "A=B", "ä", "A*", &long] {
        refused(glexec(&format!("job_variables = [\"{name}\"]")), &["`job_variables`"]);
    }
    assert!(glexec(&format!("job_variables = [\"{}\"]", "x".repeat(64))).is_ok());
}

#[test]
fn facilities_have_the_numbers_of_syslog() {
    let cases = [
        ("LOG_KERN", 0),
        ("DAEMON", 3),
        ("log_authpriv", 10),
        ("LOG_FTP", 11),
        ("LOG_LOCAL0", 16),
        ("local7", 23),
    ];
    for (word, number) in cases {
        let config = glexec(&format!("syslog_facility = \"{word}\"")).expect(word);
        assert_eq!(config.log.facility, number, "{word}");
    }
    for word in ["", "LOG_", "-", "LOG_-", "LOG_LOG_DAEMON", "3"] {
        refused(glexec(&format!("syslog_facility = \"{word}\"")), &["no syslog facility"]);
    }
}

#[test]
fn the_original_files_words_are_read_as_the_original_did() {
    for (word, value) in
        [("yes", true), ("YES", true), ("y", true), ("No", false), ("n", false), ("\"no\"", false)]
    {
        let config = original(&format!("[glexec]\nlinger = {word}\n")).expect(word);
        assert_eq!(config.linger, value, "{word}");
    }
    let config = original(
        "[glexec]\nuser_white_list = a ,b,, c ,\npreserve_env_variables =\nlinger = no#\n",
    );
    refused_at(config, (4, 10), &["`#`"]);
    let config = original("[glexec]\nuser_white_list = a ,b,, c ,\npreserve_env_variables =\n")
        .expect("is good");
    assert_eq!(config.user_white_list.len(), 3);
}

/// What is wrong in the original's syntax: text, place, part of the sentence.
const ORIGINAL_WRONG: [(&str, (usize, usize), &str); 18] = [
    ("[glexec]\n  linger\n", (2, 3), "neither `key = value`"),
    ("[glexec\nlinger = yes", (1, 1), "a section that does not end"),
    ("[glexec] x\n", (1, 1), "a section that does not end"),
    ("[glexec]\n= yes", (2, 1), "no key"),
    ("[glexec]\na b = yes", (2, 1), "no key"),
    ("[glexec]\nepilogue = \"/x", (2, 12), "a quote that is not closed"),
    ("[glexec]\nuser_white_list = \"a\", \"b\"", (2, 22), "after the closing quote"),
    ("[glexec]\nepilogue = /x#y", (2, 12), "within a word"),
    ("[glexec]\nuser_white_list = a, \\", (2, 19), "ends with its line"),
    ("[glexec]\nlinger = maybe", (2, 10), "`linger`: `maybe` is neither yes nor no"),
    ("[glexec]\nlinger =", (2, 9), "`linger`: `` is neither yes nor no"),
    ("[glexec]\nlog_level = high", (2, 13), "`log_level`: `high` is no number"),
    ("[glexec]\nkill_grace = 1.5", (2, 14), "`kill_grace`: `1.5` is no number"),
    ("[glexec]\nlog_destination = tape", (2, 19), "`log_destination`: unknown word `tape`"),
    ("[glexec]\nepilogue =", (2, 11), "`epilogue`: `` is no canonical path"),
    ("[glexec]\nepilogue_user =", (2, 16), "`epilogue_user`: `` is no name"),
    ("[glexec]\nepilogue = /x\nlinger = no", (2, 12), "`linger = false`"),
    ("[other]\nnonsense\n", (2, 1), "neither `key = value`"),
];

#[test]
fn the_original_file_is_told_with_its_place_where_it_is_wrong() {
    for (text, place, part) in ORIGINAL_WRONG {
        refused_at(original(text), place, &[part]);
    }
}

#[test]
fn what_the_original_ignored_is_ignored_with_a_notice() {
    let text = "lone = 1\n[glexec]\ndiff_syslog_levels = yes\nommission_private_key_white_list = x\n\
        log_level = 9\nlinger = no\nlinger = yes\n[dummy]\nlinger = no\n[lcmaps]\nbanned = x\n";
    let config = original(text).expect("is good");
    let expected = [
        "line 1: `lone` stands before every section",
        "line 7: `linger` stands there twice",
        "line 8: the section [dummy] is ignored",
        "line 10: the section [lcmaps] is ignored",
        "line 3: the key `diff_syslog_levels` is not known",
        "line 4: the key `ommission_private_key_white_list` is not known",
        "`log_level`: 9 is not in 0 to 5; 5 is used",
    ];
    assert_eq!(config.notices.len(), expected.len(), "{:?}", config.notices);
    for (notice, expected) in config.notices.iter().zip(expected) {
        assert!(notice.starts_with(expected), "{notice}");
    }
    assert_eq!((config.linger, config.log.level), (true, 5));
    assert_eq!(original("[glexec]\nlog_level = -4").map(|c| c.log.level), Ok(0));
}

/// Configurations in the manner of the field (reference, section 1): name, text, users listed.
const CORPUS: [(&str, &str, usize); 5] = [
    (
        "OSG 3",
        "# OSG glexec configuration\n[glexec]\nlinger = no\nuse_lcas = no\ncreate_target_proxy = no\n\
        log_level = 3\n#log_destination = syslog\n#syslog_facility = LOG_DAEMON\nuser_white_list = *\n\
        preserve_env_variables = HOME, CONDOR_INHERIT, CONDOR_CONFIG, _CONDOR_EXECUTE, _CONDOR_LOG, _CONDOR_GSI_DAEMON_PROXY, SSL_CLIENT_CERT\n\
        lcmaps_db_file = /etc/lcmaps.db\nlcmaps_debug_level = 2\nlcmaps_get_account_policy = glexec\nlcmaps_voms_verification = no\n",
        1,
    ),
    (
        "OSG, first",
        "[glexec]\nuser_white_list = *\ngroup_white_list = *\ndiff_syslog_levels = no\nlog_file = /var/log/glexec.log\n\
        lcmaps_log_file = /var/log/lcmaps.log\nlcmaps_log_level = 1\n",
        1,
    ),
    (
        "EMI worker node by YAIM",
        "[glexec]\nsilent_logging = no\nlog_level = 1\nuser_white_list = .pilatlas, .pilcms,opspilot001\nlinger = yes\n\
        user_identity_switch_by = lcmaps\nlog_destination = file\nlog_file = /var/log/glexec/glexec_log\npreserve_env_variables = no\n\
        use_lcas = yes\nlcas_db_file = /etc/lcas/lcas-glexec.db\nlcas_log_file = /var/log/glexec/lcas_lcmaps.log\nlcas_debug_level = 0\nlcas_log_level = 1\n\
        lcmaps_db_file = /etc/lcmaps/lcmaps-glexec.db\nlcmaps_verify_account_policy = glexec_verify_account\ncreate_target_proxy = yes\n\
        target_lock_mechanism = flock\ninput_lock_mechanism = flock\n",
        3,
    ),
    (
        "CREAM CE",
        "[glexec]\nlinger = no\nuser_white_list = tomcat\nomission_private_key_white_list = tomcat\npreserve_env_variables =\n\
        create_target_proxy = no\nlog_destination = syslog\nlog_level = 1\nuse_lcas = yes\nlcas_log_level = 1\nlcmaps_get_account_policy = glexec_get_account\n",
        1,
    ),
    (
        "certification test",
        "[glexec]\nuser_white_list = root,.test,test*\nepilogue = /usr/libexec/glexec/epilogue\nepilogue_timeout = 30\nlock_mechanism = fcntl\n\
        syslog_facility = LOG_LOCAL1\npreserve_env_variables = yes\nlcmaps_db_file = /etc/lcmaps.db\n\n[dummy]\n",
        3,
    ),
];

#[test]
fn configurations_of_the_field_are_refused_only_for_what_is_gone_and_map_by_lcmaps() {
    let gone = |line: &str| ["use_lcas = yes", "user_identity_switch_by = lcmaps"].contains(&line);
    let mut good = 0;
    for (name, text, listed) in CORPUS {
        match original(text) {
            Ok(_) => good += 1,
            Err(told) => {
                let line = text.lines().nth(told.line - 1).expect(name);
                assert!(gone(line), "{name}: {told:?}");
                let key = line.split(' ').next().expect(name);
                assert!(told.sentence.contains(key), "{name}: {told:?}");
            }
        }
        let rest: Vec<&str> = text.lines().filter(|line| !gone(line)).collect();
        let config = original(&rest.join("\n")).expect(name);
        assert_eq!(config.user_white_list.len(), listed, "{name}");
        let asked = ["lcmaps_db_file", "lcmaps_get"].iter().any(|key| text.contains(key));
        let methods = if asked { vec![Means::Lcmaps] } else { vec![Means::Static] };
        assert_eq!(config.mapping.methods, methods, "{name}");
    }
    assert_eq!(good, 3);
}

#[test]
fn lcmaps_is_asked_where_the_methods_have_it() {
    let text = "[glexec]\nlcmaps_db_file = \"/db\"\nlcmaps_get_account_policy = \"a:b\"\n[mapping]\nmethods = [\"lcmaps\"]\n";
    let config = toml(text).expect("is good");
    let rule = config.mapping.lcmaps.expect("a rule");
    assert_eq!(rule.library, "liblcmaps_return_account_from_pem.so.0");
    assert_eq!((rule.database.as_str(), rule.policies.as_deref()), ("/db", Some("a:b")));
    assert_eq!((rule.debug_level, rule.verifies_attributes), (4, true));
    let credential = config.mapping.credential.expect("a rule");
    assert_eq!(credential.ca_dir, "/etc/grid-security/certificates");
    assert_eq!(config.notices, [""; 0]);
    let idle = toml(&text.replace("\"lcmaps\"]", "\"static\"]")).expect("is good");
    assert!(idle.notices.iter().any(|notice| notice.contains("LCMAPS is not asked")));
    assert_eq!((idle.mapping.lcmaps, idle.mapping.credential), (None, None));
    let believed = original("[glexec]\nlcmaps_db_file = /db\nlcmaps_voms_verification = no\n");
    let believed = believed.expect("is good");
    assert!(crate::policy::believes_attributes(&believed));
    for (key, value, part) in [
        ("lcmaps_db_file", "db", "`lcmaps_db_file`"),
        ("lcmaps_debug_level", "9", "not in 0 to 5"),
        ("lcmaps_get_account_policy", "a::b", "no list"),
        ("lcmaps_get_account_policy", "a:b:c:d:e:f:g:h:i:j", "at most 9"),
        ("lcmaps_get_account_policy", "a b", "no list"),
    ] {
        let database = if key == "lcmaps_db_file" { "" } else { "lcmaps_db_file = /db\n" };
        refused(original(&format!("[glexec]\n{database}{key} = {value}\n")), &[part]);
    }
    let table = |rest: &str| toml(&format!("{text}[mapping.lcmaps]\n{rest}\n"));
    for (rest, part) in [
        ("library = \"x.so\"", "`library`"),
        ("library = \"lib/x.so\"", "`library`"),
        ("ca_dir = \"x\"", "`ca_dir`"),
        ("accept = []", "`accept`"),
        ("database = \"/x\"", "unknown key"),
    ] {
        refused(table(rest), &[part]);
    }
    assert!(table("library = \"/opt/lcmaps/liblcmaps.so\"").is_ok());
    refused(toml(&text.replace("[glexec]", "[glexec]\nlog_only = true")), &["`log_only`", "root"]);
    let both = text.replace("[\"lcmaps\"]", "[\"gridmap\", \"lcmaps\"]");
    let gridmap =
        |ca: &str| format!("{both}[mapping.gridmap]\ngrid_mapfile = \"/g\"\nca_dir = \"{ca}\"\n");
    refused(toml(&gridmap("/c")), &["`methods`", "differ"]);
    assert!(toml(&gridmap("/etc/grid-security/certificates")).is_ok());
}

#[test]
fn configurations_of_the_field_become_ones_of_ours_with_a_comment_for_each_change() {
    for (name, text, listed) in CORPUS {
        let file = SourceFile { path: "/etc/glexec.conf".to_owned(), ..original_file(text) };
        let ours = migrated(&file, &Lcmaps::default()).expect(name);
        let config = toml(&ours).unwrap_or_else(|bad| panic!("{name}: {bad:?}\n{ours}"));
        assert_eq!(config.user_white_list.len(), listed, "{name}");
        assert_eq!(config.mapping.methods, [Means::Gridmap], "{name}");
        for line in text.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
            let key = line.split(" =").next().expect(line);
            let stays = ours.lines().any(|ours| ours.starts_with(&format!("{key} = ")));
            let told = ours.lines().any(|ours| ours.starts_with(&format!("# changed: `{key} =")));
            assert!(stays || told, "{name}: {key} is gone from\n{ours}");
        }
    }
}

fn original_file(text: &str) -> SourceFile {
    SourceFile::nameless(text.as_bytes(), Syntax::Original)
}

#[test]
fn what_the_original_said_is_said_in_toml() {
    // But for the mapping, which is the lines' own there.
    let ours = migrated(&original_file(FULL_ORIGINAL), &Lcmaps::default()).expect("is good");
    let ours = Config { mapping: Mapping::default(), notices: vec![], ..toml(&ours).expect(&ours) };
    assert_eq!(ours, Config { mapping: Mapping::default(), notices: vec![], ..full() });
    let lines = "[glexec]\nlog_level = 9\npreserve_env_variables = yes, A, LD_PRELOAD\n[mapping]\n\
        pilot = a, b\n@grid = work[01-09]\nops = c\n";
    let ours = migrated(&original_file(lines), &Lcmaps::default()).expect("is good");
    for part in [
        "# changed: `log_level = 9` is 5",
        "log_level = 5\n",
        "is without yes, LD_PRELOAD",
        "preserve_env_variables = [\"A\"]\n",
        "methods = [\"static\", \"pool\"]\n# changed: rows of one kind",
    ] {
        assert!(ours.contains(part), "{part} in {ours}");
    }
    let config = toml(&ours).expect(&ours);
    assert_eq!((config.mapping.rows.len(), config.mapping.pools.len()), (2, 1));
    assert_eq!(config.mapping.rows[0].accounts, texts(&["a", "b"]));
    assert_eq!(config.mapping.pools[0].accounts.count(), 9);
}

#[test]
fn what_lcmaps_mapped_by_is_taken_over_and_what_is_missing_is_said() {
    let text = "[glexec]\nlcmaps_db_file = /etc/lcmaps.db\n";
    let file = original_file(text);
    assert_eq!(lcmaps_database(&file), Ok(Some("/etc/lcmaps.db".to_owned())));
    assert_eq!(lcmaps_database(&original_file("[glexec]\n")), Ok(None));
    let lcmaps = Lcmaps {
        grid_mapfile: Some("/g".to_owned()),
        gridmapdir: Some("/d/".to_owned()),
        ban_file: Some("/b/".to_owned()),
        ca_dir: None,
        missing: vec!["one\nthing".to_owned()],
        kept: None,
    };
    let ours = migrated(&file, &lcmaps).expect("is good");
    assert!(ours.contains("# changed: one\\nthing\n"), "{ours}");
    let mapping = toml(&ours).expect(&ours).mapping;
    let (rule, credential) = mapping.gridmap.zip(mapping.credential).expect("a gridmap");
    assert_eq!((rule.grid_mapfile.as_str(), rule.gridmapdir.as_deref()), ("/g", Some("/d")));
    assert_eq!(rule.ban_file.as_deref(), Some("/b"));
    for (ban_file, kept, part) in
        [(Some("relative"), None, "bans relative is"), (Some("/b"), Some("it\nbans"), "it\\nbans")]
    {
        let (ban_file, kept) = (ban_file.map(str::to_owned), kept.map(str::to_owned));
        let ours = migrated(&file, &Lcmaps { ban_file, kept, ..lcmaps.clone() }).expect("is good");
        let mapping = toml(&ours).expect(&ours).mapping;
        assert!(ours.contains(part), "{ours}");
        assert_eq!((mapping.methods, mapping.gridmap), (vec![Means::Lcmaps], None));
    }
    assert_eq!(credential.ca_dir, "/etc/grid-security/certificates");
}

#[test]
fn what_cannot_be_migrated_is_told_with_its_place() {
    for (text, line, part) in [
        ("[glexec]\nrubbish\n", 2, "neither"),
        ("[glexec]\nlinger = maybe\n", 2, "`linger`: `maybe` is neither yes nor no"),
        ("[glexec]\nepilogue = /x\nlinger = no\n", 0, "nobody is left to run it"),
    ] {
        let bad = migrated(&original_file(text), &Lcmaps::default()).expect_err(text);
        assert!(bad.sentence.contains(part) && (line == 0 || bad.line == line), "{bad:?}");
    }
}

#[test]
fn the_shipped_sample_refuses_everybody_and_its_example_is_good() {
    let sample = include_str!("../../../../conf/glexec.toml");
    let expected = Config { notices: vec![], ..defaults() };
    assert_eq!(
        Config::parse(include_bytes!("../../../../conf/glexec.toml"), Syntax::Toml),
        Ok(expected)
    );
    // An example is a comment without a blank after its sign.
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(example) if !example.starts_with(' ') => example.to_owned(),
        _ => line.to_owned(),
    };
    let example: Vec<String> = sample.lines().map(uncommented).collect();
    let config = toml(&example.join("\n")).expect("the examples are good");
    let epilogue = config.epilogue.expect("there is an example of an epilogue");
    assert_eq!(epilogue.environment, EpilogueEnvironment::Own);
    assert_eq!(config.notices, Vec::<String>::new());
    assert!(!config.mapping.rows.is_empty());
}

/// The row of a key in docs/configuration.md: how it begins and how it ends.
fn row_on_the_page(key: &Key) -> (String, String) {
    let default = key.default_text();
    let there = match key.there {
        There::Yes | There::Beside(..) => "yes".to_owned(),
        There::Partly(what) => what.to_owned(),
        There::Only(..) => format!("only {default}"),
        There::Idle(_) => "no effect".to_owned(),
        There::No(_) => "no".to_owned(),
    };
    let begin = format!("| `{}` | {} | {default} | {}", key.name, key.kind, key.help);
    (begin, format!(" | {there} |"))
}

#[test]
fn the_page_has_the_table_of_keys_row_by_row() {
    let page = include_str!("../../../../docs/configuration.md");
    let mut rows = page.lines().filter(|line| line.starts_with("| `"));
    for key in KEYS {
        let (begin, end) = row_on_the_page(key);
        let row = rows.next().unwrap_or_default();
        assert!(
            row.starts_with(&begin) && row.ends_with(&end),
            "docs/configuration.md has\n{row}\nwhere a row must begin and end with\n{begin}{end}"
        );
    }
    assert_eq!(rows.next(), None, "a row of no key");
}

#[test]
fn what_is_only_accepted_is_the_default_and_every_default_can_be_read() {
    for key in KEYS {
        if let There::Only(only, _) = key.there {
            assert!(matches!(key.unset, Unset::Is(word) if word == only), "{}", key.name);
        }
        if let Unset::Is(word) = key.unset {
            assert!(super::reading::bare(key.kind, word, 0).is_ok(), "{}", key.name);
            // Filled in without a look at its range: a file may say the same.
            if key.section == super::keys::Section::Glexec && !word.is_empty() {
                let said = original(&format!("[glexec]\n{} = \"{word}\"\n", key.name));
                assert!(said.is_ok(), "{}: {said:?}", key.name);
            }
        }
    }
    assert_eq!(toml("").map(|config| config.log), Ok(LogRule::default()));
}

fn lines() -> impl Strategy<Value = String> {
    let keys: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    let value = prop_oneof![
        Just("true".to_owned()),
        Just("yes".to_owned()),
        "-?[0-9]{1,20}",
        "\"[a-zA-Z_*./:@ ]{0,12}\"",
        "\\[\"[a-zA-Z_*./]{0,8}\"(, \"[.a-z*]{0,4}\")?\\]",
        "\\PC{0,12}",
    ];
    let line = prop_oneof![
        8 => (prop::sample::select(keys), value).prop_map(|(key, value)| format!("{key} = {value}")),
        2 => prop::sample::select(vec!["[glexec]", "[mapping]", "[[mapping.static]]", "[other]"]).prop_map(str::to_owned),
        1 => "\\PC{0,20}",
    ];
    prop::collection::vec(line, 0..6).prop_map(|lines| format!("[glexec]\n{}", lines.join("\n")))
}

/// What comes of anything: no panic, and an error is one line within the text.
fn is_sound(bytes: &[u8]) {
    for syntax in [Syntax::Toml, Syntax::Original] {
        let files = [SourceFile::nameless(bytes, syntax)];
        let _ = LogRule::of_what_can_be_read(&files);
        let parsed = Config::parse(bytes, syntax);
        assert_eq!(shown(&files).map(drop), parsed.as_ref().map(drop).map_err(Malformed::clone));
        match parsed {
            Ok(config) => {
                assert!(config.min_target_uid > 0);
                assert!(config.epilogue.is_none() || config.linger);
                assert!(config.notices.iter().all(|notice| !notice.chars().any(char::is_control)));
            }
            Err(malformed) => {
                let lines = bytes.split(|byte| *byte == b'\n').count();
                assert!((1..=lines).contains(&malformed.line), "{malformed:?}");
                assert!(malformed.column >= 1 && !malformed.sentence.is_empty(), "{malformed:?}");
                assert!(!malformed.sentence.chars().any(char::is_control), "{malformed:?}");
                assert!(malformed.sentence.len() < 3000, "{malformed:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        is_sound(&bytes);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "(\\PC|[\\[\\]=\"'#;,\n\r\t.*`])*") {
        is_sound(text.as_bytes());
    }

    #[test]
    fn anything_near_a_configuration_is_read_without_a_panic(text in lines(), cut in 0..200usize) {
        is_sound(text.as_bytes());
        is_sound(text.as_bytes().get(..cut).unwrap_or_default());
    }

    #[test]
    fn what_is_never_kept_cannot_be_configured(name in "[A-Z_0-9]{1,8}", star in any::<bool>()) {
        let word = if star { format!("{name}*") } else { name };
        if let Ok(config) = glexec(&format!("preserve_env_variables = [\"{word}\"]")) {
            for kept in config.preserve {
                match kept {
                    Kept::Name(name) => assert!(!crate::names::never_kept(name.as_bytes())),
                    Kept::Prefix(prefix) => assert!(prefix.ends_with('_')),
                }
            }
        }
    }
}
