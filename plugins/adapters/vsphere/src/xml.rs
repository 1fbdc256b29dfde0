//! XML as vim25 speaks it: text that is written by hand, and answers that are read as a tree.
//!
//! Tags are found by their local names; which prefix a server gives its namespaces is its own affair. Nothing that comes
//! from outside is ever written without [`escape`].

use roxmltree::Node;

/// The namespace of `xsi:type`.
const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// Text for an element or an attribute. Braces too, so that no name of a machine can spell one of the host's
/// placeholders, which would put the password into it.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '{' => escaped.push_str("&#123;"),
            '}' => escaped.push_str("&#125;"),
            // XML has no way to write other control characters.
            letter if letter.is_control() && !matches!(letter, '\n' | '\t') => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// An element with text.
pub(crate) fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

/// An element that names a managed object.
pub(crate) fn reference(name: &str, kind: &str, id: &str) -> String {
    format!(r#"<{name} type="{}">{}</{name}>"#, escape(kind), escape(id))
}

/// The first child element of this name.
pub(crate) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    children(node, name).next()
}

/// All child elements of this name.
pub(crate) fn children<'a, 'i>(node: Node<'a, 'i>, name: &str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children()
        .filter(move |child| child.is_element() && child.tag_name().name() == name)
}

/// The text of the element at the end of these names, one inside the other.
pub(crate) fn text<'a>(node: Node<'a, '_>, path: &[&str]) -> Option<&'a str> {
    let end = path.iter().try_fold(node, |node, name| child(node, name))?;
    end.text()
}

/// The type that an element says it has, without its prefix.
pub(crate) fn kind<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    let kind = node.attribute((XSI, "type"))?;
    Some(kind.rsplit_once(':').map_or(kind, |(_, name)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_ask_for_the_password() {
        assert_eq!(
            escape(r#"{{secret:vcenter}} <b> & "c""#),
            "&#123;&#123;secret:vcenter&#125;&#125; &lt;b&gt; &amp; &quot;c&quot;"
        );
        assert_eq!(escape("a\u{0}\nb"), "a\nb");
    }

    #[test]
    fn what_was_written_is_read_back() {
        let name = "db {1} <&> é";
        let written = format!(
            "<a>{}{}</a>",
            element("n", name),
            reference("r", "VirtualMachine", "vm-1")
        );
        let document = roxmltree::Document::parse(&written).unwrap();
        let root = document.root_element();
        assert_eq!(text(root, &["n"]), Some(name));
        assert_eq!(child(root, "r").unwrap().attribute("type"), Some("VirtualMachine"));
    }
}
