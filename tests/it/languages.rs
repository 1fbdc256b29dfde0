//! Plugins as others write them: begun with `landfall plugin new` outside of this repository, in every language, built by
//! the program alone, and loaded by a daemon that runs.
//!
//! Python and JavaScript guests take some 20 s to build and 10 s to compile, so each test makes the most of one. What is
//! built stays in the target directory, and is built again only if something in it has changed. The machine needs the
//! package registries once: without them these tests fail, and say what is missing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::documents::{Inventory, plan};
use crate::harness::eventually_within;
use crate::harness::process::{binary, path};
use crate::harness::world::{World, copy_plugin};

/// For what compiles, or fetches compilers: ten times what an idle machine needs.
const LONG: Duration = Duration::from_mins(8);

/// Projects that are kept from run to run.
fn projects() -> PathBuf {
    let target = binary().ancestors().nth(2).expect("target/PROFILE/landfall").to_owned();
    target.join("it-projects")
}

/// A project's directory, which no other process builds in meanwhile.
struct Project {
    directory: PathBuf,
    _lock: File,
}

impl Project {
    fn named(name: &str) -> Self {
        let directory = projects().join(name);
        fs::create_dir_all(&directory).expect("the directory can be made");
        let lock = File::create(projects().join(format!("{name}.lock"))).expect("the lock");
        lock.lock().expect("the lock can be held");
        Self { directory, _lock: lock }
    }

    /// One that `landfall plugin new` made. Files that are as they were keep their times, for cargo.
    fn new(language: &str, kind: &str) -> Self {
        let name = format!("new-{language}-{kind}");
        Self::new_in(&name, &name, language, kind)
    }

    fn new_in(directory: &str, name: &str, language: &str, kind: &str) -> Self {
        let project = Self::named(directory);
        let fresh = tempfile::tempdir().expect("a temporary directory");
        let made = fresh.path().join(name);
        run(
            &["plugin", "new", name, path(&made), "--kind", kind, "--lang", language],
            0,
        );
        copy_changed(&made, &project.directory);
        project
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.join(name), text).expect("the file can be written");
    }

    /// Builds it, and gives the directory that a daemon loads.
    fn build(&self) -> PathBuf {
        let out = self.directory.join("out");
        run(&["plugin", "build", path(&self.directory), "--out", path(&out)], 0);
        let mut built = fs::read_dir(&out)
            .expect("it was built")
            .map(|entry| entry.unwrap().path());
        built.find(|path| path.join("plugin.toml").exists()).expect("a plugin")
    }
}

/// What `landfall plugin new` made, with nothing added: its own cases pass, and the suite finds nothing wrong.
fn build_and_try(language: &str, kind: &str) -> PathBuf {
    let project = Project::new(language, kind);
    let (built, cases) = (project.build(), project.directory.join("tests"));
    let said = run(&["plugin", "test", path(&built), "--cases", path(&cases)], 0);
    assert!(said.contains("3 passed, 0 failed"), "{said}");
    let said = run(&["plugin", "check", path(&built), "--cases", path(&cases)], 0);
    assert!(
        said.contains("passed   deadline") && said.contains(" 0 failed"),
        "{said}"
    );
    // An adapter is tried at a lab of its own.
    assert!(
        kind != "hypervisor-adapter" || said.contains("passed   shutdown"),
        "{said}"
    );
    built
}

fn copy_changed(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the directory can be made");
    for entry in fs::read_dir(from).expect("it can be listed") {
        let source = entry.expect("an entry").path();
        let place = to.join(source.file_name().expect("a name"));
        if source.is_dir() {
            copy_changed(&source, &place);
        } else if fs::read(&place).ok() != fs::read(&source).ok() {
            fs::copy(&source, &place).expect("it can be copied");
        }
    }
}

/// Runs `landfall`, or with it something else, to its end; what it said, both streams together.
fn run(arguments: &[&str], code: i32) -> String {
    let mut command = Command::new(binary());
    end(command.args(arguments), code)
}

