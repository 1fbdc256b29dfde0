//! The storage pool in which replicas and the disks of machines made here lie: qcow2 files, each over another.

use landfall_sdk::Failure;

use crate::libvirt::{Libvirt, Pool};
use crate::xml::{escape, parse, text_at};

/// The configured pool, which must be there and run.
pub(crate) fn pool(libvirt: &mut Libvirt) -> Result<Pool, Failure> {
    let name = libvirt.config.pool.clone();
    let missing = || {
        let why = format!("the site has no storage pool `{name}`; make it, or name another as `pool`");
        Failure::definite("pool-missing", why)
    };
    let pool = libvirt.pool(&name)?.ok_or_else(missing)?;
    let (running, _) = libvirt.pool_info(&pool)?;
    if !running {
        let why = format!("storage pool `{name}` is not started (`virsh pool-start {name}`)");
        return Err(Failure::definite("pool-inactive", why).retryable());
    }
    Ok(pool)
}

/// Bytes that are free in it.
pub(crate) fn free(libvirt: &mut Libvirt) -> Result<u64, Failure> {
    let pool = pool(libvirt)?;
    Ok(libvirt.pool_info(&pool)?.1)
}

/// Where its files lie.
pub(crate) fn directory(libvirt: &mut Libvirt, name: &str) -> Result<String, Failure> {
    let pool = pool(libvirt)?;
    let xml = libvirt.pool_xml(&pool)?;
    let path = parse(&xml).and_then(|xml| text_at(&xml, &["target", "path"]));
    path.ok_or_else(|| {
        let why = format!("storage pool `{name}` is no directory; this adapter keeps files");
        Failure::definite("pool-kind", why)
    })
}

/// Makes a file, or finds it; over another one, if that is named. Gives its path.
pub(crate) fn create(libvirt: &mut Libvirt, name: &str, bytes: u64, over: Option<&str>) -> Result<String, Failure> {
    let pool = pool(libvirt)?;
    let (_, _, path) = libvirt.create_volume(&pool, name, volume(name, bytes, over))?;
    Ok(path)
}

/// The files whose names begin so.
pub(crate) fn files(libvirt: &mut Libvirt, beginning: &str) -> Result<Vec<String>, Failure> {
    let pool = pool(libvirt)?;
    let all = libvirt.volumes(&pool)?.into_iter();
    Ok(all
        .filter(|(_, name, _)| name.starts_with(beginning))
        .map(|(.., path)| path)
        .collect())
}

/// Removes them.
pub(crate) fn delete_all(libvirt: &mut Libvirt, beginning: &str) -> Result<(), Failure> {
    for path in files(libvirt, beginning)? {
        libvirt.delete_volume(&path)?;
    }
    Ok(())
}

fn volume(name: &str, bytes: u64, over: Option<&str>) -> String {
    let over = over
        .map(|path| {
            format!(
                "<backingStore><path>{}</path><format type='qcow2'/></backingStore>",
                escape(path)
            )
        })
        .unwrap_or_default();
    format!(
        "<volume><name>{}</name><capacity unit='bytes'>{bytes}</capacity>\
         <target><format type='qcow2'/><compat>1.1</compat></target>{over}</volume>",
        escape(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lies_over_another() {
        let xml = parse(&volume("a&b", 5, Some("/pool/x"))).unwrap();
        assert_eq!(text_at(&xml, &["name"]).as_deref(), Some("a&b"));
        assert_eq!(text_at(&xml, &["backingStore", "path"]).as_deref(), Some("/pool/x"));
        assert!(
            parse(&volume("a", 5, None))
                .unwrap()
                .get_child("backingStore")
                .is_none()
        );
    }
}
