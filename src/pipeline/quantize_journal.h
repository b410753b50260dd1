// What a run of `t2v quantize` has finished, on disk: so that the next one need not do it again.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace t2v::pipeline {

// One tensor that lies, whole and synced, in a (partial) file; or a copied file, with tensor "".
struct TensorRecord {
  std::string file;         // relative to the folder
  std::string tensor;       // canonical name
  std::string source_hash;  // ByteHash of its bytes in the source, scales behind them
  // Sums over the elements of a quantised weight (weights/quantise_rows.h).
  double signal = 0, noise = 0, overlap = 0, max_error = 0;
};

// What is quantised, and how. Two runs with the same job write the same bytes.
struct QuantizeJob {
  std::string options;
  std::string source;  // names, sizes, times and headers of all files
};

inline constexpr const char* kJournalName = ".t2v-quantize.journal";

// A file of JSON lines in the target folder, locked while the object lives. A line that a crash has
// cut counts as absent.
class QuantizeJournal {
 public:
  // Makes the journal, or reads the one of the same job. Throws Error{kUsage} when the folder's
  // journal is of another job or another process works there, Error{kOutput}.
  QuantizeJournal(const std::string& folder, const QuantizeJob& job);
  QuantizeJournal(const QuantizeJournal&) = delete;
  QuantizeJournal& operator=(const QuantizeJournal&) = delete;
  ~QuantizeJournal();

  // Null when it is not done.
  [[nodiscard]] const TensorRecord* find(const std::string& file, const std::string& tensor) const;
  // Returns when the records are on disk. One thread.
  void append(std::span<const TensorRecord> records);
  // What was done of this file counts no longer.
  void forget(const std::string& file);
  // The work is finished.
  void remove();

 private:
  using Key = std::pair<std::string, std::string>;  // file, tensor
  // Opens the file under its name. False: another process has it.
  [[nodiscard]] bool lock();
  void read(const QuantizeJob& job);
  // Takes the lines behind the first; returns how many bytes of the text are whole lines.
  size_t read_records(const std::string& text, size_t begin);
  void write_line(const std::string& line);
  void sync() const;

  std::string folder_;
  std::string path_;
  std::map<Key, TensorRecord> records_;
  int fd_ = -1;
};

}  // namespace t2v::pipeline
