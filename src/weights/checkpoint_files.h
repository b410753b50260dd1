// Which file of a component folder holds its weights.
#pragma once

#include <string>

#include "t2v/error.h"

namespace t2v::weights {

struct CheckpointFile {
  std::string path;
  bool is_index = false;  // names shards
};

// The file that diffusers or transformers would take; else the only index or safetensors file
// there. Throws Error{kind} when there is none, or several, or only weights of formats not read
// yet.
CheckpointFile find_checkpoint_file(const std::string& folder, ErrorKind kind);

// One plain name: not empty, no separator, not "." or "..", no control bytes, at most 255 bytes.
bool is_base_name(const std::string& name) noexcept;

}  // namespace t2v::weights
