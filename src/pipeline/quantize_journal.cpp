#include "pipeline/quantize_journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "core/check.h"
#include "weights/byte_hash.h"

namespace t2v::pipeline {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;
constexpr off_t kMaxBytes = off_t{64} << 20;

[[noreturn]] void fail(const std::string& path, const char* what, int error) {
  throw Error(ErrorKind::kOutput,
              core::str("cannot ", what, " the journal: ", std::strerror(error), " ('", path,
                        "'); try a folder you can write to, with some space"));
}

Json job_json(const QuantizeJob& job) {
  return {{"t2v_quantize", kVersion}, {"options", job.options}, {"source", job.source}};
}

Json record_json(const TensorRecord& r) {
  return {{"file", r.file},          {"tensor", r.tensor}, {"hash", r.source_hash},
          {"signal", r.signal},      {"noise", r.noise},   {"overlap", r.overlap},
          {"max_error", r.max_error}};
}

std::optional<TensorRecord> parse_record(const std::string& line) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  const auto text = [&](const char* key) {
    return json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
  };
  const auto number = [&](const char* key) {
    return json.contains(key) && json[key].is_number() ? json[key].get<double>() : 0.0;
  };
  TensorRecord record{.file = text("file"),
                      .tensor = text("tensor"),
                      .source_hash = text("hash"),
                      .signal = number("signal"),
                      .noise = number("noise"),
                      .overlap = number("overlap"),
                      .max_error = number("max_error")};

  if (record.file.empty() || record.source_hash.size() != weights::ByteHash::kDigits)
    return std::nullopt;
  return record;
}

void require_same_job(const Json& found, const QuantizeJob& job, const std::string& folder) {
  const bool known = found.is_object() && found.contains("t2v_quantize") &&
                     found["t2v_quantize"] == Json(kVersion) && found.contains("options") &&
                     found.contains("source");
  const std::string advice =
      core::str("; delete the folder to begin anew, or try another -o (", folder, ")");
  T2V_REQUIRE(known, ErrorKind::kUsage,
              "-o: the folder holds the beginning of a model that another version of t2v was "
              "writing",
              advice);
  T2V_REQUIRE(found["options"] == Json(job.options), ErrorKind::kUsage,
              "-o: the folder holds the beginning of a model that was quantised with other "
              "options: ",
              found["options"].dump(), ", now ", Json(job.options).dump(), advice);
  T2V_REQUIRE(found["source"] == Json(job.source), ErrorKind::kUsage,
              "-o: the folder holds the beginning of a copy of another model, or the files of "
              "MODEL have changed since",
              advice);
}

}  // namespace

QuantizeJournal::QuantizeJournal(const std::string& folder, const QuantizeJob& job)
    : folder_(folder), path_(folder + "/" + kJournalName) {
  T2V_REQUIRE(lock(), ErrorKind::kUsage, "-o: another t2v quantize is writing into this folder (",
              folder, "); wait for it or try another -o");
  try {
    read(job);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

bool QuantizeJournal::lock() {
  for (;;) {
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd_ < 0) fail(path_, "create", errno);
    const bool locked = ::flock(fd_, LOCK_EX | LOCK_NB) == 0;
    // Another process may have finished and removed the file between the two calls.
    struct stat mine {};
    struct stat there {};
    if (locked && ::fstat(fd_, &mine) == 0 && ::lstat(path_.c_str(), &there) == 0 &&
        mine.st_ino == there.st_ino && mine.st_dev == there.st_dev)
      return true;
    ::close(std::exchange(fd_, -1));
    if (!locked) return false;
  }
}

QuantizeJournal::~QuantizeJournal() {
  if (fd_ >= 0) ::close(fd_);
}

void QuantizeJournal::read(const QuantizeJob& job) {
  struct stat status {};
  if (::fstat(fd_, &status) != 0) fail(path_, "read", errno);
  T2V_REQUIRE(S_ISREG(status.st_mode) && status.st_size <= kMaxBytes, ErrorKind::kOutput,
              "broken journal (", path_, "); delete the folder to begin anew");
  std::string text(static_cast<size_t>(status.st_size), '\0');
  size_t have = 0;
  while (have < text.size()) {
    const ssize_t count =
        ::pread(fd_, text.data() + have, text.size() - have, static_cast<off_t>(have));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(path_, "read", count < 0 ? errno : EIO);
    have += static_cast<size_t>(count);
  }
  const size_t first = text.find('\n');
  size_t whole = 0;
  if (first != std::string::npos) {
    require_same_job(Json::parse(text.substr(0, first), nullptr, /*allow_exceptions=*/false), job,
                     folder_);
    whole = read_records(text, first + 1);
  }
  if (whole < text.size() && ::ftruncate(fd_, static_cast<off_t>(whole)) != 0)
    fail(path_, "repair", errno);
  if (::lseek(fd_, 0, SEEK_END) < 0) fail(path_, "read", errno);
  if (whole > 0) return;
  write_line(job_json(job).dump());
  sync();
}

size_t QuantizeJournal::read_records(const std::string& text, size_t begin) {
  for (size_t end = text.find('\n', begin); end != std::string::npos;
       begin = end + 1, end = text.find('\n', begin)) {
    const std::string line = text.substr(begin, end - begin);
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.contains("forget") && json["forget"].is_string()) {
      const std::string file = json["forget"].get<std::string>();
      std::erase_if(records_, [&](const auto& entry) { return entry.first.first == file; });
      continue;
    }
    const auto record = parse_record(line);
    if (!record) return begin;  // what a crash has left: nothing behind it counts
    records_[{record->file, record->tensor}] = *record;
  }
  return begin;
}

const TensorRecord* QuantizeJournal::find(const std::string& file,
                                          const std::string& tensor) const {
  const auto found = records_.find({file, tensor});
  return found == records_.end() ? nullptr : &found->second;
}

void QuantizeJournal::append(std::span<const TensorRecord> records) {
  if (records.empty()) return;
  std::string lines;
  for (const TensorRecord& record : records) {
    if (!lines.empty()) lines += '\n';
    lines += record_json(record).dump();
    records_[{record.file, record.tensor}] = record;
  }
  write_line(lines);
  sync();
}

void QuantizeJournal::forget(const std::string& file) {
  const auto count =
      std::erase_if(records_, [&](const auto& entry) { return entry.first.first == file; });
  if (count == 0) return;
  write_line(Json({{"forget", file}}).dump());
  sync();
}

void QuantizeJournal::remove() {
  if (::unlink(path_.c_str()) != 0) fail(path_, "remove", errno);
}

void QuantizeJournal::write_line(const std::string& line) {
  const std::string text = line + "\n";
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::write(fd_, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(path_, "write", count < 0 ? errno : EIO);
    done += static_cast<size_t>(count);
  }
}

void QuantizeJournal::sync() const {
  while (::fdatasync(fd_) != 0) {
    if (errno != EINTR) fail(path_, "save", errno);
  }
}

}  // namespace t2v::pipeline
