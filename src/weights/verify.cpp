// t2v::verify_model: reads and hashes the files of a model.
#include "t2v/verify.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>

#include "core/atomic_file.h"
#include "core/check.h"
#include "weights/manifest.h"
#include "weights/sha256.h"
#include "weights/storage.h"

namespace t2v::weights {
namespace {

using core::str;

constexpr int kMaxDepth = 16;  // folders in folders; a link to a parent ends here
constexpr size_t kMaxFiles = 100'000;
constexpr int64_t kMaxPieceBytes = int64_t{32} << 20;

// Bytes of all regular files below the folder, by their relative path.
using FoundFiles = std::map<std::string, int64_t>;

void find_files(const Storage& storage, const std::string& folder, const std::string& prefix,
                FoundFiles& files, int depth) {
  T2V_REQUIRE(depth <= kMaxDepth && files.size() < kMaxFiles, ErrorKind::kModel,
              "cannot verify: too many folders or files; is there a link to a folder above it? (",
              folder, ")");
  for (const FolderEntry& entry : storage.list(folder)) {
    if (entry.name.starts_with('.')) continue;  // of tools, and our own temporary files
    const std::string path = prefix + entry.name;
    if (entry.kind == PathKind::kFolder)
      find_files(storage, join_path(folder, entry.name), path + "/", files, depth + 1);
    else if (entry.kind == PathKind::kFile && path != kManifestName)
      files.emplace(path, entry.size);
  }
}

// Hashes files, several at once, and tells how far it is.
class Hasher {
 public:
  Hasher(const Storage& storage, const VerifyOptions& options, const CancelToken& cancel)
      : storage_(storage), options_(options), cancel_(cancel) {}

  // SHA-256 of each, by path; "" for what went away meanwhile. Throws the first error.
  std::map<std::string, std::string> run(const FoundFiles& files) {
    for (const auto& [path, bytes] : files) {
      queue_.push_back(path);
      total_bytes_ += bytes;
    }
    // The largest last in the list is the first to be taken: no thread ends long after the others.
    std::sort(queue_.begin(), queue_.end(), [&](const std::string& a, const std::string& b) {
      return files.at(a) < files.at(b);
    });
    std::vector<std::thread> threads;
    for (int i = 1; i < options_.num_threads; ++i) threads.emplace_back([this] { work(); });
    work();
    for (std::thread& thread : threads) thread.join();
    if (failure_) std::rethrow_exception(failure_);
    return std::move(sums_);
  }
  [[nodiscard]] int64_t bytes_read() const noexcept { return done_bytes_; }