#[track_caller]
fn end(command: &mut Command, code: i32) -> String {
    // The SDK is laid out there; the user's own directory is none of a test's business.
    // Rust projects share what they are compiled from.
    let command = command
        .env("XDG_DATA_HOME", projects().join("data"))
        .env("CARGO_TARGET_DIR", projects().join("target"))
        .env("NO_COLOR", "1");
    let said = tempfile::NamedTempFile::new().expect("a place for the output");
    let stream = || Stdio::from(said.reopen().expect("the output can be written"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stream())
        .stderr(stream())
        .spawn()
        .expect("the program starts");
    let ended = eventually_within(LONG, "a command ends", || {
        child.try_wait().expect("it can be asked for")
    });
    let text = fs::read_to_string(said.path()).expect("the output is text");
    assert_eq!(ended.code(), Some(code), "{command:?} said:\n{text}");
    text
}

/// Puts a built plugin where the daemon watches, and waits until it serves.
fn install(world: &World, built: &Path) -> String {
    let name = built.file_name().expect("a name").to_string_lossy().into_owned();
    copy_plugin(built, &world.path(&format!("plugins/{name}")));
    eventually_within(LONG, &format!("{name} serves"), || {
        let plugin = world.plugins().into_iter().find(|plugin| plugin.name == name)?;
        assert!(plugin.error.is_none(), "{name}: {:?}", plugin.error);
        (plugin.state == "serving").then_some(())
    });
    name
}

/// Adds to the daemon's configuration.
fn configure(world: &mut World, more: &str) {
    let file = world.path("landfall.toml");
    let text = fs::read_to_string(&file).unwrap() + more;
    fs::write(file, text).unwrap();
    world.restart_daemon();
}

fn runbook(name: &str, url: &str, interfaces: &str, ports: &[u16]) -> String {
    let one = |port: &u16| format!("{{ scheme = \"http\", host = \"127.0.0.1\", port = {port} }}");
    let http: Vec<String> = ports.iter().map(one).collect();
    format!(
        "\n[runbooks.{name}]\nconfig = {{ url = \"{url}\", nobody = \"http://127.0.0.1:1/\" }}\n\
         [runbooks.{name}.grants]\ninterfaces = {interfaces}\nhttp = [{}]\n",
        http.join(", ")
    )
}

/// What the runbooks in `languages` ask for.
const INTERFACES: &str = "[\"clock\", \"guests\", \"random\", \"session\", \"signing\", \"state\", \"transport\"]";

fn manifest(name: &str, language: &str) -> String {
    format!(
        "[plugin]\nname = \"{name}\"\nversion = \"0.1.0\"\nkind = \"runbook\"\ncomponent = \"{name}.wasm\"\n\
         summary = \"In {language}\"\n[requests]\ninterfaces = {INTERFACES}\nhmac = [\"*\"]\ntransport = [\"manager\"]\n\
         http = [{{ scheme = \"*\", host = \"*\", port = \"*\", secrets = [\"*\"] }}]\n"
    )
}

/// `cases` has every interface of the host, the same in every language; `interpreted` what only some can do.
fn the_cases_pass(built: &Path, directory: &str) {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("it/languages")
        .join(directory);
    let said = run(&["plugin", "test", path(built), "--cases", path(&cases)], 0);
    let written = fs::read_dir(cases).unwrap().count();
    assert!(
        written > 0 && said.contains(&format!("{written} passed, 0 failed")),
        "{said}"
    );
}

/// Everything that a runbook can do, from one plan in which an action's failure holds nothing.
fn a_runbook_does_all_that_runbooks_do(language: &str, entry: &str, source: &str, raised: &str, stack: &str) {
    let name = format!("trouble-{language}");
    let project = Project::named(&name);
    project.write(entry, source);
    let entry_table = format!("[build]\nentry = \"{entry}\"\nexports = [\"runbook-probe\"]\n");
    project.write("plugin.toml", &(manifest(&name, language) + &entry_table));
    let built = project.build();
    the_cases_pass(&built, "cases");
    let began = Instant::now();
    the_cases_pass(&built, "interpreted");
    assert!(began.elapsed() < Duration::from_secs(20), "nobody really slept");

    let mut world = World::start();
    let port = world.lab.port();
    let url = format!("http://127.0.0.1:{port}/hooks/{language}");
    configure(&mut world, &runbook(&name, &url, INTERFACES, &[port, 1]));
    install(&world, &built);
    let shown = world.cli(&["plugin", "show", &name]).code(0);
    assert!(shown.out.contains("Something is odd"), "{shown}");

    let things = [
        "speak",
        "again-speak",
        "remember",
        "wait",
        "needless",
        "refuse",
        "broken",
        "elsewhere",
        "nobody",
        "post",
    ];
    let action = |thing: &&str| {
        let what = thing.trim_start_matches("again-");
        format!("name: {thing}, runbook: {name}, before: [all], on-error: continue, retries: 0, with: {{ do: {what} }}")
    };
    let actions: Vec<String> = things.iter().map(action).collect();
    let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
    world.protect(&Inventory::of(&["db"]), &plan(&["db"], &actions));
    let launched = world.launch("test", &serde_json::json!({}));
    let job = world.rest(&launched.id);
    assert_eq!(job.status, "completed-with-errors", "{:#?}", job.steps);
    let step = |thing: &str| job.step(&format!("action/{thing}/before-all"));

    let spoken = &step("speak").outputs;
    for (output, expected) in [
        ("kind", "test"),
        ("item", "db"),
        ("bytes", "16"),
        ("lots", "true"),
        ("key", "true"),
    ] {
        assert_eq!(spoken[output], expected, "{output}");
    }
    // What was random when the component was built is not so in every call.
    assert_ne!(spoken["draw"], step("again-speak").outputs["draw"]);
    let log = fs::read_to_string(world.path("daemon.log")).unwrap();
    for line in [format!("printed by {language}"), format!("logged by {language}")] {
        assert!(log.contains(&line), "`{line}` is not in the log");
    }
    assert!(!log.contains("not shown"));

    let remembered = step("remember")
        .outputs
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    assert_eq!(
        remembered.collect::<Vec<_>>(),
        [
            "clock=true",
            "keys=[\"a/1\",\"a/2\"]",
            "session=token",
            "swapped=[false,true,true]",
            "value=deux"
        ]
    );

    assert_eq!(step("wait").outputs["resumed"], "é1");
    assert_eq!(step("needless").status, "skipped");
    let failed = |thing: &str, code: &str, words: &str| {
        let step = step(thing);
        let message = step.message.as_deref().unwrap_or_default();
        assert_eq!(
            (step.status.as_str(), step.code.as_deref()),
            ("failed", Some(code)),
            "{thing}: {message}"
        );
        assert!(message.contains(words), "{thing}: {message}");
    };
    failed("refuse", "refused", &format!("{language} says no"));
    failed("broken", "uncaught-exception", raised);
    assert!(log.contains(stack), "`{stack}` is not in the log");
    failed("elsewhere", "LF0437", "port = 9");
    failed("nobody", "unreachable", "no connection");
    assert_eq!(step("post").outputs["status"], "200");
    assert_eq!(step("post").outputs["type"], "application/json");
    assert_eq!(world.lab.webhooks(&job.id), ["post"]);
}

#[test]
fn c06_a_runbook_in_python_does_all_that_runbooks_do() {
    let source = include_str!("languages/trouble.py");
    let raised = "KeyError: 'no such key' (trouble.py, line";
    a_runbook_does_all_that_runbooks_do("python", "trouble.py", source, raised, "return {}[");
}

/// With types, which are taken out.
#[test]
fn c06_a_runbook_in_typescript_does_all_that_runbooks_do() {
    let source = include_str!("languages/trouble.ts");
    let raised = "TypeError: can't access property \"noSuchKey\", nothing is undefined";
    a_runbook_does_all_that_runbooks_do("javascript", "trouble.ts", source, raised, "bundle.js:");
}

#[test]
fn c06_a_runbook_in_rust_asks_all_of_the_host_that_others_do() {
    let project = Project::new_in("trouble-rust", "trouble-rust", "rust", "runbook");
    project.write("src/lib.rs", include_str!("languages/trouble.rs"));
    project.write("plugin.toml", &manifest("trouble-rust", "rust"));
    let built = project.build();
    the_cases_pass(&built, "cases");

    // What nobody wrote, and what nobody came for, fails a case, and says what would have fitted.
    let fails = |case: &str, words: &[&str]| {
        let file = project.directory.join("fails.toml");
        fs::write(&file, case).unwrap();
        let said = run(&["plugin", "test", path(&built), "--case", path(&file)], 3);
        for word in words {
            assert!(said.contains(word), "`{word}` is not in:\n{said}");
        }
    };
    let talk = |turns: &str| {
        format!(
            "params = {{ do = \"talk\", tag = \"t\" }}\nexpect = {{ outcome = \"failure\" }}\n[[transport]]\n\
             endpoint = \"manager\"\ntag = \"t\"\ntalk = [{turns}]\n"
        )
    };
    let ready = "{ reply = \"ready\\n\" }";
    let unfit = "endpoint = \"manager\"\ntag = \"other\"\n";
    fails(
        &talk("").replace("endpoint = \"manager\"\ntag = \"t\"\n", unfit),
        &[
            "the connection to `manager`, tag `t` was opened, and no [[transport]] that is left fits",
            "nearest is the connection to `manager`, tag `other`: the tag is `t`",
            "the connection to `manager`, tag `other` was scripted and never opened",
        ],
    );
    fails(
        &talk(&format!("{ready}, {{ sends = \"LOGON\\n\" }}")),
        &[
            "tag `t`, turn 2: the plugin sent \"LOGIN\\n\", and \"LOGON\\n\" is expected; byte 3 is the first that differs",
        ],
    );
    fails(
        &talk(&format!("{ready}, {{ sends = \"LOGIN\\nGET\" }}")),
        &[
            "the call exceeded its wall-clock limit",
            "the plugin waits for `manager` to say something, and the talk goes on with the rest of the plugin's turn 2",
            "the talk stopped before the rest of the plugin's turn 2, \"LOGIN\\nGET\", after \"LOGIN\\n\"",
        ],
    );
    fails(
        &talk(&format!("{ready}, {{ sends = \"LOGIN\\n\" }}")).replace("\"failure\"", "\"fault\""),
        &["and the talk is over; `then = \"silence\"` would say that this is meant"],
    );
    fails(
        "params = { do = \"execute\", item = \"item-1\" }\nexpect = { code = \"unreachable\" }\n\
         [[guests]]\nprogram = \"pg_ctl\"\narguments = [\"stop\"]\n",
        &[
            "`pg_ctl promote` in the target machine of `item-1` was run, and no [[guests]] that is left fits",
            "nearest is `pg_ctl stop`: the arguments are [\"promote\"]",
            "`pg_ctl stop` was scripted and never run",
        ],
    );
    fails(
        "params = { do = \"keep\" }\nstate = { old = \"x\" }\n[expect]\nstate = { cursor = \"2\", old = \"x\" }\nno-state = [\"cursor\"]\n",
        &[
            "state `cursor`: expected \"2\", got \"1\"",
            "state `old`: expected \"x\", and there is none",
            "state `cursor`: expected none, got \"1\"",
        ],
    );
}

#[test]
fn c06_what_new_writes_builds_and_runs_as_it_is_in_every_language() {
    let languages = ["rust", "python", "js"];
    let built = languages.map(|language| build_and_try(language, "runbook"));
    let mut world = World::start();
    let port = world.lab.port();
    let url = format!("http://127.0.0.1:{port}/hooks/new");
    let more = languages.map(|language| runbook(&format!("new-{language}-runbook"), &url, "[]", &[port]));
    configure(&mut world, &more.concat());
    let names = built.map(|directory| install(&world, &directory));
    let actions: Vec<String> = names
        .iter()
        .map(|name| format!("name: tell-{name}, runbook: {name}, before: [all], with: {{ text: hello }}"))
        .collect();
    let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
    world.protect(&Inventory::of(&["db"]), &plan(&["db"], &actions));
    let job = world.succeed("test", &serde_json::json!({}));
    let mut told = world.lab.webhooks(&job.id);
    told.sort();
    assert_eq!(
        told,
        [
            "tell-new-js-runbook",
            "tell-new-python-runbook",
            "tell-new-rust-runbook"
        ]
    );
    for name in &names {
        assert_eq!(
            job.step(&format!("action/tell-{name}/before-all")).outputs["status"],
            "200"
        );
    }
}

#[test]
fn c07_the_adapters_that_new_writes_speak_for_a_site_in_every_language() {
    let languages = ["rust", "python", "js"];
    let built = languages.map(|language| build_and_try(language, "hypervisor-adapter"));
    let mut world = World::start();
    world.lab.furnish(&["db"]);
    let port = world.lab.port();
    let site = |language: &str| {
        format!(
            "\n[sites.{language}]\nadapter = \"new-{language}-hypervisor-adapter\"\n\
             config = {{ url = \"http://127.0.0.1:{port}/sites/a\" }}\n\
             [sites.{language}.grants]\ninterfaces = [\"buffers\"]\n\
             http = [{{ scheme = \"http\", host = \"127.0.0.1\", port = {port} }}]\n"
        )
    };
    configure(&mut world, &languages.map(site).concat());
    for directory in &built {
        install(&world, directory);
    }
    for language in languages {
        let machines = world.cli(&["site", "machines", language]).code(0);
        assert!(machines.out.contains("vm-db"), "{language}: {machines}");
        let networks = world.cli(&["site", "networks", language]).code(0);
        assert!(networks.out.contains("bubble"), "{language}: {networks}");
    }
}

#[test]
fn c04_the_policies_that_new_writes_choose_a_point_in_every_language() {
    let languages = ["rust", "python", "js"];
    let built = languages.map(|language| build_and_try(language, "recovery-point-policy"));
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    for directory in &built {
        let name = install(&world, directory);
        let arguments = [
            "failover", "hr", "--kind", "test", "--policy", &name, "--point", "newest", "-o", "json",
        ];
        let ended = world.cli(&arguments).code(0);
        let job = world.job(&ended.json::<crate::harness::answers::Job>().id);
        assert!(job.item("db").point.is_some(), "{name}");
        world.cli(&["cleanup", "hr"]).code(0);
    }
}

#[test]
fn c06_a_project_in_rust_is_tested_without_a_host() {
    let project = Project::new("rust", "runbook");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--lib"]).current_dir(&project.directory);
    let said = end(&mut cargo, 0);
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn a_component_does_not_tell_where_it_was_built() {
    let component = |directory: &str| {
        let project = Project::new_in(directory, "twin", "rust", "runbook");
        fs::read(project.build().join("twin.wasm")).unwrap()
    };
    let (one, other) = (component("twins/one"), component("twins/another/place"));
    assert!(one == other, "two checkouts gave different components");
    let text = String::from_utf8_lossy(&one).into_owned();
    assert!(
        !text.contains("it-projects") && !text.contains(".cargo"),
        "it names directories of this machine"
    );
}

#[test]
fn mistakes_in_a_project_are_named_with_their_place_and_code() {
    let project = Project::named("mistakes");
    let directory = path(&project.directory).to_owned();
    let manifest = |build: &str| {
        let text = "[plugin]\nname = \"mistakes\"\nversion = \"0.1.0\"\nkind = \"runbook\"\n\
                    component = \"mistakes.wasm\"\n";
        project.write("plugin.toml", &format!("{text}{build}"));
    };
    let refused = |code: &str, words: &[&str]| {
        let said = run(&["plugin", "build", &directory], 5);
        for word in [&[code], words].concat() {
            assert!(said.contains(word), "`{word}` is not in:\n{said}");
        }
    };
    manifest("");
    refused("LF0480", &["[build]", "entry = \"app.py\""]);
    manifest("[build]\nentry = \"app.rb\"\n");
    refused("LF0480", &["app.rb", ".py"]);
    manifest("[build]\nentry = \"none.py\"\n");
    refused("LF0480", &["none.py", "no such file"]);
    manifest("[build]\nentry = \"app.py\"\nexports = [\"probe\"]\n");
    project.write("app.py", "");
    refused("LF0480", &["`probe`", "no interface"]);

    manifest("[build]\nentry = \"app.py\"\n");
    project.write("app.py", "from landfall import http\n");
    refused("LF0482", &["plugin.toml does not request `http`"]);
    project.write("app.py", "import landfall\n");
    refused(
        "LF0482",
        &["must define exactly one class that inherits from landfall's Runbook"],
    );
    let probing = "import landfall\nclass A(landfall.Runbook):\n    def probe(self, call, context): pass\n";
    project.write("app.py", probing);
    refused("LF0482", &["exports = [\"runbook-probe\"]"]);

    manifest("[build]\nentry = \"app.js\"\n");
    project.write(
        "app.js",
        "import * as clock from \"landfall/clock\";\nexport default { effect() {}, run: clock };\n",
    );
    refused("LF0482", &["plugin.toml does not request `clock`", "app.js:1"]);
    project.write("app.js", "export default { effect() {} };\n");
    refused("LF0482", &["app.js lacks run"]);

    let taken = run(&["plugin", "new", "again", &directory, "--kind", "runbook"], 5);
    assert!(taken.contains("LF0484") && taken.contains("not empty"), "{taken}");
    let name = run(&["plugin", "new", "No_Name", "--kind", "runbook"], 5);
    assert!(name.contains("LF0484") && name.contains("No_Name"), "{name}");
}
