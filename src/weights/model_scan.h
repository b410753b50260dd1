// Looks through a folder for files of tensors and tells what each is.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "weights/checkpoint.h"
#include "weights/file_kind.h"
#include "weights/storage.h"

namespace t2v::weights {

// One checkpoint: a single file, or the index of several shards.
struct Candidate {
  std::string path;  // file, index, or the folder that was asked for
  FileKind kind = FileKind::kOther;
  std::shared_ptr<const Checkpoint> checkpoint;  // null when it cannot be used
  std::string problem;                           // why not
};

// path: a file of any container, an index of shards, or a folder with one of them. Reads headers.
std::shared_ptr<const Checkpoint> open_checkpoint(const Storage& storage, const std::string& path);

// Opens headers. Problems of the file are kept in it; those of a remote store are thrown.
Candidate open_candidate(const Storage& storage, const std::string& path);

struct ModelScan {
  std::string layout;                   // "wan", "comfyui", "files"
  std::vector<Candidate> candidates;    // of all folders, in the order of their paths
  std::vector<std::string> tokenizers;  // SentencePiece model files
};

// The folder and the folders in it, two levels deep; of a ComfyUI folder only the places of
// models. Throws Error{kModel, kRemote}: cannot be listed, too many files.
ModelScan scan_model(const Storage& storage, const std::string& folder);

// Which expert the name of a file (else of its folder) says it is.
enum class NoiseLevel { kUnsaid, kHigh, kLow };
NoiseLevel noise_level_of(const std::string& path);

// The config of a component in a folder or beside its file: <stem>.json or config.json, when its
// keys are of such a component; "" for none. Throws Error{kModel}: there is one, but broken.
std::string find_config(const Storage& storage, const std::string& path, FileKind kind);

// The folder that holds a path; "." for a plain name.
std::string parent_folder(const std::string& path);

}  // namespace t2v::weights
