//! The catalogue of faults works: its cheap rows, in their short version.

use std::process::Command;

use weir_tests::binary;

#[test]
fn rows_of_the_catalogue_hold() {
    let output = Command::new(binary("faults"))
        .args(["--quick", "cut-bytes", "replay", "agent-kill"])
        .output()
        .expect("faults is built");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert_eq!(said.matches("0 lost, 0 doubled").count(), 3, "{said}");
}

#[test]
fn a_row_that_is_not_there_is_named() {
    let output = Command::new(binary("faults"))
        .arg("no-such-row")
        .output()
        .expect("faults is built");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && errors.contains("`no-such-row`"),
        "{errors}"
    );
    assert!(errors.contains("partition"), "the rows there are: {errors}");
}
