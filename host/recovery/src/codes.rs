//! Stable codes of everything the host can complain about, each with the page that `landfall explain CODE` prints.
//! Numbers are never reused. 01xx: documents, 02xx: requests, 03xx: jobs, 04xx: plugins, 05xx: daemon and API.

/// The page of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// `LF0101`.
    pub code: &'static str,
    /// A few words.
    pub title: &'static str,
    /// What leads to it.
    pub cause: &'static str,
    /// What to do.
    pub cure: &'static str,
}

macro_rules! codes {
    ($($name:ident $code:literal $title:literal, $cause:literal, $cure:literal;)*) => {
        $(#[doc = $title] pub const $name: &str = $code;)*

        /// Every page, in the order of the codes.
        pub const PAGES: &[Page] = &[$(Page { code: $code, title: $title, cause: $cause, cure: $cure }),*];
    };
}

codes! {
    UNKNOWN_KEY "LF0101" "Unknown key in a document", "A plan, inventory or configuration has a key that means nothing there; mostly a typing error.", "Use the suggested key, or print the schema with `landfall plan schema` or `landfall inventory schema` and point your editor at it.";
    MISSING_KEY "LF0102" "A key is missing", "The document lacks something that has no default.", "Add the key that the message names.";
    WRONG_VALUE "LF0103" "A value does not fit", "The value has the wrong type or form, or the document is not valid YAML at that place.", "Compare the line with the schema (`landfall plan schema`). Spans of time are written 30s, 5m, 24h.";
    BAD_NAME "LF0104" "A name cannot be used", "Names become parts of keys, step ids and files, so they are limited; `all` is reserved for the whole plan.", "Use letters, digits, dashes, dots and underscores, at most 100.";
    DUPLICATE "LF0105" "Something stands there twice", "A machine, group, action, item or source machine is named a second time.", "Remove one of the two, or rename it. A machine belongs to exactly one group of a plan.";
    UNKNOWN_MACHINE "LF0106" "Unknown machine", "The plan names a machine that the applied inventory does not have.", "Use the suggested name, or apply the inventory first: `landfall inventory apply FILE`.";
    UNKNOWN_GROUP "LF0107" "Unknown group", "An action names a group that the plan does not have, or an item a replication group that the inventory does not have.", "Use the suggested name, or define the group. `all` means the whole plan.";
    UNKNOWN_RUNBOOK "LF0108" "Unknown runbook", "No runbook plugin of that name serves.", "`landfall plugin list` shows what serves and what failed to load, with the reason.";
    UNKNOWN_POLICY "LF0109" "Unknown recovery-point policy", "No policy plugin of that name serves.", "`landfall plugin list` shows what serves and what failed to load, with the reason.";
    UNKNOWN_CHOICE "LF0110" "Unknown choice of recovery point", "The policy plugin does not offer that choice.", "`landfall plugin show POLICY` lists its choices.";
    UNKNOWN_NETWORK "LF0111" "Unknown network", "The target site has no network of that name.", "`landfall site networks SITE` lists them. Correct the mapping in the inventory, or `test-network` in the plan.";
    EMPTY_GROUP "LF0112" "Empty group", "A group without members would do nothing, which nobody means.", "Add members, or remove the group.";
    ITEM_IN_USE "LF0113" "An item cannot be changed now", "The new inventory removes an item that is protected, or changes where it is protected, or a job works on it.", "Finish or abandon the job first. Items that are protected stay in the inventory.";
    ORDER_CYCLE "LF0114" "The order leads back to itself", "Machines wait for each other in a circle: by `dependencies`, and by the order of the groups, in which every machine waits for the groups before its own.", "The message shows the circle. Remove one of its dependencies, or put the machine into a later group.";

    ITEM_LOCKED "LF0201" "A job works on the item", "One item belongs to one job at a time.", "Follow the job that holds it with `landfall job watch JOB`, or end it with `landfall job cancel` or `abandon`.";
    NOT_LEGAL "LF0202" "The operation makes no sense in this state", "Each state of an item allows certain operations; the message lists those that are legal now.", "Ask for one of the legal operations; `landfall item show ITEM` explains each.";
    SITE_UNREACHABLE "LF0203" "A site does not answer", "The adapter of the site could not reach it, or was not allowed to.", "`landfall site list` shows the error. Check the address in the daemon's configuration, the grants, and the site itself. An unplanned failover needs only the target.";
    ROLE_MISSING "LF0204" "The adapter cannot play this role", "A source or target role is needed that the site's adapter does not declare.", "Use another site or adapter; `landfall site list` shows the roles.";
    PLANNED_NOT_OFFERED "LF0205" "Planned failover is not offered", "The source's adapter cannot shut a machine down and send its last changes.", "Fail over unplanned.";
    NO_POINT "LF0206" "No recovery point", "The item has no point at the target that a machine could be made from.", "Wait for the first replication cycle (`landfall item points ITEM`), or look at `landfall item show ITEM` for why replication does not work.";
    PREFLIGHT_REFUSED "LF0207" "Preflight found errors", "At least one finding of severity error stands against the operation. All findings are listed together.", "Mend each as its cure says and ask again.";
    NOT_CONFIRMED "LF0208" "It was not confirmed", "A real failover wants the name of the plan or machine typed, so that nobody starts one by habit; so does what may delete or give up the only copy of a machine, or of what it wrote: the message says what.", "Repeat it with `--confirm NAME`. A test failover asks for nothing.";
    UNKNOWN_SUBJECT "LF0209" "No such plan or item", "The request names a plan or item that the daemon does not have.", "`landfall plan list` and `landfall item list` show what there is.";
    CHOICE_REFUSED "LF0210" "This choice of point is not possible here", "A planned failover goes to the data of its own last synchronisation; a choice that needs a replication group needs one in the plan.", "Name a choice that is possible here. A planned failover wants none; or fail over unplanned.";
    UNKNOWN_SITE "LF0211" "Unknown site", "The inventory names a site that the daemon's configuration does not have.", "Add `[sites.NAME]` to the daemon's configuration, or correct the inventory.";
    STALE_INVENTORY "LF0212" "The source could not be listed", "The source site does not answer, so the inventory that it gave last is used, with its age.", "Nothing to do for an unplanned failover. A planned one needs the source.";
    NEVER_TESTED "LF0213" "The plan was never tested", "No test failover of this plan has succeeded since its plan, inventory or plugins changed.", "Run `landfall failover PLAN --kind test` when there is time; the failover goes on.";
    SAME_REQUEST "LF0214" "The idempotency key was used for another request", "A request under this key was answered before, and this one is different.", "Use a new key for a new request.";
    NOTHING_TO_DO "LF0215" "Nothing to do", "None of the named machines needs the operation.", "`landfall item list` shows their states.";
    NOT_AT_SOURCE "LF0216" "The machine is not at its source", "The source site answers and does not list the machine that the inventory names.", "Correct `source.machine` in the inventory; `landfall site machines SITE` lists what is there.";
    NEEDS_RECONCILE "LF0217" "The state was restored and not compared", "The daemon's state was restored from a backup. What happened after the backup is not known, so nothing is done with a machine before its state was compared with what the sites say.", "`landfall reconcile` compares and says what differs. Mend it at the sites, or accept it with `--accept WHY`.";
    NOT_RECONCILED "LF0218" "The sites say something else than the restored state", "After the backup something happened that its state does not know: a machine or replica was made or removed, or a source was switched.", "Decide which is true: remove what is too much at the site, or bring back what is missing, and reconcile again. `landfall reconcile ITEM --accept WHY` takes the restored state as it is, by your name.";
    BAD_INJECTION "LF0219" "This cannot be rehearsed", "Faults are injected into drills only (`--kind test`), into steps that the job has, and are `fail`, `crash`, `repeat`, `slow` or `slow:2m`.", "`landfall failover PLAN --kind test --dry-run` lists the steps with their names.";
    BOTH_ACTIVE "LF0220" "The machine runs at both sites", "It was failed over on a person's word that its source is off, and the source was seen running again.", "Decide which one stays: `landfall choose-direction ITEM --keep SITE`, or `landfall fence ITEM` to switch the old source off.";
    NOT_HEALTHY "LF0221" "Replication is not healthy", "A machine comes back only when its replication back is complete and works; the message says why the last cycle failed.", "Mend the cause; the next cycle that works clears it. `landfall item show ITEM` shows the present state.";
    DIRECTIONS_DISAGREE "LF0222" "The machines disagree about the direction", "Some machines of the plan would go forward and others back home, mostly because an earlier run took only some of them.", "Choose: `--direction forward` or `--direction reverse` takes the machines that go that way and leaves the others out.";
    DIRECTION_NOT_CONFIRMED "LF0223" "The direction was not confirmed", "A failover back home wants its direction said, so that nobody starts one by habit.", "Repeat it with `--direction reverse`, or use `landfall failback`.";
    WRONG_KEEP "LF0224" "That site has none of the two machines", "`--keep` names the site whose machine stays: one of the two at which the machine runs.", "Name one of the sites that the message lists.";
    OPTION_SECRET "LF0225" "A secret that an option names does not exist", "An option of the form `secret:NAME` names a secret that the daemon's configuration does not have or cannot read.", "Add `[secrets.NAME]` to the configuration, or correct the option.";
    GROUP_UNKNOWN "LF0226" "The plan has no such group", "The request names a group that the plan does not have.", "Use the suggested name; `landfall plan show PLAN` lists the groups.";
    LEFTOVER "LF0229" "An earlier failover left a machine", "A failover that broke off made a machine at the target and did not start it, or was given up while it did.", "Nothing to do: this job stops it, proves it off and deletes it before it makes its own. Where it holds what you need, copy that first.";
    LEFT_BEHIND "LF0230" "Something stays at a site", "The machine is released: from now on it counts as never protected, and nothing is done at any site. What Landfall made there stays.", "Remove it at the site when it is there again: `landfall orphans` shows what carries our stamp. At home, `protect` begins anew.";
    POINT_BEHIND "LF0231" "The point lies behind the newest data", "The recovery point that the machine goes to is older than data that has arrived at the target; what was written between the two is lost.", "If that is too much, choose another point: `--point latest-processed`, or `latest`.";
    NO_SHUTDOWN "LF0232" "Sources are not shut down first", "The failover was asked for with `--no-shutdown`: nothing is done to the sources, and nothing that they would still send is waited for. The proof that a source is off is asked for all the same.", "Make sure that the sources are off. Where their site answers, leave the option out.";

    IN_DOUBT "LF0301" "Nobody can tell whether a step happened", "The host stopped, or the answer was lost, after an effect that can neither be repeated nor asked for had begun.", "Find out whether it happened. An action: `landfall job skip JOB STEP` if it did, `landfall job retry JOB STEP` if it did not. A machine's step: make the machine as it was before the step, then `landfall job retry JOB STEP`; `skip` leaves the machine out, and what stands there is removed later.";
    NOT_FENCED "LF0302" "The source is not proved off", "A machine is only activated when its source was read as off (or a person vouches for it), because two active copies destroy data.", "Make sure the source is off, then `landfall job retry JOB STEP` to look again, or `landfall job attest JOB STEP --reason WHY` to vouch for it.";
    NOT_ISOLATED "LF0303" "The test network is not proved isolated", "A test machine is only started when the adapter proved that its networks reach nothing else.", "Correct the test network in the inventory or plan, clean up, and test again.";
    TIMED_OUT "LF0304" "A step took too long", "The step was not over within its time.", "Look at the far side. `landfall job retry JOB STEP` goes on: under the same key, so that nothing happens twice.";
    DIGEST_MISSING "LF0305" "A pinned plugin version is gone", "The job was started with a plugin version that the content store no longer has.", "Put that version's files back into the plugin directory (they may stay set aside) and `landfall job retry JOB`, or let the job go on with another version: `landfall job repin JOB STEP --to DIGEST --reason WHY`.";
    SKIP_REFUSED "LF0306" "This step cannot be skipped", "Proofs cannot be skipped, and neither can steps that are neither stuck nor failed.", "`landfall job show JOB` lists the steps that can.";
    UNKNOWN_JOB "LF0307" "No such job or step", "The id names nothing.", "`landfall job list` and `landfall job show JOB` list ids.";
    JOB_OVER "LF0308" "The job is over", "A succeeded or abandoned job is final, and a failed one can no longer be reopened once another job has touched one of its items.", "Ask for the operation again as a new job.";
    NO_POINT_CHOSEN "LF0309" "The policy chose no point", "The recovery-point policy failed, or its answer does not fit the points there are.", "Read the policy's message. Another choice may do: `landfall failover PLAN --point CHOICE`.";
    BAD_OUTPUT "LF0310" "A plugin's answer lacks something", "The adapter said that a step is done but did not return what the contract asks for.", "Report it to the plugin's author: the contract lists the outputs of every operation.";
    JOB_RESTORED "LF0311" "The job was restored from a backup", "The journal is older than what the job did, so any step that is not over in it may have happened. Nothing goes on by itself.", "`landfall reconcile` compares its machines with the sites; then `landfall job retry JOB` lets it go on: what can be asked is asked, what can be repeated is repeated under the same keys, and for the rest you decide. Or `landfall job abandon JOB`.";
    INJECTED "LF0312" "A fault that was asked for", "The drill was started with `--inject`: this step fails on purpose, and nothing was done.", "See what the plan makes of it. A drill without `--inject` has no such faults.";
    GATE_WAITS "LF0313" "The job waits for a person", "The plan has a gate here, or the job was started with `--pause-before`: nothing behind it begins before somebody answers.", "`landfall job answer JOB STEP --approve` lets it go on; `--refuse` with a reason makes it fail. After its timeout it fails by itself.";
    GATE_REFUSED "LF0314" "A person said no", "A gate of the plan was answered with `--refuse`.", "`landfall job retry JOB STEP` asks again.";
    NOT_SENT "LF0315" "A step was not sent", "The job was stopped, or the disk ran short, before the step was sent; the far side said that nothing of it happened.", "`landfall job retry JOB STEP` sends it, once the disk has room.";
    START_UNDER_WAY "LF0316" "A machine is being started", "A job is not given up while it may start a machine: the next job would be told that nothing runs.", "`landfall job cancel JOB` begins nothing new; abandon it when the step is over.";
    PROOF_OLD "LF0317" "The proof grew old", "Between the proof that the other machine is off and the start of this one too much time passed, mostly because the host was down; the source is looked at again first.", "Nothing is to be done: the step goes on by itself once the source is read as off again.";
    STALLED "LF0318" "A replication cycle stood still", "What a cycle asked a site for showed no progress for ten times the item's RPO target, but for no less than half a minute and no more than ten. The site was asked to stop it, and the next cycle follows.", "Look at the far side; the message says what it was. The next cycle that works clears the error.";

    PLUGIN_FILE "LF0401" "A plugin's file is missing", "The plugin directory lacks `plugin.toml`, or the component that it names.", "Build it again with `landfall plugin build`, or copy the whole directory.";
    PLUGIN_MANIFEST "LF0402" "A plugin's manifest is not valid", "`plugin.toml` has an unknown key, a wrong value, or is not TOML; the message has the line.", "Correct it; the SDK's documentation lists every key.";
    PLUGIN_TOO_LARGE "LF0403" "A plugin is too large", "The component is larger than the host takes.", "Build it in release mode and strip it.";
    PLUGIN_NOT_WASM "LF0404" "A plugin is not WebAssembly", "The file does not begin as WebAssembly does.", "Check which file the manifest names as `component`.";
    PLUGIN_TRUNCATED "LF0405" "A plugin is cut off", "The file ends too early, mostly because it was copied while it was written.", "Copy it again; write beside it and rename.";
    PLUGIN_DAMAGED "LF0406" "A plugin is damaged", "The bytes are not valid WebAssembly.", "Build or copy it again.";
    PLUGIN_CORE_MODULE "LF0407" "A core module instead of a component", "Compilers give core modules; a plugin is a component, which also says what it exports.", "`landfall plugin build` makes the component.";
    PLUGIN_PRECOMPILED "LF0408" "Compiled machine code", "The file is code that was compiled ahead of time, which could do anything and is never taken from outside.", "Ship the component it was made from.";
    PLUGIN_WORLD "LF0409" "A plugin does not fit its kind", "A required export is missing, or it imports something that the host does not know; the message names it.", "Build it against the contract of this version (`wit/`), and check `kind` in `plugin.toml`.";
    PLUGIN_COMPILE "LF0410" "A plugin does not compile", "The component is well formed but the compiler refuses it.", "Report it with the component.";
    PLUGIN_DESCRIBE "LF0411" "A plugin does not describe itself", "Its `describe` trapped or ran out of its limits. Nothing but the log is granted to it there.", "Make `describe` do nothing but return constants.";
    PLUGIN_MISMATCH "LF0412" "Manifest and component disagree", "Name, version or kind in `plugin.toml` are not those that the component says of itself.", "Mostly one of the two is from an older build: build it again.";
    PLUGIN_IO "LF0413" "A plugin's files cannot be read or kept", "The file system refused.", "Check permissions and free space of the plugin and data directories.";
    PLUGIN_NOT_STORED "LF0414" "A plugin version is not in the content store", "The version was never loaded by this daemon, or was removed.", "Put that version's files back into the plugin directory.";
    PLUGIN_STORE_DAMAGED "LF0415" "A stored plugin version is damaged", "The content store's copy does not have its digest.", "Put that version's files back into the plugin directory.";
    PLUGIN_LOAD_LOST "LF0416" "A load was lost", "The host ended while the plugin was loaded, or a thread was lost.", "It is tried again; see the log if it stays.";
    PLUGIN_NAME_TAKEN "LF0417" "Two plugins with one name", "Another directory serves a plugin of this name.", "Remove one of the two directories, or rename one plugin.";
    PLUGIN_GRANT "LF0420" "A capability was not granted", "The plugin imports an interface that the operator's configuration does not grant, or its manifest does not request.", "If it should have it, add the line that the message prints to the daemon's configuration.";
    PLUGIN_WRONG_KIND "LF0421" "A plugin of another kind", "A runbook is named where an adapter is needed, or the like.", "`landfall plugin list` shows the kinds.";
    PLUGIN_LINK "LF0422" "A plugin does not link", "The host could not link it, although it loaded.", "Report it with the log.";
    SECRET_UNUSABLE "LF0423" "A secret or certificate cannot be used", "A request needs a secret or certificate whose file is missing, can be read by others, or holds something that its place cannot have; the message says which. Nothing was sent.", "Mend the file or variable that `[secrets]` names (`chmod 600`, owned by the daemon's user); it is read again at the next use. `landfall doctor` reads them all.";
    GRANTED_SINCE "LF0424" "Granted since the job began", "A job keeps to the grants it was started with, and to those that stand in the configuration now: what is granted later is not for it.", "If the job should have it too: `landfall job regrant JOB --reason WHY`, then retry what failed. A new job has it anyway.";
    CERTIFICATE_DISTRUSTED "LF0425" "A server's certificate is not trusted", "The server that a plugin asked for showed a certificate that none of the trusted authorities signed, or one for another name or time. Nothing was sent.", "If it is the right server, name its authority in the grant: `ca = \"FILE\"` (PEM, relative to the configuration file), then `landfall daemon reload`. Without `ca` the machine's own authorities are trusted.";
    PLUGIN_FAILURE "LF0430" "A plugin reports a failure", "The plugin itself says why in the message.", "See the message, and the plugin's documentation.";
    PLUGIN_TRAP "LF0431" "A plugin crashed", "The plugin trapped: a panic, or a fault in its code. Its instance was thrown away.", "The log has the plugin's own words. Whether the effect happened is treated as unknown if anything was sent.";
    PLUGIN_CPU "LF0432" "A plugin used too much processor time", "The call used more than its processor budget.", "A loop in the plugin, or a limit that is too low for it (`limits.cpu-ms`).";
    PLUGIN_WALL "LF0433" "A plugin call took too long", "The call did not return within its wall-clock limit; mostly the far side did not answer.", "Look at the site. Whether the effect happened is treated as unknown until probed.";
    PLUGIN_MEMORY "LF0434" "A plugin used too much memory", "All its memories and tables together passed the limit.", "Raise `limits.memory` for it, or mend the plugin.";
    PLUGIN_BUSY "LF0435" "No free instance", "More plugin calls ran at once than the host has room for.", "It is tried again by itself.";
    PLUGIN_HOST "LF0436" "The plugin runtime failed", "The call could not be made or finished for a reason of the host's own.", "See the message; retrying is safe.";
    PLUGIN_DENIED "LF0437" "A plugin was refused something and failed", "During the call the plugin asked for an address or interface that is not granted.", "If it should have it, add the line that the message prints to the daemon's configuration.";
    PLUGIN_STACK "LF0438" "A plugin's stack overflowed", "Its calls nested too deep: a recursion without end, or data nested deeper than it can follow. Its instance was thrown away.", "Mend the plugin: it has half a megabyte of stack. The message names the function.";
    PLUGIN_PASS "LF0439" "A plugin passed too much at once", "Its answer, or the arguments of one call to the host, were larger than the limit.", "Answer in pages, and move disk data through buffers; or raise `limits.pass-bytes` for it.";
    RUNTIME_DIRECTORY "LF0440" "The plugin runtime's directory cannot be used", "The directory for compiled code is not the daemon's own, or not writable.", "It must belong to the daemon's user with mode 0700.";
    RUNTIME_ENGINE "LF0441" "The WebAssembly engine does not start", "The machine lacks something that the engine needs.", "See the message.";
    RUNTIME_HTTP "LF0442" "The HTTP client does not start", "Mostly the machine's root certificates cannot be read.", "See the message.";
    RUNTIME_THREADS "LF0443" "The guests' threads do not start", "The system refused new threads.", "Raise the process limits.";
    PLUGIN_TABLES "LF0444" "A plugin's tables grew too large", "All its tables together passed the limit of elements.", "Raise `limits.table-elements` for it, or mend the plugin.";
    PLUGIN_LOG "LF0445" "A plugin floods the log", "Lines over the limit of a call are dropped, and the plugin went on until it had written a hundred times as many.", "A loop in the plugin that logs. Raise `limits.log-lines` only if somebody reads them.";
    PLUGIN_BODY "LF0446" "An HTTP body was too large", "A request or an answer was larger than the limit, and the plugin could not go on without it.", "Ask for pages or ranges; or raise `limits.body-bytes` for it.";
    PLUGIN_HANDLES "LF0447" "A plugin holds too many resources", "It did not drop streams, requests or buffers that it was done with.", "Mend the plugin; or raise `limits.handles` for it.";
    PLUGIN_CONTRACT "LF0448" "A plugin broke the contract", "It used a handle that it does not own, answered with something that cannot be read, or asked for more than the contract allows.", "Report it to the plugin's author: bindings that a generator makes do not do this.";
    PLUGINS_DIRECTORY "LF0450" "The plugin directory cannot be read", "It does not exist, or the daemon may not read it.", "Create it, or correct `plugins` in the daemon's configuration.";
    PLUGINS_WRITABLE "LF0451" "A plugin could be anybody's", "Whoever can write to the plugin directory, or to a plugin in it, decides what the daemon runs. It belongs to somebody else, or everybody can write to it, or a file leads out of the plugin's directory or is none.", "`chown` it to the daemon's user and `chmod -R o-w` it. Copy files instead of linking them.";
    PLUGINS_WATCH "LF0452" "The plugin directory cannot be watched", "The system has no watches left, or the file system has none.", "Raise fs.inotify.max_user_watches.";
    PLUGIN_SUSPECT "LF0453" "The version that serves fails by itself", "Within ten minutes it trapped, used too much memory or too much processor time three times, and there is no earlier good version to go back to, so it serves on.", "Put a better version into the plugin directory. If you trust it all the same: `landfall plugin activate PLUGIN DIGEST`.";
    UNKNOWN_PLUGIN "LF0460" "No such plugin serves", "A site, plan or request names a plugin, and no plugin of that name serves.", "`landfall plugin list` shows what serves and what failed to load, with the reason.";
    PLUGIN_REVOKED "LF0461" "A plugin version was revoked", "An administrator took this version out of service for good; its calls were ended and no new ones are made.", "Jobs that were pinned to it wait: `landfall job repin JOB STEP --to DIGEST --reason WHY` lets them go on with another version. For new jobs, put another version into the plugin directory or `landfall plugin activate` one.";
    PLUGIN_ASIDE "LF0462" "What lies in the directory was set aside", "A person rolled back from this version or activated another, or it was quarantined. Files that have been turned away from do not come back by a look or a restart.", "Put other files there, or serve it knowingly: `landfall plugin activate PLUGIN DIGEST`.";
    PLUGIN_WAITS "LF0463" "An update asks for more than is granted", "The new version imports an interface that is not granted where the plugin is used, or its manifest asks for something that no present grant gives. The version before it serves meanwhile.", "Add the lines that `landfall plugin list` prints to the daemon's configuration. If it shall not have what it merely asks for: `landfall plugin activate PLUGIN DIGEST`.";
    PLUGIN_VERSION "LF0464" "No such version to serve", "The digest names no stored version of this plugin, or several, or there is no earlier good version to go back to.", "`landfall plugin inspect PLUGIN` lists the stored versions with their digests.";
    PLUGIN_UNSIGNED "LF0465" "A plugin is not signed", "The configuration names keys under `[trust]`, so every plugin directory needs `SHA256SUMS` and `SHA256SUMS.minisig`.", "Have it signed by one who holds such a key: `landfall plugin sign DIRECTORY --key FILE`, or `minisign -S`.";
    PLUGIN_SIGNATURE "LF0466" "A plugin's signature is not accepted", "The signature is not by one of the keys in the configuration, or not over this list of checksums.", "Get the plugin again from where it was signed. If its author has a new key, add it to `[trust] keys` after you made sure whose it is.";
    PLUGIN_ALTERED "LF0467" "A plugin is not what was signed", "The manifest or the component has another checksum than the signed list: it was changed after it was signed, or is of another build.", "Get the whole directory again; if you changed it yourself, sign it again.";
    PLUGIN_NOT_LISTED "LF0468" "A plugin's file was not signed", "The signed list of checksums does not name `plugin.toml`, or not the component under the name that the manifest gives it.", "Sign the directory again: `landfall plugin sign DIRECTORY --key FILE`.";
    REPIN_REFUSED "LF0469" "The job cannot go on with this version", "The version is of another plugin or kind, the step calls no such plugin, or it cannot be bound with what is granted.", "`landfall job show JOB` lists what the job is pinned to, and `landfall plugin inspect PLUGIN` the versions there are.";
    STATE_QUOTA "LF0470" "A plugin keeps too much state", "What it wanted to keep would pass the quota of its grant, or it keeps 10,000 keys already.", "If it should have more, add the line that the message prints to its grants; if it never deletes anything, report it to its author.";
    STATE_UNAVAILABLE "LF0471" "A plugin's state cannot be read or kept", "The daemon's database did not take it or give it.", "See the log and LF0506: mostly the disk is full or failing.";
    STATE_KEY "LF0472" "A plugin used a key that cannot be", "A key of `state` or `session` has 1 to 256 bytes and no control characters.", "Report it to the plugin's author; long names can be hashed.";
    SESSION_ENTRY "LF0473" "A plugin's session entry is too large", "A session holds a megabyte for each site or runbook, and one entry was larger than that.", "Report it to the plugin's author: a session is for logins and look-ups.";
    TRANSPORT_CONNECTIONS "LF0474" "A plugin has too many connections", "A call has at most 16 connections of `transport` at once.", "Report it to the plugin's author: connections that are done with are to be dropped.";
    TRANSPORT_UNREACHABLE "LF0475" "An endpoint cannot be reached", "The host that a `transport` grant names does not resolve, refuses the connection, or does not answer within five seconds.", "Check the endpoint in the grant, and that the far side runs. Nothing was sent over it.";
    TRANSPORT_TLS "LF0476" "An endpoint has no secure connection", "A certificate or key of the `transport` grant cannot be read, or one side does not accept the other's certificate.", "Check `ca`, `cert`, `key` and `server-name` of the endpoint; the message names what failed. The files are read at each new connection.";
    TRANSPORT_MISUSE "LF0477" "A plugin misused a connection", "It took the reader or writer of a connection twice, or used a tag of more than 256 bytes.", "Report it to the plugin's author.";
    GUESTS_UNSUPPORTED "LF0478" "No program can be run in a machine", "The adapter of the machine's site exports no `guest-exec`, or the item has no machine on that side yet.", "Use an adapter that runs programs, or run the action after the machine was started.";
    GUESTS_FOREIGN "LF0479" "A runbook asked for a machine that is not its own", "A runbook runs programs only in the machines of the call's context: those of its group, or of the whole plan for an action around all.", "Put the action around the group that has the machine.";
    PLUGIN_PROJECT "LF0480" "A directory is no plugin that can be built", "It lacks `plugin.toml`, or what that says contradicts itself, its crate or the contract; the message names the place.", "Begin with `landfall plugin new`, and compare.";
    PLUGIN_TOOLS "LF0481" "A tool to build plugins with is missing", "Rust plugins need a compiler for WebAssembly, Python plugins componentize-py, JavaScript plugins Node.js with componentize-js. They are looked for, then installed; the message says what each way came to.", "Run the command that the message names, and try again. The machine needs its package registries only the first time.";
    PLUGIN_SOURCE "LF0482" "A plugin's source makes no component", "The compiler, or the language's own tool, refused it; its words are shown. Python and JavaScript files are run once when they are built, up to their definitions.", "Mend what they say. An import that cannot be found needs its interface in `[requests]`, or its package in `vendor` (Python) or `node_modules` (JavaScript).";
    PLUGIN_SURFACE "LF0483" "A component is not what its manifest says", "It imports what `plugin.toml` does not request, or lacks an export that its kind needs.", "Add the interface to `[requests]`, or export what the message names.";
    PLUGIN_NEW "LF0484" "A plugin cannot be begun there", "The name cannot be used, or the directory has something in it.", "Use lower case letters, digits and dashes, and an empty directory.";
    CASE_FILE "LF0485" "A test case cannot be read", "The file or directory that was named is missing or not readable.", "Cases lie in `tests/*.toml` beside `plugin.toml`; `--cases DIRECTORY` and `--case FILE` name others.";
    CASE_INVALID "LF0486" "A test case is not valid", "It is no TOML (or JSON), has an unknown key, or a value that does not fit; the message has the line.", "Compare it with the schema: `landfall plugin test --schema`.";
    NO_CASES "LF0487" "A plugin has no test cases", "There is no `tests/*.toml` beside `plugin.toml`, or none whose name holds the text of `--filter`.", "Write one: docs/plugins.md has an example of ten lines.";
    SCRATCH_SITE "LF0488" "A scratch site cannot be had", "`[scratch]` of `plugin.toml`, or the file of `--scratch`, is not valid, or its site does not start.", "sdk/CONFORMANCE.md explains every key; run its `command` by hand to see why it ends.";
    NOT_SERVED "LF0489" "The daemon does not serve what was installed", "A plugin was put into the directory of `--into`, and the daemon refuses it, waits for grants, or watches another directory; the message has its words.", "`landfall plugin list` shows what serves and why others do not; `--into` is the `plugins` of the daemon's configuration.";
    PLUGIN_CONTRACT_RANGE "LF0490" "A plugin for another version of the contract", "The component was built for a version of `landfall:plugin` that this host does not support: too old, or too new. The message has both.", "Build the plugin with an SDK of the range that the message prints, or update the host.";

    UNREACHABLE "LF0501" "The daemon does not answer", "Nothing listens at the address, or something else does.", "Start it with `landfall daemon run`, or give `--server` and `--token-file`.";
    NOT_AUTHORISED "LF0502" "Not authorised", "The token is missing or wrong, or the request came from another host or origin.", "The daemon writes its token to the file that its log names at start; `--token-file` points the CLI at it.";
    BAD_REQUEST "LF0503" "The request cannot be read", "The body is not what this call takes.", "See /openapi.json.";
    CONFIGURATION "LF0504" "The daemon's configuration is not valid", "A key or value in the TOML file does not fit; the message has the place.", "See docs/configuration.md.";
    DATA_DIRECTORY "LF0505" "The data directory cannot be used", "Another daemon uses it, it is not writable, or others may read it.", "One daemon per data directory; it must belong to the daemon's user with mode 0700.";
    STORE "LF0506" "The journal cannot be written or read", "The disk is full or failing, or the file was changed by something else. The daemon stops rather than go on unrecorded.", "Mend the disk and start the daemon: it goes on where it was.";
    EVIDENCE "LF0507" "Evidence is not accepted", "The file was not signed with this key, or was changed afterwards: a record, the frozen job, the report, the page.", "Get the file again from who wrote it, and the installation's key by another way (`landfall journal key` prints it there).";
    BACKUP "LF0508" "A backup cannot be written or restored", "A file stands where it would go, the file cannot be used, or it is not what was written.", "Backups and restores overwrite nothing: name another file, or move the old data directory away. A damaged backup is not restored: take an older one.";
    DISK_LOW "LF0509" "Too little room for the journal", "The disk of the data directory has less free space than `min-free-mb` of the configuration. Nothing new is begun, so that the journal cannot fail in the middle of an effect; what is under way is recorded, and replication pauses.", "Make room: work goes on by itself within a second. `min-free-mb` can be changed with `landfall daemon reload`.";
    BEHIND "LF0510" "The database has lost its end", "Something that was committed is not in the database any more: a bit of its log turned over on a failing disk, or an older copy was put in its place.", "Check the disk. Restore the newest backup, or go on from what is there: `landfall backup FILE`, then `landfall restore FILE` into a new data directory; either way nothing goes on before `landfall reconcile`.";
    INTERNAL "LF0599" "Internal error", "A fault in Landfall itself.", "Please report it with the log.";
}

/// A pinned plugin version that cannot be used is nobody's failure and changes nothing at any site: the step waits for
/// a person, who puts the version back or pins another.
pub fn parks(code: &str) -> bool {
    matches!(code, DIGEST_MISSING | PLUGIN_REVOKED)
}

/// The page of a code, whatever the case of its letters.
pub fn explain(code: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.code.eq_ignore_ascii_case(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        assert!(PAGES.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert_eq!(explain("lf0301").map(|page| page.code), Some(IN_DOUBT));
    }
}
