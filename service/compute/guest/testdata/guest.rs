// A guest in Rust: it counts words of stdin and of a file, and leaves a report.
use std::collections::HashMap;
use std::io::Read;

fn main() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    if let Ok(more) = std::fs::read_to_string("/in/text") {
        text.push_str(&more);
    }
    let mut count: HashMap<&str, usize> = HashMap::new();
    for word in text.split_whitespace() {
        *count.entry(word).or_default() += 1;
    }
    let mut words: Vec<_> = count.into_iter().collect();
    words.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    for (word, n) in words.iter().take(5) {
        println!("{:5} {:.3} {}", n, *n as f64 / words.len() as f64, word);
    }
    if std::env::args().nth(1).as_deref() == Some("write") {
        std::fs::write("/report", format!("{} words\n", words.len())).unwrap();
    }
    eprintln!("{:?}", std::env::args().skip(1).collect::<Vec<_>>());
    std::process::exit(if words.is_empty() { 1 } else { 9 });
}
