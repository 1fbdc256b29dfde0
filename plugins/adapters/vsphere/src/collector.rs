//! Reads, all through vCenter's PropertyCollector: which objects, which of their properties, page by page.

use std::collections::BTreeMap;

use landfall_sdk::Failure;
use roxmltree::Node;

use crate::fault::{Fault, Trouble};
use crate::vcenter::Vcenter;
use crate::xml::{self, element, reference};

/// Pages after which a listing that never ends is given up: a hundred thousand objects at the usual page.
const MOST_PAGES: usize = 2_000;

/// What to read.
#[derive(Default)]
pub(crate) struct Query {
    properties: String,
    objects: String,
    page: Option<u32>,
}

/// An object as it was read.
pub(crate) struct Object<'a, 'i> {
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
    properties: BTreeMap<&'a str, Node<'a, 'i>>,
}

impl Query {
    /// These properties of objects of this type.
    pub(crate) fn of(mut self, kind: &str, paths: &[&str]) -> Self {
        let paths: String = paths.iter().map(|path| element("pathSet", path)).collect();
        let kind = element("type", kind);
        self.properties += &["<propSet>", &kind, "<all>false</all>", &paths, "</propSet>"].concat();
        self
    }

    /// This object, and what `selection` leads to from it.
    pub(crate) fn from(mut self, kind: &str, id: &str, selection: &str) -> Self {
        let object = reference("obj", kind, id);
        self.objects += &["<objectSet>", &object, "<skip>false</skip>", selection, "</objectSet>"].concat();
        self
    }

    fn written(&self) -> String {
        let page = self.page.map(|page| element("maxObjects", &page.to_string()));
        [
            "<specSet>",
            &self.properties,
            &self.objects,
            "<reportMissingObjectsInResults>true</reportMissingObjectsInResults></specSet><options>",
            &page.unwrap_or_default(),
            "</options>",
        ]
        .concat()
    }

    /// At most so many objects at once.
    pub(crate) fn paged(mut self, page: u32) -> Self {
        self.page = Some(page);
        self
    }
}

/// A step from objects of a type along one of their properties, and on from there. Named, so that it can lead to itself.
pub(crate) fn step(name: &str, kind: &str, path: &str, on: &str) -> String {
    let (name, kind, path) = (element("name", name), element("type", kind), element("path", path));
    format!(r#"<selectSet xsi:type="TraversalSpec">{name}{kind}{path}<skip>false</skip>{on}</selectSet>"#)
}

/// On by a step of that name.
pub(crate) fn again(name: &str) -> String {
    format!("<selectSet>{}</selectSet>", element("name", name))
}

/// From the root folder to everything in the folders of all datacenters under `folder`, such as `vmFolder`.
pub(crate) fn everywhere(folder: &str, beyond: &str) -> String {
    let on = [again("folders"), again("datacenters")].concat() + beyond;
    let children = step("folders", "Folder", "childEntity", &on);
    let on = again("folders");
    children + &step("datacenters", "Datacenter", folder, &on)
}

impl<'a, 'i> Object<'a, 'i> {
    fn read(node: Node<'a, 'i>) -> Option<Self> {
        let object = xml::child(node, "obj")?;
        let properties = xml::children(node, "propSet")
            .filter_map(|set| Some((xml::text(set, &["name"])?, xml::child(set, "val")?)));
        Some(Self {
            kind: object.attribute("type")?,
            id: object.text()?,
            properties: properties.collect(),
        })
    }

    pub(crate) fn get(&self, property: &str) -> Option<Node<'a, 'i>> {
        self.properties.get(property).copied()
    }

    pub(crate) fn text(&self, property: &str) -> Option<&'a str> {
        self.get(property)?.text()
    }

    pub(crate) fn is_true(&self, property: &str) -> bool {
        matches!(self.text(property), Some("true" | "1"))
    }

    pub(crate) fn number(&self, property: &str) -> Option<u64> {
        self.text(property)?.trim().parse().ok()
    }

    /// The ids in a list of references.
    pub(crate) fn ids(&self, property: &str) -> Vec<String> {
        let list = self.get(property).into_iter();
        let ids = list
            .flat_map(|list| list.children().filter(Node::is_element))
            .filter_map(|one| one.text());
        ids.map(str::to_owned).collect()
    }
}

