//! Documents with mistakes: refused as a whole, each mistake with its line, its code and a cure.

use insta::assert_snapshot;

use crate::harness::documents::{Inventory, plan};
use crate::harness::world::World;

/// Applies a wrong document; what a person then reads.
#[track_caller]
fn refused(world: &World, kind: &str, text: &str) -> String {
    let ended = world.try_apply(kind, text).code(5);
    assert_eq!(ended.out, "", "data goes to stdout, and there is none");
    ended.err
}

/// With an inventory of two items that nobody protects yet.
fn world() -> World {
    let world = World::start();
    world.lab.furnish(&["db", "web"]);
    world.apply("inventory", &Inventory::of(&["db", "web"]).text());
    world
}

#[test]
fn a_wrong_plan_is_refused_with_line_code_and_cure() {
    let world = world();
    let good = plan(&["db", "web"], &["name: tell, runbook: webhook, before: [all]"]);
    let wrong = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} is not in the plan");
        refused(&world, "plan", &good.replacen(from, to, 1))
    };
    assert_snapshot!("plan_unknown_machine", wrong("[web]", "[wep]"));
    assert_snapshot!("plan_unknown_group", wrong("[all]", "[tier-bd]"));
    assert_snapshot!("plan_unknown_runbook", wrong("runbook: webhook", "runbook: webhok"));
    assert_snapshot!(
        "plan_unknown_policy",
        wrong("plan: hr\n", "plan: hr\npoint: { policy: standart }\n")
    );
    assert_snapshot!(
        "plan_unknown_choice",
        wrong("plan: hr\n", "plan: hr\npoint: { choice: lastest }\n")
    );
    assert_snapshot!(
        "plan_unknown_network",
        wrong("plan: hr\n", "plan: hr\ntest-network: bubbles\n")
    );
    assert_snapshot!("plan_duplicate_machine", wrong("[web]", "[web, db]"));
    assert_snapshot!("plan_duplicate_group", wrong("tier-web", "tier-db"));
    assert_snapshot!("plan_empty_group", wrong("[web]", "[]"));
    assert_snapshot!("plan_unknown_key", wrong("groups:", "gruops:"));
    assert_snapshot!("plan_unknown_nested_key", wrong("before:", "befor:"));
    assert_snapshot!("plan_not_yaml", wrong("[web]", "[web"));
    assert_snapshot!("plan_wrong_type", wrong("plan: hr\n", "plan: hr\nshutdown: perhaps\n"));
    // All mistakes at once.
    assert_snapshot!(
        "plan_all_mistakes_together",
        refused(
            &world,
            "plan",
            &good
                .replace("[web]", "[wep]")
                .replace("webhook", "webhok")
                .replace("[db]", "[]")
        )
    );
    let plans = world.cli(&["plan", "list", "-o", "json"]).code(0);
    assert_eq!(plans.out.trim(), "[]", "nothing was applied");
}

#[test]
fn a_wrong_inventory_is_refused_with_line_code_and_cure() {
    let world = world();
    let good = Inventory {
        grouped: &["db"],
        ..Inventory::of(&["db", "web"])
    }
    .text();
    let wrong = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} is not in the inventory");
        refused(&world, "inventory", &good.replacen(from, to, 1))
    };
    assert_snapshot!("inventory_unknown_site", wrong("south", "suoth"));
    assert_snapshot!("inventory_duplicate_item", wrong("name: web", "name: db"));
    assert_snapshot!("inventory_duplicate_machine", wrong("vm-web", "vm-db"));
    assert_snapshot!(
        "inventory_unknown_group",
        wrong("replication-group: together", "replication-group: apart")
    );
    assert_snapshot!("inventory_empty_group", wrong(", replication-group: together", ""));
    assert_snapshot!("inventory_unknown_key", wrong("items:", "itmes:"));
    assert_snapshot!("inventory_wrong_time", wrong("rpo: 2s", "rpo: soon"));
    assert_snapshot!("inventory_to_itself", wrong("target-site: south", "target-site: north"));
    let kept = world.cli(&["inventory", "show"]).code(0);
    assert_eq!(
        kept.out.trim(),
        Inventory::of(&["db", "web"]).text().trim(),
        "nothing was applied"
    );
}

#[test]
fn an_item_that_is_protected_stays_in_the_inventory() {
    let world = World::protected(&Inventory::of(&["db", "web"]), &plan(&["db", "web"], &[]));
    assert_snapshot!(
        "inventory_in_use",
        refused(&world, "inventory", &Inventory::of(&["web"]).text())
    );
}

#[test]
fn checking_a_document_applies_nothing() {
    let world = world();
    std::fs::write(world.path("plan.yaml"), plan(&["db"], &[])).unwrap();
    world.cli(&["plan", "check", "plan.yaml"]).code(0);
    assert_eq!(world.cli(&["plan", "list", "-o", "json"]).code(0).out.trim(), "[]");
    std::fs::write(world.path("plan.yaml"), plan(&["bd"], &[])).unwrap();
    let wrong = world.cli(&["plan", "check", "plan.yaml"]).code(5);
    assert!(wrong.err.contains("LF0106") && wrong.err.contains("`db`"), "{wrong}");
    let missing = world.cli(&["plan", "check", "nothing.yaml"]).code(2);
    assert!(missing.err.contains("nothing.yaml"), "{missing}");
}

#[test]
fn the_command_line_itself_is_checked() {
    let world = World::start();
    world.cli(&["failover", "hr", "--kind", "sideways"]).code(2);
    world.cli(&["failover", "--kind", "test"]).code(2);
    world.cli(&["explain", "LF0106"]).code(0);
}
