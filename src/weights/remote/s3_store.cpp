// libt2v_s3.so: objects behind s3:// through Arrow's S3 file system. Arrow's headers are seen by
// this file only, its library by this module only.
#include <arrow/buffer.h>
#include <arrow/filesystem/s3fs.h>
#include <arrow/io/interfaces.h>
#include <arrow/util/key_value_metadata.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "core/module.h"
#include "weights/remote/deadline.h"
#include "weights/remote/s3_errors.h"
#include "weights/remote_store.h"

namespace t2v::weights::remote {
namespace {

using Outcome = RemoteAnswer::Outcome;
using FileSystem = std::shared_ptr<arrow::fs::S3FileSystem>;
using Bytes = std::vector<std::byte>;

constexpr size_t kProbeBytes = 64;

// Calls under way use the library, so it is not shut down under them.
RunningCalls& running_calls() {
  static RunningCalls* const calls = new RunningCalls;  // outlives every thread
  return *calls;
}

// "s3://bucket/key" as Arrow has it: "bucket/key", without separators at the end.
std::string arrow_path(const std::string& path) {
  std::string rest = path.substr(std::string_view("s3://").size());
  while (rest.ends_with('/')) rest.pop_back();
  return rest;
}

std::string etag_of(const std::shared_ptr<const arrow::KeyValueMetadata>& metadata) {
  if (!metadata) return "";
  return metadata->Get("ETag").ValueOr("");
}

bool is_constant(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [&](std::byte b) { return b == bytes[0]; });
}

// Where bytes of the block differ from those of a shifted block: not in a run of equal ones.
size_t telling_position(const Bytes& block) {
  const size_t last = block.size() - kProbeBytes;
  for (size_t i = 1; i < 17; ++i) {
    const size_t at = i * last / 17;
    if (!is_constant(std::span(block).subspan(at, kProbeBytes))) return at;
  }
  return last / 2;
}

// Arrow counts what was asked for, not what came: bytes of a short answer keep what `out` had
// before.
RemoteAnswer read_part(arrow::io::RandomAccessFile& file, int64_t offset,
                       std::span<std::byte> out) {
  const auto size = static_cast<int64_t>(out.size());
  const auto count = file.ReadAt(offset, size, out.data());
  if (!count.ok()) return answer_of(count.status());
  if (*count != size) return {Outcome::kRetry, "the answer has fewer bytes than were asked for"};
  return {};
}

// Arrow shows neither the range nor the length of an answer, so some bytes are read twice: the last
// ones, which a short answer leaves as they are (here: wrong in every bit), and, when those tell
// nothing about their place, some in between. A server that gave another part would have to make
// the same mistake twice.
RemoteAnswer read_checked(arrow::io::RandomAccessFile& file, int64_t offset, Bytes& out) {
  const size_t probe_bytes = std::min(kProbeBytes, out.size());
  const size_t tail = out.size() - probe_bytes;
  Bytes probe(probe_bytes);
  const auto probe_at = [&](size_t at) {
    return read_part(file, offset + static_cast<int64_t>(at), probe);
  };
  const auto is_same = [&](size_t at) {
    return std::memcmp(probe.data(), out.data() + at, probe_bytes) == 0;
  };
  const RemoteAnswer differ{Outcome::kRetry, "two reads of the same bytes differ"};
  RemoteAnswer answer = probe_at(tail);
  if (answer.outcome != Outcome::kDone) return answer;
  for (size_t i = 0; i < probe_bytes; ++i) out[tail + i] = ~probe[i];
  answer = read_part(file, offset, out);
  if (answer.outcome != Outcome::kDone) return answer;
  if (!is_same(tail)) return differ;
  if (!is_constant(probe) || tail == 0) return {};
  const size_t at = telling_position(out);
  answer = probe_at(at);
  if (answer.outcome != Outcome::kDone) return answer;
  return is_same(at) ? RemoteAnswer{} : differ;
}

RemoteAnswer look_now(const FileSystem& files, const std::string& path, RemoteFacts& facts) {
  const auto found = files->GetFileInfo(path);
  if (!found.ok()) {
    const RemoteAnswer answer = answer_of(found.status());
    return answer.outcome == Outcome::kAbsent ? RemoteAnswer{} : answer;
  }
  if (found->type() == arrow::fs::FileType::NotFound) return {};
  if (found->type() != arrow::fs::FileType::File) {
    facts.kind = PathKind::kFolder;
    return {};
  }
  const auto file = files->OpenInputFile(path);
  if (!file.ok()) return answer_of(file.status());
  const auto metadata = (*file)->ReadMetadata();
  const auto size = (*file)->GetSize();
  if (!metadata.ok()) return answer_of(metadata.status());
  if (!size.ok()) return answer_of(size.status());
  facts = {PathKind::kFile, *size, etag_of(*metadata)};
  return {};
}

RemoteAnswer list_now(const FileSystem& files, const std::string& path,
                      std::vector<FolderEntry>& entries) {
  arrow::fs::FileSelector selector;
  selector.base_dir = path;
  const auto found = files->GetFileInfo(selector);
  if (!found.ok()) return answer_of(found.status());
  for (const arrow::fs::FileInfo& info : *found) {
    const bool is_file = info.type() == arrow::fs::FileType::File;
    entries.push_back({.name = info.base_name(),
                       .kind = is_file ? PathKind::kFile : PathKind::kFolder,
                       .size = is_file ? info.size() : 0});
  }
  return {};
}

// Arrow does not show the ETag of an answer: the object is looked at again after the read.
RemoteAnswer read_now(const FileSystem& files, const RemoteRange& range, Bytes& out) {
  arrow::fs::FileInfo info(arrow_path(range.path), arrow::fs::FileType::File);
  info.set_size(range.file_size);
  const auto file = files->OpenInputFile(info);
  if (!file.ok()) return answer_of(file.status());
  RemoteAnswer answer = read_checked(**file, range.offset, out);
  if (answer.outcome != Outcome::kDone) return answer;
  const auto again = files->OpenInputFile(info.path());
  if (!again.ok()) return answer_of(again.status());
  const auto metadata = (*again)->ReadMetadata();
  if (!metadata.ok()) return answer_of(metadata.status());
  const std::string etag = etag_of(*metadata);
  if (!range.version.empty() && etag != range.version)
    return {Outcome::kChanged, "its ETag was " + range.version + " and is " + etag};
  return {};
}

class S3Store final : public RemoteStore {
 public:
  explicit S3Store(const RemoteOptions& options) : timeout_seconds_(options.timeout_seconds) {}

