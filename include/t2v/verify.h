// Whether a model's files are those of its manifest (t2v-manifest.json: sizes and SHA-256).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "t2v/progress.h"

namespace t2v {

// kExtra: there, but not in the manifest.
enum class FileState { kOk, kChanged, kMissing, kExtra };

struct VerifiedFile {
  std::string path;  // relative to the model
  FileState state = FileState::kOk;
  int64_t bytes = 0;  // as found; of missing ones as expected
};

struct VerifyOptions {
  std::string path;             // a model folder, local or remote
  bool write_manifest = false;  // makes the manifest instead of looking at it
  int num_threads = 2;          // files that are read at once
  std::string io;               // as in EngineOptions
  double timeout_seconds = 30;  // of one remote request
  // Called now and then, from one thread at a time.
  std::function<void(int64_t done_bytes, int64_t total_bytes)> on_progress;
};

struct VerifyReport {
  std::string manifest_path;
  std::vector<VerifiedFile> files;  // sorted by path
  int64_t bytes_read = 0;
};

// Reads every byte of every file (hidden ones are left out), past the block cache. Throws
// Error{kUsage} when there is no manifest to compare with, Error{kModel, kRemote, kOutput,
// kCancelled}.
VerifyReport verify_model(const VerifyOptions& options, const CancelToken& cancel);

}  // namespace t2v
