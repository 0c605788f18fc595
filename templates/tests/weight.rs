//! What a compiled template says that it weighs, against what the process grows by. A program of
//! its own: nothing else may allocate meanwhile.

use templates::{Compiled, Source};

/// The memory of this process that is in use, in octets; `None` where there is no `/proc`.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1_024)
}

#[test]
fn a_compiled_template_weighs_what_it_says() {
    let Some(_) = resident() else {
        println!("skipped: no /proc here");
        return;
    };
    let paragraph = "<p>Hello {{ name }}, {% if paid %}thank you{% else %}soon{% endif %}</p>\n";
    for (count, repeats) in [(2_000, 1), (200, 250)] {
        let source = Source {
            subject: Some("Hello {{ name }}".to_owned()),
            html: Some(paragraph.repeat(repeats)),
            text: Some("Good day.".to_owned()),
        };
        let before = resident().unwrap();
        let kept: Vec<Compiled> =
            (0..count).map(|_| Compiled::new(source.clone()).unwrap()).collect();
        let grown = resident().unwrap() - before;
        let said: usize = kept.iter().map(Compiled::weight).sum();
        println!("{count} templates of {repeats} paragraphs: {said} octets said, {grown} taken");
        assert!(grown < said + said / 2, "{grown} is much more than {said}");
        assert!(grown > said / 4, "{grown} is much less than {said}");
    }
}
