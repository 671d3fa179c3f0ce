//! What a community would have traded under each mechanism, from a file of order books.

mod support;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use support::binary;

fn books() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../primitives/clearing/tests/books.json")
}

fn clear(file: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("clear").arg(file).args(arguments);
    command.output().expect("the binary starts")
}

fn lines(output: &Output) -> Vec<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let lines = output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).expect("a line is JSON"))
        .collect()
}

fn refused(text: &str, arguments: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().expect("a folder is made");
    let file = folder.path().join("books.json");
    fs::write(&file, text).expect("the books are written");
    let output = clear(&file, arguments);
    assert!(!output.status.success());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
    (text(output.stdout), text(output.stderr))
}

#[test]
fn every_book_has_a_line_with_the_figures_counted_unit_by_unit() {
    let books: Vec<Value> = serde_json::from_slice(&fs::read(books()).unwrap()).unwrap();
    for mechanism in [
        "average",
        "loyal",
        "uniform:0",
        "uniform:10000",
        "mcafee",
        "continuous",
    ] {
        let lines = lines(&clear(&self::books(), &["--mechanism", mechanism]));
        assert_eq!(lines.len(), books.len());
        for (line, book) in lines.iter().zip(&books) {
            let expected = &book["expected"];
            let same = |ours: &Value, theirs: &str| {
                assert_eq!(ours, &expected[theirs], "{mechanism}: {line}")
            };
            assert_eq!(line["id"], book["id"]);
            assert_eq!(line["mechanism"], mechanism);
            same(&line["k"], "k");
            assert_eq!(
                line["range"],
                json!([expected["price_lo"], expected["price_hi"]])
            );
            same(&line["proof"]["bid"], "b_k");
            same(&line["proof"]["nextAsk"], "s_k1");
            match mechanism {
                "mcafee" => {
                    assert_eq!(
                        line["volume"],
                        expected["mcafee"].get("units").cloned().unwrap_or(json!(0))
                    );
                }
                "continuous" => assert_eq!(line["price"], Value::Null),
                _ => {
                    same(&line["volumeWh"], "volume_wh");
                    same(&line["welfare"], "welfare");
                    same(&line["fills"], "fills_price_time");
                }
            }
            match mechanism {
                "average" => assert_eq!(
                    line["price"].as_u64(),
                    expected["mid_x2"].as_u64().map(|doubled| doubled / 2)
                ),
                "uniform:0" if expected["k"] != 0 => same(&line["price"], "price_lo"),
                "uniform:10000" if expected["k"] != 0 => same(&line["price"], "price_hi"),
                _ => {}
            }
        }
    }
}

#[test]
fn books_come_through_standard_input_too() {
    let mut child = Command::new(binary())
        .args(["clear", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut input = child.stdin.take().expect("the input is piped");
    let text = fs::read(books()).unwrap();
    input.write_all(&text).expect("the books are read");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(lines(&output), lines(&clear(&books(), &[])));
}

#[test]
fn a_bad_book_is_named_and_those_before_it_are_cleared() {
    let (printed, said) = refused(
        "[{\"id\": 7, \"orders\": [[0, 3, 1], [1, 2, 1]]},\n{\"id\": 8, \"orders\": [[0, 3, 0]]}]",
        &[],
    );
    assert_eq!(printed.lines().count(), 1);
    assert!(
        said.contains("book 8 (number 2 of the file)") && said.contains("order 0"),
        "{said}"
    );
    assert!(said.contains("for no unit"), "{said}");
    let (printed, said) = refused(
        "[{\"id\": 7, \"orders\": []},\n{\"id\": 8, \"orders\": [[0, 3]]}]",
        &[],
    );
    assert_eq!(printed.lines().count(), 1);
    assert!(
        said.contains("after 1 books") && said.contains("line 2"),
        "{said}"
    );
}

#[test]
fn what_is_no_file_of_books_or_no_mechanism_is_said_so() {
    let (_, said) = refused("", &[]);
    assert!(said.contains("no order book"), "{said}");
    let (_, said) = refused("{}", &[]);
    assert!(said.contains("missing field `id`"), "{said}");
    let (_, said) = refused("[]", &["--mechanism", "uniform:10001"]);
    assert!(said.contains("KAPPA from 0 to 10000"), "{said}");
    let output = clear(Path::new("no-such-file.json"), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("no-such-file.json"),
        "{said}"
    );
}
