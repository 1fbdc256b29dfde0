//! The few ways in which XML is read and written here.

use xmltree::{Element, EmitterConfig, XMLNode};

/// None: it is no XML.
pub(crate) fn parse(text: &str) -> Option<Element> {
    Element::parse(text.as_bytes()).ok()
}

/// Without the document's heading.
pub(crate) fn text(element: &Element) -> String {
    let mut out = Vec::new();
    let config = EmitterConfig::new().write_document_declaration(false);
    // Into memory: there is nothing that could fail.
    let _ = element.write_with_config(&mut out, config);
    String::from_utf8_lossy(&out).into_owned()
}

pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // XML cannot hold them, whatever they are written as.
            c if c.is_control() && !matches!(c, '\n' | '\r' | '\t') => {}
            c => out.push(c),
        }
    }
    out
}

pub(crate) fn children(element: &Element) -> impl Iterator<Item = &Element> {
    element.children.iter().filter_map(XMLNode::as_element)
}

pub(crate) fn named<'e>(element: &'e Element, name: &'static str) -> impl Iterator<Item = &'e Element> {
    children(element).filter(move |child| child.name == name)
}

/// The text at the end of a path of elements.
pub(crate) fn text_at(element: &Element, path: &[&str]) -> Option<String> {
    let found = at(element, path)?;
    found.get_text().map(|text| text.trim().to_owned())
}

pub(crate) fn at<'e>(element: &'e Element, path: &[&str]) -> Option<&'e Element> {
    path.iter().try_fold(element, |element, name| element.get_child(*name))
}

/// An attribute at the end of a path of elements.
pub(crate) fn attribute(element: &Element, path: &[&str], name: &str) -> Option<String> {
    at(element, path)?.attributes.get(name).cloned()
}

pub(crate) fn element(name: &str, attributes: &[(&str, &str)]) -> Element {
    let mut element = Element::new(name);
    for (name, value) in attributes {
        element.attributes.insert((*name).to_owned(), (*value).to_owned());
    }
    element
}

/// Removes all children of these names.
pub(crate) fn remove(element: &mut Element, names: &[&str]) {
    element.children.retain(|node| match node {
        XMLNode::Element(child) => !names.contains(&&*child.name),
        _ => true,
    });
}

/// Puts a child with this text in the place of the one that is there.
pub(crate) fn set_text(parent: &mut Element, name: &str, text: &str) {
    let node = XMLNode::Text(text.to_owned());
    if let Some(child) = parent.get_mut_child(name) {
        child.children = vec![node];
    } else {
        let mut child = Element::new(name);
        child.children.push(node);
        parent.children.push(XMLNode::Element(child));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_comes_back() {
        let text = "{\"a\": \"<&'>\"}";
        let parsed = parse(&format!("<x>{}</x>", escape(text))).unwrap();
        assert_eq!(parsed.get_text().unwrap(), text);
        assert_eq!(escape("a\0b"), "ab");
    }

    #[test]
    fn namespaces_survive() {
        let original = "<domain xmlns:q=\"urn:q\"><q:commandline><q:arg value=\"-x\" /></q:commandline></domain>";
        assert_eq!(super::text(&parse(original).unwrap()), original);
        assert!(parse("half <").is_none());
    }
}
