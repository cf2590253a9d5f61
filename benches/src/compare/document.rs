//! [`Document`]: what a run says, at once and in a file.

use std::error::Error;
use std::fmt::{Display, Write};
use std::fs;
use std::path::Path;

use crate::report::Chart;

/// What everybody has to know who reads figures.
const PREFACE: &str = "\
Each server is a process of its own on one CPU, and one and the same client, on another CPU, makes the same calls: an \
echo of so many bytes over TCP on this machine. `8x64` are 8 connections with 64 calls in flight on each. The loop is \
closed – an answer brings the next call – but for the table of fixed rates, so its latencies compare servers and are no \
promise.

All that is written in Rust is built with fat LTO and one codegen unit, C++ with -O3, Go as Go does.

CPU is the time that all threads of the server ran. Rounds of all servers are interleaved, each in a fresh process. \
Ratios are taken within a round; shown is their median and, in brackets, the smallest and the largest. Figures of \
different runs or machines are not to be compared.

`floor` returns frames without looking at them: less than it needs is not to be had with this kernel. Of Tern, `inline` \
runs handlers in place on the loop, `pool` on threads of their own, and `auto` where they turn out to belong; \
`framework` puts around them what services have: four filters, a limiter at the door, a deadline in each call, metrics \
for each method. All others are what their names say, with nothing around the handler.";

/// What is said goes to the terminal at once, and to a file at the end.
#[derive(Debug, Default)]
pub(super) struct Document {
    text: String,
    pub(super) chart: Option<Chart>,
}

impl Document {
    /// Says something.
    pub(super) fn say(&mut self, text: &dyn Display) {
        println!("{text}\n");
        // Writing to a string does not fail.
        let _ = write!(self.text, "{text}\n\n");
    }

    /// Says something under a title.
    pub(super) fn section(&mut self, title: &dyn Display, text: &dyn Display) {
        let text = text.to_string();
        self.say(&format!("## {title}\n\n{}", text.trim_end()));
    }

    /// Writes what was said, and the chart beside it.
    pub(super) fn write(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let mut text = format!("# Tern compared\n\n{PREFACE}\n\n{}", self.text);
        if let Some(chart) = &self.chart {
            let drawing = path.with_extension("svg");
            fs::write(&drawing, chart.to_svg())?;
            let name = drawing.file_name().unwrap_or_default();
            writeln!(text, "![p99 against load]({})", name.display())?;
        }
        Ok(fs::write(path, text.trim_end().to_owned() + "\n")?)
    }
}