impl Vcenter {
    /// One page. Objects that are not there are left out. Gives the token of the next page.
    pub(crate) fn page(
        &self,
        query: &Query,
        cursor: Option<&str>,
        mut each: impl FnMut(&Object<'_, '_>) -> Result<(), Failure>,
    ) -> Result<Option<String>, Trouble> {
        let collector = reference("_this", "PropertyCollector", &self.content()?.property_collector);
        let (method, arguments) = if let Some(token) = cursor {
            ("ContinueRetrievePropertiesEx", collector + &element("token", token))
        } else {
            ("RetrievePropertiesEx", collector + &query.written())
        };
        let result = self.call(method, &arguments, |answer| {
            let Some(result) = xml::child(answer, "returnval") else {
                return Ok(None);
            };
            if let Some(fault) = no_session(result) {
                return Err(Trouble::Fault(fault));
            }
            for object in xml::children(result, "objects").filter_map(Object::read) {
                each(&object)?;
            }
            Ok(xml::text(result, &["token"]).map(str::to_owned))
        });
        match result {
            // The list lived in a session that is gone.
            Err(trouble) if cursor.is_some() && (trouble.is("InvalidArgument") || trouble.is("InvalidProperty")) => {
                let why = "the list that was read is no longer there: vCenter ended the session between two pages";
                Err(Failure::definite("list-lost", why).retryable().into())
            }
            result => result,
        }
    }

    /// All pages.
    pub(crate) fn read(
        &self,
        query: &Query,
        mut each: impl FnMut(&Object<'_, '_>) -> Result<(), Failure>,
    ) -> Result<(), Trouble> {
        let mut cursor = None;
        for _ in 0..MOST_PAGES {
            cursor = self.page(query, cursor.as_deref(), &mut each)?;
            if cursor.is_none() {
                return Ok(());
            }
        }
        Err(Failure::definite(
            "endless-list",
            format!("vCenter's list has more than {MOST_PAGES} pages"),
        )
        .into())
    }

    /// The object at a path of the inventory, such as `/dc1/vm/recovered`: its type and id.
    pub(crate) fn find(&self, path: &str) -> Result<Option<(String, String)>, Trouble> {
        let index = reference("_this", "SearchIndex", &self.content()?.search_index);
        let path = element("inventoryPath", path.trim_matches('/'));
        self.call("FindByInventoryPath", &(index + &path), |answer| Ok(found(answer)))
    }

    /// The machine with this instance UUID.
    pub(crate) fn find_machine(&self, uuid: &str) -> Result<Option<String>, Trouble> {
        let index = reference("_this", "SearchIndex", &self.content()?.search_index);
        let what = element("uuid", uuid) + "<vmSearch>true</vmSearch><instanceUuid>true</instanceUuid>";
        let found = self.call("FindByUuid", &(index + &what), |answer| Ok(found(answer)))?;
        Ok(found.map(|(_, id)| id))
    }
}

fn found(answer: Node<'_, '_>) -> Option<(String, String)> {
    let found = xml::child(answer, "returnval")?;
    Some((found.attribute("type")?.to_owned(), found.text()?.to_owned()))
}

/// Who may not see an object is told so in place of its properties; without a session that is everybody.
fn no_session(result: Node<'_, '_>) -> Option<Fault> {
    let missing = xml::children(result, "objects").flat_map(|object| xml::children(object, "missingSet"));
    let faults = missing.filter_map(|missing| Fault::localized(xml::child(missing, "fault")?));
    faults.into_iter().find(|fault| fault.kind == "NotAuthenticated")
}

#[cfg(test)]
mod tests {
    use super::*;
    use roxmltree::Document;

    const RESULT: &str = r#"<returnval xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><objects>
        <obj type="VirtualMachine">vm-1</obj>
        <propSet><name>name</name><val xsi:type="xsd:string">db</val></propSet>
        <propSet><name>config.template</name><val xsi:type="xsd:boolean">false</val></propSet>
        <propSet><name>network</name><val xsi:type="ArrayOfManagedObjectReference">
            <ManagedObjectReference type="Network">network-7</ManagedObjectReference></val></propSet>
        </objects></returnval>"#;

    #[test]
    fn an_object_has_its_properties_by_path() {
        let document = Document::parse(RESULT).unwrap();
        let node = xml::child(document.root_element(), "objects").unwrap();
        let object = Object::read(node).unwrap();
        assert_eq!(
            (object.kind, object.id, object.text("name")),
            ("VirtualMachine", "vm-1", Some("db"))
        );
        assert!(!object.is_true("config.template"));
        assert_eq!(object.ids("network"), ["network-7"]);
        assert!(no_session(document.root_element()).is_none());
    }

    #[test]
    fn properties_that_are_kept_back_are_a_session_that_is_gone() {
        let text = r#"<returnval xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><objects>
            <obj type="VirtualMachine">vm-1</obj><missingSet><path>name</path><fault>
            <fault xsi:type="NotAuthenticated"/><localizedMessage/></fault></missingSet></objects></returnval>"#;
        let document = Document::parse(text).unwrap();
        assert_eq!(no_session(document.root_element()).unwrap().kind, "NotAuthenticated");
    }
}
