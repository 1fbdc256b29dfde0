//! What is refused before anything starts, with the reason and a way on.

use serde_json::json;

use crate::harness::answers::Problem;
use crate::harness::documents::{Inventory, plan};
use crate::harness::lab::{AWAY, HOME};
use crate::harness::world::World;

#[test]
fn f02_a_network_that_the_target_lacks_is_refused() {
    let inventory = Inventory {
        production: "dmz",
        ..Inventory::of(&["db"])
    };
    let world = World::protected(&inventory, &plan(&["db"], &[]));
    let before = world.lab.now();
    let refused = world
        .cli(&["failover", "hr", "--kind", "planned", "--confirm", "hr"])
        .code(5);
    for word in ["LF0207", "network-unknown", "dmz", "db"] {
        assert!(refused.err.contains(word), "{word} is not in {refused}");
    }
    assert!(world.lab.is_on(HOME, "vm-db"));
    let touched: Vec<_> = world
        .lab
        .ledger()
        .into_iter()
        .filter(|line| line.seq > before && line.job.is_some())
        .collect();
    assert!(touched.is_empty(), "{touched:?}");
    // The network is made, and the same request goes through.
    world.lab.control(
        "networks",
        &json!({"site": AWAY, "id": "dmz", "name": "DMZ", "isolated": false}),
    );
    world
        .cli(&["failover", "hr", "--kind", "planned", "--confirm", "hr"])
        .code(0);
}

#[test]
fn f02_a_card_without_a_mapping_is_refused() {
    let world = World::start();
    world.lab.control(
        "machines",
        &json!({"site": HOME, "id": "vm-db", "nics": [{"id": "nic-0", "network": "lan"}, {"id": "nic-1", "network": "lan"}]}),
    );
    world.apply("inventory", &Inventory::of(&["db"]).text());
    world.apply("plan", &plan(&["db"], &[]));
    world.cli(&["protect", "db"]).code(0);
    let refused = world.cli(&["failover", "hr", "--kind", "test"]).code(5);
    assert!(
        refused.err.contains("network-unmapped") && refused.err.contains("nic-1"),
        "{refused}"
    );
}

#[test]
fn f23_planned_failover_is_offered_only_where_the_source_supports_it() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.lab.set_site(HOME, &json!({"planned_failover": false}));
    let refused = world
        .cli(&["failover", "hr", "--kind", "planned", "--confirm", "hr"])
        .code(5);
    assert!(refused.err.contains("LF0205"), "{refused}");
    let shown = world.cli(&["item", "show", "db"]).code(0);
    assert!(shown.out.contains("LF0205"), "{shown}");
    world
        .cli(&["failover", "hr", "--kind", "unplanned", "--confirm", "hr"])
        .code(0);
}

#[test]
fn f33_x03_a_test_in_a_network_that_is_not_isolated_is_refused() {
    let inventory = Inventory {
        test: "lan",
        ..Inventory::of(&["db"])
    };
    let world = World::protected(&inventory, &plan(&["db"], &[]));
    let refused = world.cli(&["failover", "hr", "--kind", "test"]).code(5);
    assert!(
        refused.err.contains("network-not-isolated") && refused.err.contains("lan"),
        "{refused}"
    );
    let named = world
        .cli(&["failover", "hr", "--kind", "test", "--test-network", "bubble"])
        .code(0);
    assert!(named.out.contains("isolated"), "{named}");
}

#[test]
fn x03_a_network_that_stops_being_isolated_keeps_the_test_machine_off() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world
        .lab
        .fault(&json!({"operation": "isolation", "mode": "slow", "delay_ms": 1_500}));
    let job = world.launch("test", &json!({}));
    world.step_is(&job.id, "isolation/db", "running");
    world.lab.control(
        "networks",
        &json!({"site": AWAY, "id": "bubble", "name": "bubble", "isolated": false}),
    );
    let job = world.rest(&job.id);
    assert_eq!(job.status, "failed");
    assert_eq!(job.step("isolation/db").code.as_deref(), Some("LF0303"));
    let machine = job.item("db").machine.clone().expect("it was made");
    assert!(!world.lab.is_on(AWAY, &machine));
}

#[test]
fn a_machine_that_its_source_does_not_have_is_refused() {
    let world = World::start();
    world.apply("inventory", &Inventory::of(&["db"]).text());
    let refused = world.cli(&["protect", "db"]).code(5);
    assert!(
        refused.err.contains("LF0216") && refused.err.contains("vm-db"),
        "{refused}"
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_a_word_on_what_would() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let test = ["failover", "hr", "--kind", "test"];
    for (more, said) in [
        (["--ttl", "0s"], "a year at most"),
        (["--ttl", "60w"], "a year at most"),
        (["--policy", "webhook"], "is no recovery-point policy"),
    ] {
        let refused = world.cli(&[&test[..], &more].concat()).code(5);
        assert!(refused.err.contains(said), "{refused}");
    }
    world.cli(&[&test[..], &["--ttl", "99999999999h"]].concat()).code(2);
    world.cli(&[&test[..], &["--ttl", "2d", "--dry-run"]].concat()).code(0);
    let refused = world.cli(&["job", "list", "--before", "nosuch"]).code(5);
    assert!(refused.err.contains("there is no job nosuch"), "{refused}");
}

#[test]
fn operations_out_of_order_are_refused_with_the_legal_ones() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    let refused = world.ask("planned-failover", &json!({"confirm": "another"}));
    assert_eq!(
        (refused.status, refused.json::<Problem>().code.as_str()),
        (409, "LF0208")
    );
    let nothing = world.cli(&["commit", "hr"]).code(5);
    // A program that wants data gets the refusal as data.
    let data: serde_json::Value = world.cli(&["commit", "hr", "-o", "json"]).code(5).json();
    assert_eq!(data["error"]["code"], "LF0202", "{data}");
    let finding = &data["error"]["findings"][0];
    for key in ["id", "severity", "subject", "cause", "cure"] {
        assert!(finding[key].is_string(), "{key} is not in {data}");
    }
    assert!(
        nothing
            .err
            .contains("legal now: test, planned-failover, unplanned-failover"),
        "{nothing}"
    );

    world
        .cli(&["failover", "hr", "--kind", "planned", "--confirm", "hr"])
        .code(0);
    let refused = world.cli(&["failover", "hr", "--kind", "test"]).code(5);
    for word in ["LF0202", "`db` is failed over", "legal now: change-point, commit"] {
        assert!(refused.err.contains(word), "{word} is not in {refused}");
    }
}

#[test]
fn a_second_job_on_a_machine_is_refused_and_the_holder_named() {
    let world = World::protected(&Inventory::of(&["db"]), &plan(&["db"], &[]));
    world.lab.latency("create-machine", 2_000, 2_000);
    let first = world.launch("test", &json!({}));
    let refused = world
        .cli(&["failover", "hr", "--kind", "planned", "--confirm", "hr"])
        .code(5);
    assert!(
        refused.err.contains("LF0201") && refused.err.contains(&first.id),
        "{refused}"
    );
    assert_eq!(world.rest(&first.id).status, "succeeded");
}

#[test]
fn what_does_not_exist_is_not_found() {
    let world = World::start();
    let plan = world.cli(&["failover", "nothing", "--kind", "test"]).code(5);
    assert!(plan.err.contains("LF0209"), "{plan}");
    let job = world.cli(&["job", "show", "nothing"]).code(5);
    assert!(job.err.contains("LF0307"), "{job}");
    let item = world.cli(&["item", "show", "nothing"]).code(5);
    assert!(item.err.contains("LF0209"), "{item}");
}