 private:
  void work() {
    std::vector<std::byte> piece;
    try {
      for (std::string path = next(); !path.empty(); path = next()) {
        std::string sum = hash(path, piece);
        const std::lock_guard lock(mutex_);
        sums_[path] = std::move(sum);
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      queue_.clear();
    }
  }

  std::string next() {
    const std::lock_guard lock(mutex_);
    if (queue_.empty()) return "";
    std::string path = std::move(queue_.back());
    queue_.pop_back();
    return path;
  }

  std::string hash(const std::string& path, std::vector<std::byte>& piece) {
    const auto file = storage_.open(join_path(options_.path, path));
    const int64_t wanted = std::min(kMaxPieceBytes, file->preferred_request_bytes());
    piece.resize(static_cast<size_t>(std::max(wanted, static_cast<int64_t>(piece.size()))));
    Sha256 sum;
    for (int64_t offset = 0; offset < file->size(); offset += wanted) {
      T2V_REQUIRE(!cancel_.cancelled(), ErrorKind::kCancelled, "interrupted");
      const int64_t bytes = std::min(wanted, file->size() - offset);
      const auto part = std::span(piece).first(static_cast<size_t>(bytes));
      file->read(offset, part);
      sum.add(part);
      const std::lock_guard lock(mutex_);
      done_bytes_ += bytes;
      if (options_.on_progress) options_.on_progress(done_bytes_, total_bytes_);
    }
    return sum.finish();
  }

  const Storage& storage_;
  const VerifyOptions& options_;
  const CancelToken& cancel_;
  std::mutex mutex_;
  std::vector<std::string> queue_;
  std::map<std::string, std::string> sums_;
  std::exception_ptr failure_;
  int64_t done_bytes_ = 0;
  int64_t total_bytes_ = 0;
};

void write_manifest(const std::string& path, const FoundFiles& files,
                    const std::map<std::string, std::string>& sums) {
  Manifest manifest;
  for (const auto& [name, bytes] : files)
    manifest.files.push_back({.path = name, .bytes = bytes, .sha256 = sums.at(name)});
  const std::string text = manifest_text(manifest);
  core::AtomicFile out(path);
  out.write(text.data(), text.size());
  out.commit();
}

VerifyReport compare(const Manifest& manifest, const FoundFiles& found, Hasher& hasher) {
  VerifyReport report;
  FoundFiles same_size;
  std::map<std::string, const ManifestFile*> expected;
  for (const ManifestFile& file : manifest.files) {
    expected[file.path] = &file;
    const auto there = found.find(file.path);
    if (there == found.end())
      report.files.push_back({file.path, FileState::kMissing, file.bytes});
    else if (there->second != file.bytes)
      report.files.push_back({file.path, FileState::kChanged, there->second});
    else
      same_size.insert(*there);
  }
  for (const auto& [path, bytes] : found) {
    if (!expected.contains(path)) report.files.push_back({path, FileState::kExtra, bytes});
  }
  for (const auto& [path, sum] : hasher.run(same_size)) {
    const bool same = sum == expected.at(path)->sha256;
    report.files.push_back({path, same ? FileState::kOk : FileState::kChanged, same_size.at(path)});
  }
  std::sort(report.files.begin(), report.files.end(),
            [](const VerifiedFile& a, const VerifiedFile& b) { return a.path < b.path; });
  return report;
}

// Listings of manifests (web servers) name files that may not be there.
FoundFiles files_of(const Storage& storage, const VerifyOptions& options) {
  FoundFiles files;
  find_files(storage, options.path, "", files, 0);
  if (!is_remote(options.path)) return files;
  std::erase_if(files, [&](const auto& file) {
    return storage.look(join_path(options.path, file.first)) != PathKind::kFile;
  });
  for (auto& [path, bytes] : files) bytes = storage.open(join_path(options.path, path))->size();
  return files;
}

}  // namespace
}  // namespace t2v::weights

namespace t2v {

VerifyReport verify_model(const VerifyOptions& options, const CancelToken& cancel) {
  using namespace weights;
  const auto storage = open_storage({.io = options.io, .timeout_seconds = options.timeout_seconds});
  const PathKind kind = storage->look(options.path);
  T2V_REQUIRE(kind != PathKind::kAbsent, ErrorKind::kModel, "cannot verify: no such folder (",
              options.path, ")");
  T2V_REQUIRE(kind == PathKind::kFolder, ErrorKind::kModel, "cannot verify: it is not a folder (",
              options.path, "); try the folder that the file lies in");
  const std::string manifest_path = join_path(options.path, kManifestName);
  Hasher hasher(*storage, options, cancel);
  VerifyReport report;
  if (options.write_manifest) {
    T2V_REQUIRE(!is_remote(options.path), ErrorKind::kUsage,
                "--write-manifest: a remote folder cannot be written to (", options.path,
                "); try it on a local copy");
    core::require_writable(manifest_path, "--write-manifest");
    const FoundFiles files = files_of(*storage, options);
    write_manifest(manifest_path, files, hasher.run(files));
    for (const auto& [path, bytes] : files) report.files.push_back({path, FileState::kOk, bytes});
  } else {
    T2V_REQUIRE(storage->look(manifest_path) == PathKind::kFile, ErrorKind::kUsage,
                "cannot verify: the model has no manifest (", manifest_path,
                "); try t2v verify PATH --write-manifest on a copy that is known to be good");
    const Manifest manifest =
        parse_manifest(read_whole_file(*storage, manifest_path, kMaxManifestBytes), manifest_path);
    report = compare(manifest, files_of(*storage, options), hasher);
  }
  report.manifest_path = manifest_path;
  report.bytes_read = hasher.bytes_read();
  return report;
}

}  // namespace t2v
