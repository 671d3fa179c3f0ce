//! Ctrl-C, start again: the chain goes on, and missed steps are closed late.

mod support;

use support::DevNode;

#[test]
fn the_chain_goes_on_after_ctrl_c() {
    let base = tempfile::tempdir().unwrap();
    let node = DevNode::start(base.path(), &["--step-ms", "1000"]);
    assert!(
        node.greeting[0].contains("a new chain begins"),
        "{:?}",
        node.greeting
    );
    let mut seen = vec![node.expect_block()];
    while seen.len() < 2 {
        seen.push(node.expect_block());
    }
    let (status, last) = node.interrupt();
    assert!(status.success(), "{last:?}");
    assert!(
        last.iter()
            .any(|line| line.contains("start again to go on")),
        "{last:?}"
    );

    let node = DevNode::start(base.path(), &[]);
    assert!(
        node.greeting[0].contains("the chain goes on after step"),
        "{:?}",
        node.greeting
    );
    let next = node.expect_block();
    assert!(next.step > seen[1].step);
    for block in seen {
        assert_eq!(node.block_hash(block.step), Some(block.hash));
    }
    // One block for each step, none missing, whether made in time or late.
    for step in 1..next.step {
        assert!(node.block_hash(step).is_some(), "step {step} has no block");
    }
}
