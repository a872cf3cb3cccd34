//! smoke
use qadataswap::*;
#[test]
fn smoke() {
    let name = format!("smoke-{}", std::process::id());
    let w = create_writer(&name, 4).unwrap();
    let r = create_reader(&name).unwrap();
    for n in 0..100u64 { w.write(&n.to_le_bytes()).unwrap(); assert_eq!(r.read(0).unwrap().unwrap(), n.to_le_bytes()); }
    for n in 0..100u64 { w.write(&n.to_le_bytes()).unwrap(); }
    let mut c=0; while let Some(_)=r.read(0).unwrap() {c+=1}
    println!("{c} {:?} {:?}", r.stats(), w.stats());
    let big = vec![7u8; 40<<20];
    w.write(b"before").unwrap();
    w.write(&big).unwrap();
    assert_eq!(r.read(0).unwrap().unwrap(), b"before");
    assert!(r.read(0).unwrap().unwrap()==big);
    println!("{:?} {:?}", r.stats(), w.stats());
    w.unlink().unwrap();
    assert!(matches!(r.read(10), Err(QADataSwapError::Closed)));
}
