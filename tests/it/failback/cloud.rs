//! The cloud's own machines, and what a machine away says of where it came from.

use serde_json::{Value, json};

use super::{AWAY, HOME, away, vmware};

#[test]
fn f31_the_operations_offered_follow_the_items_origin() {
    let table = [("vmware", "reprotect"), ("hyperv", "planned-failover")];
    for (origin, way_back) in table {
        let world = super::world(origin, "azure", &[("db", json!({}))]);
        away(&world);
        let item: Value = world.api.get("api/v1/items/db");
        let allowed = |name: &str| {
            let answer = item["operations"][name]["answer"].as_str();
            answer.unwrap_or_else(|| panic!("{name} is not in {item}")).to_owned()
        };
        for (_, operation) in table {
            let expected = if operation == way_back { "allowed" } else { "illegal" };
            assert_eq!(allowed(operation), expected, "{origin}: {operation}: {item}");
        }
    }
}

#[test]
fn b07_b18_a_cloud_machine_carries_where_it_came_from() {
    let world = vmware();
    let cloud = away(&world);
    let facts = world.lab.machine(AWAY, &cloud["db"]).unwrap()["facts"].clone();
    let came = &facts["came_from"];
    assert_eq!((&came["site"], &came["machine"]), (&json!(HOME), &json!("vm-db")));
    assert_eq!(
        (&came["vcenter"], &came["configuration_server"]),
        (&json!("vc-1"), &json!("cs-1"))
    );
    assert_eq!(came["configuration_server_address"], "10.0.0.10");
}