  RemoteAnswer look(const std::string& path, RemoteFacts& facts) override {
    struct Looked {
      RemoteAnswer answer;
      RemoteFacts facts;
    };
    auto looked = within<Looked>(path, [path](const FileSystem& files) {
      Looked result;
      result.answer = look_now(files, arrow_path(path), result.facts);
      return result;
    });
    facts = looked.facts;
    return looked.answer;
  }

  RemoteAnswer list(const std::string& folder, std::vector<FolderEntry>& entries) override {
    struct Listed {
      RemoteAnswer answer;
      std::vector<FolderEntry> entries;
    };
    auto listed = within<Listed>(folder, [folder](const FileSystem& files) {
      Listed result;
      result.answer = list_now(files, arrow_path(folder), result.entries);
      return result;
    });
    entries = std::move(listed.entries);
    return listed.answer;
  }

  RemoteAnswer read(const RemoteRange& range, std::span<std::byte> out) override {
    struct Read {
      RemoteAnswer answer;
      Bytes bytes;
    };
    const size_t size = out.size();
    auto read = within<Read>(range.path, [range, size](const FileSystem& files) {
      Read result;
      result.bytes.resize(size);
      result.answer = read_now(files, range, result.bytes);
      return result;
    });
    if (read.answer.outcome == Outcome::kDone) std::memcpy(out.data(), read.bytes.data(), size);
    return read.answer;
  }

 private:
  // Runs the call on a thread of its own, which gives the bucket's file system to it.
  template <typename Result, typename Call>
  Result within(const std::string& path, Call call) {
    const std::string whole = arrow_path(path);
    const std::string bucket = whole.substr(0, whole.find('/'));
    auto result = call_within<Result>(running_calls(), timeout_seconds_,
                                      [this, bucket, call = std::move(call)] {
                                        Result failed;
                                        const auto files = file_system(bucket);
                                        if (files.ok()) return call(*files);
                                        failed.answer = answer_of(files.status());
                                        return failed;
                                      });
    if (result) return std::move(*result);
    Result late;
    late.answer = {Outcome::kRetry, "no answer in time"};
    return late;
  }

  // One for each bucket, since regions differ.
  arrow::Result<FileSystem> file_system(const std::string& bucket) {
    const std::lock_guard lock(mutex_);
    FileSystem& files = file_systems_[bucket];
    if (files) return files;
    ARROW_ASSIGN_OR_RAISE(auto options, arrow::fs::S3Options::FromUri("s3://" + bucket));
    if (options.GetAccessKey().empty()) options.ConfigureAnonymousCredentials();
    options.retry_strategy = std::make_shared<NoRetries>();
    options.connect_timeout = timeout_seconds_;
    ARROW_ASSIGN_OR_RAISE(files, arrow::fs::S3FileSystem::Make(options));
    return files;
  }

  double timeout_seconds_;
  std::mutex mutex_;
  std::map<std::string, FileSystem> file_systems_;
};

// Whether it could be done at once: calls that were given up may still be under way.
bool finalise_s3() noexcept {
  return running_calls().wait(std::chrono::seconds(4)) && arrow::fs::EnsureS3Finalized().ok();
}

}  // namespace
}  // namespace t2v::weights::remote

extern "C" __attribute__((visibility("default"))) t2v::weights::RemoteStore* t2v_open_remote_store(
    const t2v::weights::RemoteOptions& options) {
  using namespace t2v::weights::remote;
  auto global = arrow::fs::S3GlobalOptions::Defaults();
  global.log_level = arrow::fs::S3LogLevel::Off;
  if (!arrow::fs::IsS3Initialized()) {
    if (!arrow::fs::InitializeS3(global).ok()) return nullptr;
    t2v::core::on_shutdown(&finalise_s3);
  }
  return new S3Store(options);
}
