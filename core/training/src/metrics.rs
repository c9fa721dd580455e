//! `metrics.jsonl`: one line per logged step, only ever appended to.
//!
//! A killed trainer can leave a torn last line; readers ignore it and the next trainer cuts it off, together with the
//! lines after the checkpoint it resumes from, so that no step is logged twice.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The numbers of one logged training step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricRow {
    /// Training step, counted from 1.
    pub step: u64,
    /// The total loss of this step's batch.
    pub loss: f64,
    /// Its share from the actions: mean Kullback–Leibler divergence between the labels of an action value and what is
    /// predicted, in nats; for hard labels this is the cross entropy.
    pub action_loss: f64,
    /// Its share from the masked reconstruction, unweighted; absent without that objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mae_loss: Option<f64>,
    /// Median over held-out early frames of max(|dx|, |dy|) between predicted and true waypoint, in the data set's
    /// units; only on steps where it was measured. It falls when the policy has found the instructed object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_error: Option<f64>,
    /// Euclidean norm of all gradients before clipping.
    pub grad_norm: f64,
    /// Learning rate of this step.
    pub lr: f64,
    /// Speed since the line before.
    pub steps_per_s: f64,
    /// Share of the time since the line before that was spent waiting for data; near 0 when batches are ready in time.
    pub data_wait: f64,
    /// When the step ended, in milliseconds since 1970.
    pub time: u64,
}

/// Reads `metrics.jsonl` piece by piece, so that a window can follow a long run without rereading it.
#[derive(Debug)]
pub struct MetricsReader {
    path: PathBuf,
    offset: u64,
    rows: Vec<MetricRow>,
}

impl MetricsReader {
    /// Starts at the beginning of the file, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            offset: 0,
            rows: Vec::new(),
        }
    }

    /// Reads what was added. Lines that are no rows, such as a torn last one, are left out.
    pub fn poll(&mut self) -> Result<&[MetricRow]> {
        let read = Error::io("read the metrics", &self.path);
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.rows.clear();
                self.offset = 0;
                return Ok(&self.rows);
            }
            Err(error) => return Err(read(error)),
        };
        let mut added = Vec::new();
        let mut tail = || -> io::Result<bool> {
            // A resumed trainer cuts lines off and writes others; then everything is read again.
            let mut before = [b'\n'];
            if self.offset > 0 && self.offset <= file.metadata()?.len() {
                file.seek(SeekFrom::Start(self.offset - 1))?;
                file.read_exact(&mut before)?;
            }
            let restarted = self.offset > file.metadata()?.len() || before != [b'\n'];
            file.seek(SeekFrom::Start(if restarted { 0 } else { self.offset }))?;
            file.read_to_end(&mut added)?;
            Ok(restarted)
        };
        if tail().map_err(read)? {
            self.rows.clear();
            self.offset = 0;
        }
        let complete = added
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        self.offset += complete as u64;
        for row in rows(&added[..complete]) {
            // The file may also have been cut and have grown again between two polls.
            while self.rows.last().is_some_and(|last| last.step >= row.step) {
                self.rows.pop();
            }
            self.rows.push(row);
        }
        Ok(&self.rows)
    }

    /// The rows read so far.
    pub fn rows(&self) -> &[MetricRow] {
        &self.rows
    }
}

fn rows(bytes: &[u8]) -> impl Iterator<Item = MetricRow> {
    bytes
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
}

/// The appending end, held by the trainer.
#[derive(Debug)]
pub(crate) struct MetricsWriter {
    path: PathBuf,
    file: File,
}

impl MetricsWriter {
    /// Opens the file for a trainer that continues after `step`: a torn line and all lines of later steps go.
    pub(crate) fn resume(path: &Path, step: u64) -> Result<Self> {
        let open = || -> io::Result<File> {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .open(path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let keep = kept_bytes(&bytes, step);
            if keep < bytes.len() {
                file.set_len(keep as u64)?;
                file.sync_all()?;
            }
            Ok(file)
        };
        Ok(Self {
            file: open().map_err(Error::io("open the metrics", path))?,
            path: path.to_owned(),
        })
    }

    /// Appends one row in one write.
    pub(crate) fn append(&mut self, row: &MetricRow) -> Result<()> {
        let mut line = serde_json::to_vec(row).map_err(|error| Error::Encode {
            what: "a line of metrics",
            why: error.to_string(),
            path: self.path.clone(),
        })?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(Error::io("append to the metrics", &self.path))
    }

    /// Makes the lines so far durable; called before a checkpoint that covers them.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.file
            .sync_all()
            .map_err(Error::io("flush the metrics", &self.path))
    }
}

/// Length of the part that a resumed run keeps: whole rows, up to and including `step`.
fn kept_bytes(bytes: &[u8], step: u64) -> usize {
    let mut keep = 0;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        match serde_json::from_slice::<MetricRow>(line) {
            Ok(row) if row.step <= step && line.ends_with(b"\n") => keep += line.len(),
            _ => break,
        }
    }
    keep
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64) -> MetricRow {
        MetricRow {
            step,
            loss: 1.0 / step as f64,
            early_error: (step == 20).then_some(0.5),
            ..MetricRow::default()
        }
    }

    fn file_with(steps: &[u64]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut writer = MetricsWriter::resume(&path, 0).unwrap();
        for &step in steps {
            writer.append(&row(step)).unwrap();
        }
        (dir, path)
    }

    #[test]
    fn rows_survive_the_round_trip() {
        let (_dir, path) = file_with(&[10, 20]);
        let mut reader = MetricsReader::new(&path);
        assert_eq!(reader.poll().unwrap(), [row(10), row(20)]);
    }

    #[test]
    fn a_torn_line_is_ignored_then_cut_off() {
        let (_dir, path) = file_with(&[10, 20]);
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..serde_json::to_vec(&row(20)).unwrap().len() {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            assert_eq!(MetricsReader::new(&path).poll().unwrap(), [row(10)]);
            let mut writer = MetricsWriter::resume(&path, 20).unwrap();
            writer.append(&row(20)).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn lines_after_the_checkpoint_go() {
        let (_dir, path) = file_with(&[10, 20, 30, 40]);
        let mut reader = MetricsReader::new(&path);
        assert_eq!(reader.poll().unwrap().len(), 4);
        let mut writer = MetricsWriter::resume(&path, 25).unwrap();
        assert_eq!(reader.poll().unwrap(), [row(10), row(20)]);
        writer.append(&row(30)).unwrap();
        assert_eq!(reader.poll().unwrap(), [row(10), row(20), row(30)]);
    }

    #[test]
    fn a_missing_file_has_no_rows() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = MetricsReader::new(dir.path().join("metrics.jsonl"));
        assert!(reader.poll().unwrap().is_empty());
    }
}
